"""`sam3-agent triton up`: serve what is deployed, or the newest packaged version if nothing is yet.

A python-backend version runs on the laptop server from NVIDIA's wheel; a GPU version runs in NVIDIA's container.
The server stays in the foreground and ends with Ctrl-C or SIGTERM, letting running requests finish.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadConfig, BadInput, Sam3AgentError, Unavailable
from sam3.triton.manifest import verify
from sam3_agent.serving.deploy import without_canary
from sam3_agent.serving.environment import triton_environment
from sam3_agent.serving.live import LIVE, Deployment, Live
from sam3_agent.serving.package import REPOSITORY, versions_in
from sam3_agent.serving.server import Addresses, TritonServer, server_flags

WATCH = 2.0  # seconds between two looks at the models' processes
IMAGE = "sam3-agent-triton:24.10"  # built from serving/triton/Dockerfile


def triton(
    action: Annotated[str, typer.Argument(help="up: serve. setup: only make the environment.")],
    live: Annotated[Path, typer.Option(help="The repository the server reads.")] = LIVE,
    packages: Annotated[Path, typer.Option(help="Where packaged versions are.")] = REPOSITORY,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need a control key.")
    ] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="HTTP.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Prometheus.")] = 8002,
    how: Annotated[str, typer.Option(help="local, container, or auto: by the version's backend.")] = "auto",
    log: Annotated[Path | None, typer.Option(help="The server's own log; this terminal when left out.")] = None,
) -> None:
    """Serve the deployed version with Triton."""
    if action == "setup":
        print(f"{triton_environment().folder}: ready")
        return
    if action != "up":
        raise BadConfig(f"triton {action}: expected up or setup.", field="action")
    repository = Live(live)
    version, backend = prepare(repository, packages)
    addresses = Addresses(host, http_port, grpc_port, metrics_port)
    key = os.environ.get("SAM3_TRITON_CONTROL_KEY")
    if runs_in_container(how, backend):
        raise SystemExit(subprocess.call(container_command(live, addresses, key)))
    server = TritonServer(live.resolve(), addresses, control_key=key, log=log)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        server.start()
        print(f"version {version} ready: HTTP {addresses.http}, gRPC {addresses.grpc}, {addresses.metrics}", flush=True)
        assert server.process is not None
        status = tend(server)
        raise Unavailable(f"tritonserver ended by itself with status {status}. Its log says why; start it again.")
    except KeyboardInterrupt:
        print("ending; running requests finish first", flush=True)
    finally:
        server.stop()


def tend(server: TritonServer) -> int:
    """Watch a server until it ends, loading anew what dies in it; returns its status."""
    assert server.process is not None
    while server.process.poll() is None:
        time.sleep(WATCH)
        try:
            for model in server.heal():
                print(f"{model}: its process had died; loaded anew", flush=True)
        except Sam3AgentError as error:  # it is busy or ending: look again
            print(f"watching: {error}", flush=True)
    return int(server.process.returncode)


def prepare(live: Live, packages: Path) -> tuple[int, str]:
    """Make sure that a checked version is in place; returns its number and backend.

    Raises:
        BadInput: nothing is deployed or packaged. BadCheckpoint: what is there is damaged.
    """
    with live.changing():
        live.sweep()
        state = without_canary(live)  # a version that was tried when the server ended has to be tried anew
        if state.current is None:
            found = versions_in(packages)
            if not found:
                raise BadInput(f"{packages}: no packaged version. Make one: sam3-agent package --model sam3-lite")
            state = Deployment(live.install(packages / str(found[-1])))
            live.activate(found[-1])
            live.record(state)
        assert state.current is not None
        live.check(state.current)
        live.activate(state.current)  # an interrupted switch may have left two minds
    facts = packages / str(state.current)
    backend = verify(facts)["backend"] if facts.is_dir() else "python"
    return state.current, str(backend)


def runs_in_container(how: str, backend: str) -> bool:
    """Whether NVIDIA's container is needed: the laptop server has a Python backend only."""
    if how not in ("auto", "local", "container"):
        raise BadConfig(f"how {how!r}: expected auto, local or container.", field="how")
    if how == "local" and backend != "python":
        raise BadConfig(f"a version with the {backend} backend needs the container. Package it with --backend python.")
    return how == "container" or backend != "python"


def container_command(live: Path, addresses: Addresses, key: str | None) -> list[str]:
    """`docker run` of NVIDIA's Triton: ports on the host's loopback, repository read-only, no rights to spare."""
    ports = [(addresses.http_port, 8000), (addresses.grpc_port, 8001), (addresses.metrics_port, 8002)]
    inside = Addresses("0.0.0.0", 8000, 8001, 8002)  # of the container; what is published is decided by -p
    publish = [part for outer, inner in ports for part in ("-p", f"{addresses.host}:{outer}:{inner}")]
    return [
        *("docker", "run", "--rm", "--init", "--gpus", "all", "--shm-size", "2g"),
        *("-e", "SAM3_TRITON_CONTROL_KEY"),  # the value stays in the environment
        *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *publish,
        *("-v", f"{live.resolve()}:/models:ro"),
        IMAGE,
        "tritonserver",
        *server_flags("/models", inside, control_key=key),
    ]


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
