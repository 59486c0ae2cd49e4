"""The servers of `make loop-demo`: Prefect, Label Studio, MLflow, Triton, Redis and the agent, all real, on free ports.

Each is a child that ends with this process. What they know lies in the demonstration's folder, so that they can be killed
and started again: `Site.keep_up` does that for any that has died.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.leash import leashed
from sam3.errors import Unavailable
from sam3.files import read_json, write_json
from sam3_agent.ending import end

STARTING = 300.0  # seconds that a server may take, a first start included
NAMES = ("prefect", "mlflow", "redis", "label-studio", "triton-http", "triton", "triton-metrics", "agent", "backend")


@dataclass
class Site:
    """The servers of one demonstration.

    Attributes:
        place: its folder. project: the checkout that the loop runs in.
    """

    place: Path
    project: Path
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The same ports every time: addresses are in databases."""
        noted = self.place / "ports.json"
        if noted.is_file():
            self.ports = read_json(noted)
        else:
            sockets = [socket.socket() for _ in NAMES]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self.ports = {name: one.getsockname()[1] for name, one in zip(NAMES, sockets, strict=True)}
            for one in sockets:
                one.close()
            write_json(noted, self.ports)

    @property
    def environment(self) -> dict[str, str]:
        """What every part of the demonstration is told."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.project}{os.pathsep}{self.project / 'src'}",
            "PREFECT_API_URL": f"http://127.0.0.1:{self.ports['prefect']}/api",
            "PREFECT_HOME": str(self.place / "prefect"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.ports['mlflow']}",
            "SAM3_TRITON_URL": f"127.0.0.1:{self.ports['triton']}",
            "SAM3_TRITON_METRICS": f"http://127.0.0.1:{self.ports['triton-metrics']}/metrics",
            "SAM3_CACHE_URL": f"redis://127.0.0.1:{self.ports['redis']}/0",
            "SAM3_AGENT_HOME": str(self.project),
            "GX_ANALYTICS_ENABLED": "False",
        }

    def commands(self) -> dict[str, tuple[list[str], Callable[[], bool]]]:
        """Server -> command line, and whether it answers."""
        port, python = self.ports, sys.executable
        mlflow = self.place / "mlflow"
        return {
            "redis": (
                ["redis-server", "--port", str(port["redis"]), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.place)],
                lambda: _listens(port["redis"]),
            ),
            "prefect": (
                [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port["prefect"])],
                lambda: _answers(f"http://127.0.0.1:{port['prefect']}/api/health"),
            ),
            "mlflow": (
                [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port["mlflow"]), "--workers", "1",
                 "--backend-store-uri", f"sqlite:///{mlflow}/mlflow.db", "--artifacts-destination", str(mlflow / "files")],
                lambda: _answers(f"http://127.0.0.1:{port['mlflow']}/health"),
            ),
            "label-studio": (
                [python, "-m", "sam3_agent.cli", "annotate", "up", "--port", str(port["label-studio"]),
                 "--backend-port", str(port["backend"])],
                lambda: _answers(f"http://127.0.0.1:{port['label-studio']}/health"),
            ),
            "triton": (
                [python, "-m", "sam3_agent.cli", "triton", "up", "--grpc-port", str(port["triton"]), "--http-port",
                 str(port["triton-http"]), "--metrics-port", str(port["triton-metrics"])],
                lambda: _answers(f"http://127.0.0.1:{port['triton-http']}/v2/models/sam3/ready"),
            ),
            "agent": (
                [python, "-m", "sam3_agent.cli", "serve", "--port", str(port["agent"]), "--engine", "triton",
                 "--checkpoint", f"127.0.0.1:{port['triton']}"],
                lambda: _answers(f"http://127.0.0.1:{port['agent']}/readyz"),
            ),
            "worker": ([python, "-m", "flows.worker", "--every", "5"], lambda: True),
        }  # fmt: skip

    def start(self, *names: str) -> None:
        """Start servers that are not running and wait until each answers.

        Raises:
            Unavailable: one does not answer; its log is named.
        """
        commands = self.commands()
        (self.place / "mlflow").mkdir(parents=True, exist_ok=True)
        for name in names:
            if name in self.running and self.running[name].poll() is None:
                continue
            if name == "redis" and shutil.which("redis-server") is None:
                raise Unavailable("redis-server is not installed: apt-get install redis-server", field="redis")
            log = (self.place / f"{name}.log").open("ab")
            command, _ = commands[name]
            self.running[name] = subprocess.Popen(
                leashed(command), cwd=self.project, env=self.environment, stdout=log, stderr=log
            )
        for name in names:
            self._wait(name, commands[name][1])

    def keep_up(self) -> list[str]:
        """Start what has died anew; its names."""
        dead = [name for name, process in self.running.items() if process.poll() is not None]
        if dead:
            self.start(*dead)
        return dead

    def stop(self) -> None:
        """End everything, by the processes' own ids, the newest first."""
        for process in reversed(self.running.values()):
            end(process, grace=40)

    def call(self, *words: str, quiet: bool = True) -> str:
        """A command in the project.

        Raises:
            Unavailable: it failed; its last words are told.
        """
        done = subprocess.run(words, cwd=self.project, env=self.environment, capture_output=quiet, text=True)
        if done.returncode:
            said = ((done.stderr or "") + (done.stdout or "")).strip().splitlines()[-3:] or ["no reason given"]
            raise Unavailable(f"{' '.join(words)[:120]}: {' '.join(said)[:400]}")
        return done.stdout or ""

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        end, process = time.monotonic() + STARTING, self.running[name]
        while not ready():
            if process.poll() is not None:
                raise Unavailable(f"{name} ended with status {process.returncode}. Its log: {self.place / name}.log")
            if time.monotonic() > end:
                raise Unavailable(f"{name} does not answer after {STARTING:.0f} s. Its log: {self.place / name}.log")
            time.sleep(0.5)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=3) as reply:
            return bool(reply.status < 300)
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(address: str, body: Any) -> Any:
    """One JSON call."""
    import httpx

    reply = httpx.post(address, json=body, timeout=120)
    reply.raise_for_status()
    return reply.json() if reply.content else None
