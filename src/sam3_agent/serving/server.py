"""The real tritonserver as a child process: start, wait until every model is ready, stop by its own id.

    with TritonServer(repository, Addresses.free()) as server:
        server.addresses.grpc                    # "127.0.0.1:41234"

Used by `sam3-agent triton up` and by the tests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.error import URLError

from sam3.errors import BadConfig, Unavailable
from sam3_agent.ending import end, end_with_parent
from sam3_agent.serving.environment import TritonEnvironment, triton_environment
from sam3_agent.serving.model_configs import MODELS

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY_HEADER = "sam3-control-key"
CONTROL_APIS = "model-repository,shared-memory,logging,trace"
GRPC_APIS = "model-repository,shared-memory,logging,trace"


@dataclass(frozen=True)
class Addresses:
    """Where the server listens."""

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002

    @classmethod
    def free(cls) -> Addresses:
        """Three ports of the loopback interface that nobody uses now."""
        sockets = [socket.socket() for _ in range(3)]
        try:
            for item in sockets:
                item.bind(("127.0.0.1", 0))
            return cls("127.0.0.1", *(item.getsockname()[1] for item in sockets))
        finally:
            for item in sockets:
                item.close()

    @property
    def http(self) -> str:
        """host:port of the HTTP endpoint."""
        return f"{self.host}:{self.http_port}"

    @property
    def grpc(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def metrics(self) -> str:
        """URL of Prometheus' page; always on loopback here, a container publishes its own port."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def busy(self) -> int | None:
        """The first of the ports that somebody else listens on."""
        for port in (self.http_port, self.grpc_port, self.metrics_port):
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
        return None


def server_flags(repository: str, addresses: Addresses, *, control_key: str | None = None) -> list[str]:
    """The flags that laptop and container share.

    No model is loaded at start-up: the warm-up of `sam3` asks other models, which a server that is still starting
    refuses. They are loaded one by one right after (`load_all`, or serving/triton/start.py in the container).

    Raises:
        BadConfig: other machines could reach the model control without a key.
    """
    if addresses.host not in LOOPBACK and not control_key:
        raise BadConfig(
            f"host {addresses.host}: others could load and unload models. Set SAM3_TRITON_CONTROL_KEY, "
            "or stay on 127.0.0.1.",
            field="host",
        )
    flags = [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--strict-readiness=true",
        "--disable-auto-complete-config",
        f"--http-address={addresses.host}",
        f"--http-port={addresses.http_port}",
        f"--grpc-address={addresses.host}",
        f"--grpc-port={addresses.grpc_port}",
        f"--metrics-port={addresses.metrics_port}",
        "--metrics-config=summary_latencies=true",
        "--exit-timeout-secs=20",
        "--log-format=ISO8601",
    ]
    if control_key:
        flags += [
            f"--http-restricted-api={CONTROL_APIS}:{KEY_HEADER}={control_key}",
            f"--grpc-restricted-protocol={GRPC_APIS}:{KEY_HEADER}={control_key}",
        ]
    return flags


@dataclass
class TritonServer:
    """A server on this machine, from NVIDIA's wheel, with ONNX Runtime in its Python backend.

    Attributes:
        repository: the folder of models; the server only reads it.
        log: where its output goes; this process' own when None.
    """

    repository: Path
    addresses: Addresses = field(default_factory=Addresses)
    control_key: str | None = None
    log: Path | None = None
    environment: TritonEnvironment | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 120.0) -> None:
        """Start, and return when every model answers.

        Raises:
            Unavailable: a port is taken, or the server ended or was not ready in time; the log's last error is told.
        """
        busy = self.addresses.busy()
        if busy is not None:
            raise Unavailable(f"port {busy} is in use. End what listens there, or take another port.", field="port")
        place = self.environment or triton_environment()
        command = [
            str(place.server),
            *server_flags(str(self.repository), self.addresses, control_key=self.control_key),
            "--metrics-address=127.0.0.1",
            f"--backend-directory={place.backends}",
            "--allow-gpu-metrics=false",
            "--backend-config=python,shm-default-byte-size=16777216",
        ]
        output = self.log.open("ab") if self.log else None
        try:
            self.process = subprocess.Popen(
                command, env=place.variables(), stdout=output, stderr=output, preexec_fn=end_with_parent
            )
        finally:
            if output:
                output.close()
        try:
            self.wait_live(timeout)
            self.load_all()
        except BaseException:
            self.stop()
            raise

    def wait_live(self, timeout: float) -> None:
        """Until the server answers; it has no model then."""
        assert self.process is not None
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Unavailable(f"tritonserver ended with status {self.process.returncode}. {self._reason()}")
            if self._answers("v2/health/ready"):
                return
            time.sleep(0.05)
        raise Unavailable(f"tritonserver did not answer in {timeout:.0f} s. {self._reason()}")

    def load_all(self) -> None:
        """Load every model, the composing ones first; each is warm when its call returns.

        Raises:
            BadCheckpoint: one does not load; the message is the server's.
        """
        from sam3_agent.serving.control import Control

        control = Control(self.addresses.grpc, self.control_key)
        for model in MODELS:
            control.load(model)

    def heal(self) -> list[str]:
        """Load anew each model whose process has died (Triton 2.51 goes on without it); returns their names."""
        import psutil

        from sam3_agent.serving.control import Control

        assert self.process is not None
        try:
            alive = [
                " ".join(child.cmdline())
                for child in psutil.Process(self.process.pid).children(recursive=True)
                if child.status() != psutil.STATUS_ZOMBIE
            ]
        except psutil.NoSuchProcess:
            return []  # one ended while we looked: the next look tells
        control = Control(self.addresses.grpc, self.control_key)
        dead = [
            model
            for model in MODELS
            if control.serving(model) and not any(f"/{model}/" in command for command in alive)
        ]
        for model in dead:
            control.unload(model)  # what has not changed would not be loaded anew
            control.load(model)
        return dead

    def stop(self, grace: float = 25.0) -> None:
        """End the process: SIGTERM lets running requests finish, SIGKILL follows after `grace` seconds.

        The models' processes, too: those of a server that was killed may wait for it for ever.
        """
        end(self.process, grace)
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # `end_with_parent` made it the first of a group

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.addresses.http}/{path}", timeout=2) as reply:
                return bool(reply.status == 200)
        except (URLError, OSError):
            return False

    def _reason(self) -> str:
        if self.log is None or not self.log.is_file():
            return "Its output says why."
        lines = self.log.read_text(errors="replace").splitlines()
        told = first_error(lines)
        return f"It said: {told}" if told else f"Look into {self.log}."


def first_error(lines: Sequence[str]) -> str:
    """The line of a server's log that tells most about why it failed."""
    for mark in ("Error:", "BadCheckpoint", "failed to load", "error:"):
        for line in lines:
            if mark in line:
                return " ".join(line.split())[-300:]
    return ""
