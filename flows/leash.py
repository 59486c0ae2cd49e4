"""Runs a command that ends when whoever started it does, with everything it has started itself.

    python flows/leash.py <pid of the parent> -- dvc repro train

A flow that is cancelled or killed must not leave a training behind which nobody watches and a second one joins.
The command gets a session of its own; when the parent is gone, SIGTERM comes, or the command itself has ended or was
killed, what is left of the session is asked to end and, after a while, made to: the children of a killed server would
hold its port against the next one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

GRACE = 20.0  # seconds to end by oneself
PR_SET_PDEATHSIG = 1


def leashed(command: list[str]) -> list[str]:
    """The command line that keeps `command` on the leash."""
    return [sys.executable, str(Path(__file__).resolve()), str(os.getpid()), "--", *command]


def main(argv: list[str]) -> int:
    """Run the command; its status, or 143 when it was ended."""
    parent, command = int(argv[0]), argv[2:]
    ended: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        ended.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    child = subprocess.Popen(command, start_new_session=True)
    while (status := child.poll()) is None and not ended and os.getppid() == parent:  # gone before prctl, perhaps
        time.sleep(0.1)
    _end(child)
    if status is None:
        return 128 + signal.SIGTERM
    return status if status >= 0 else 128 - status


def _end(child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + GRACE
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        while number == signal.SIGTERM and time.monotonic() < deadline:
            child.poll()  # reap it, or the group never looks empty
            try:
                os.killpg(child.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
    child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
