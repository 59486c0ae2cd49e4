"""`sam3-agent serve --dev --port 8000`: the service and the page; `sam3-agent mcp`: the tools over stdio."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadConfig, Unavailable

GRACE = 30  # seconds that requests under way have to end
KEEP_ALIVE = 75  # seconds an idle connection stays: longer than the 60 of usual proxies, or they ask into a closing one
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder [SAM3_SERVICE_CHECKPOINT].")] = "",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton [SAM3_SERVICE_ENGINE].")] = "",
    dev: Annotated[bool, typer.Option("--dev", help="Start again when the code changes; readable log.")] = False,
) -> None:
    """Answer over HTTP, WebSocket and MCP, and show the page."""
    import uvicorn

    from sam3_agent.service import settings

    for name, value in (("CHECKPOINT", checkpoint), ("ENGINE", engine), ("LOG", "console" if dev else "")):
        if value:
            os.environ[f"SAM3_SERVICE_{name}"] = value
    chosen = settings.from_environment()
    if host not in LOOPBACK and not chosen.keys.get_secret_value():
        raise BadConfig(
            f"--host {host}: others could ask without a key. Set SAM3_SERVICE_KEYS=name:secret first.", field="host"
        )
    _free(host, port)
    print(f"http://{host}:{port}  (documents at /docs, tools at /mcp)", file=sys.stderr)
    source = Path(__file__).resolve().parents[1]
    uvicorn.run(
        "sam3_agent.service.app:from_environment", factory=True, host=host, port=port, access_log=False,
        log_level="warning", timeout_graceful_shutdown=GRACE, ws_max_size=chosen.max_body, h11_max_incomplete_event_size=65536,
        timeout_keep_alive=KEEP_ALIVE, reload=dev, reload_dirs=[str(source)] if dev else None, server_header=False,
    )  # fmt: skip


def _free(host: str, port: int) -> None:
    """One line instead of a stack trace where the port is taken."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"{host}:{port}: cannot listen there ({error.strerror}). Try another --port.") from error


def mcp(
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    root: Annotated[list[Path] | None, typer.Option(help="Folders whose pictures may be named by path.")] = None,
) -> None:
    """Serve the tools over standard input and output, for an MCP client that starts this command."""
    import asyncio

    from sam3_agent.cache.caches import CacheSettings
    from sam3_agent.conversation import Agent
    from sam3_agent.service.app import configure_log
    from sam3_agent.service.mcp_tools import build
    from sam3_agent.service.pictures import Pictures

    configure_log("json")
    roots = [str(folder) for folder in (root or [Path.cwd()])]
    pictures = Pictures(CacheSettings().media_bytes, limit=64_000_000, max_pixels=50_000_000, roots=roots)
    build(Agent(checkpoint=checkpoint, engine_name=engine), pictures, lambda work, _: asyncio.to_thread(work)).run(
        "stdio"
    )
