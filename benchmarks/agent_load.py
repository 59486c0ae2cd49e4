"""The agent under load: 100 people, 1,000 questions a minute, four of five about a known picture.

    python benchmarks/agent_load.py --seconds 300 --checkpoint models/export --engine onnx
    python benchmarks/agent_load.py --engine triton --checkpoint 127.0.0.1:8001       # a server that runs already

Starts the service, lets locust ask (`benchmarks/load/locustfile.py`), and prints answers a minute, failures, waiting
times, the agent's own time (all but encode and ground) and the service's memory at the start and at the end.
"""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sam3.eval.provenance import hardware_line
from sam3.files import write_json

ROOT = Path(__file__).parents[1]


def main(
    seconds: Annotated[int, typer.Option(help="How long people ask.")] = 300,
    users: Annotated[int, typer.Option(help="People at the same time.")] = 100,
    a_minute: Annotated[int, typer.Option(help="Questions a minute of all of them.")] = 1000,
    checkpoint: Annotated[str, typer.Option(help="Weights, or the address of Triton.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, onnx or triton.")] = "auto",
    workers: Annotated[int, typer.Option(help="Threads that answer.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        service = {"SESSIONS": f"sqlite:///{folder}/s.db", "PER_MINUTE": "6000", "BURST": "500", "AT_ONCE": "200",
                   "CHECKPOINT": checkpoint, "ENGINE": engine, "WORKERS": str(workers), "QUEUE": "200"}  # fmt: skip
        env = {**os.environ, **{f"SAM3_SERVICE_{name}": value for name, value in service.items()}}
        words = [sys.executable, "-m", "sam3_agent.cli", "serve", "--port", str(port)]
        with (Path(folder) / "log").open("w") as log:
            server = subprocess.Popen(words, env=env, stderr=log, cwd=ROOT)
        try:
            wait_for(url, server)
            before = memory(url)
            figures = ask(url, Path(folder), seconds, users, a_minute)
            after = memory(url)
        finally:
            server.terminate()
            server.wait(40)
        about: dict[str, Any] = {
            "engine": engine,
            "users": users,
            "seconds": seconds,
            "workers": workers,
            "hardware": hardware_line(),
        }
        about |= {"command": " ".join(["python", "benchmarks/agent_load.py", *sys.argv[1:]]), "versions": versions()}
        report = {**about, **figures, "memory_mb": {"start": before, "end": after}, "exit": server.returncode}
    print(json.dumps(report, indent=1))
    if out is not None:
        write_json(out, report)


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("onnxruntime", "torch", "fastapi", "uvicorn", "locust")}


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the service is ready; at most two minutes."""
    for _ in range(480):
        if server.poll() is not None:
            raise SystemExit(f"the service ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise SystemExit("the service was not ready within two minutes")


def memory(url: str) -> float:
    """Resident memory of the service, megabytes."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    return round(float(found[1]) / 1e6, 1) if found else 0.0


def ask(url: str, folder: Path, seconds: int, users: int, a_minute: int) -> dict[str, Any]:
    """Let locust ask; the figures."""
    env = {**os.environ, "USERS": str(users), "A_MINUTE": str(a_minute), "LOAD_REPORT": str(folder / "more.json")}
    words = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "benchmarks/load/locustfile.py"), "--headless", "--host", url,
        "-u", str(users), "-r", "25", "-t", f"{seconds}s", "--csv", str(folder / "stats"), "--only-summary",
    ]  # fmt: skip
    subprocess.run(words, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    rows = {row["Name"]: row for row in csv.DictReader((folder / "stats_stats.csv").open())}
    failed = list(csv.DictReader((folder / "stats_failures.csv").open()))
    more = json.loads((folder / "more.json").read_text())
    total, spent = rows["Aggregated"], np.array(more["overhead_ms"] or [0.0])
    answered = int(total["Request Count"]) - int(total["Failure Count"]) - sum(more["honest"].values())
    return {
        "questions": int(total["Request Count"]),
        "failures": int(total["Failure Count"]),
        "failure_reasons": {row["Error"][:120]: int(row["Occurrences"]) for row in failed},
        "honest_refusals": more["honest"],
        "answers_a_minute": round(answered / seconds * 60, 1),
        "milliseconds": {
            name: {"median": float(row["50%"]), "p95": float(row["95%"]), "p99": float(row["99%"])}
            for name, row in rows.items()
        },
        "agent_overhead_ms": {p: round(float(np.percentile(spent, int(p[1:]))), 2) for p in ("p50", "p95", "p99")},
        "stage_p50_ms": {name: round(float(np.median(values)), 2) for name, values in more["stages"].items()},
    }


if __name__ == "__main__":
    typer.run(main)
