"""The worker that runs our deployments on this machine, and lives through what happens to it.

    python -m flows.worker             # ends with Ctrl-C

Starts Prefect's own process worker for the pool `sam3-agent`, starts it again when it ends (a server that is away for long
ends it), and puts runs that have lost their process back into the queue (`flows.resume`).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Annotated

import typer

from flows.leash import leashed
from flows.resume import resume

POOL = "sam3-agent"


def main(
    pool: Annotated[str, typer.Option(help="Work pool.")] = POOL,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between looks for lost runs.")] = 15.0,
    limit: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 4,
) -> None:
    """Run deployments until interrupted."""
    stop: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        stop.append(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process",
               "--limit", str(limit)]  # fmt: skip
    worker: subprocess.Popen[bytes] | None = None
    looked = 0.0
    while not stop:
        if worker is None or worker.poll() is not None:
            worker = subprocess.Popen(leashed(command))
        if time.monotonic() - looked > every:
            looked = time.monotonic()
            try:
                for line in asyncio.run(resume()):
                    print(line, flush=True)
            except Exception as error:  # the server is away: it comes back
                print(f"looking for lost runs: {type(error).__name__}", file=sys.stderr, flush=True)
        time.sleep(0.5)
    if worker is not None:
        worker.terminate()
        worker.wait()


if __name__ == "__main__":
    typer.run(main)
