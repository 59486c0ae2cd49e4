"""The service on a free port of this machine, in a thread of this process, around an engine of drawn scenes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from scene_service import SceneEngine

from sam3_agent.cache.caches import Caches, CacheSettings
from sam3_agent.conversation import Agent
from sam3_agent.service.app import create_app
from sam3_agent.service.settings import ServiceSettings


@contextmanager
def serving(folder: Path, engine: SceneEngine, **changes: Any) -> Iterator[str]:
    """Its address; ended when the block ends."""
    values = {"sessions": f"sqlite:///{folder}/sessions.db", "log": "console", "per_minute": 60_000, "burst": 5000,
              "at_once": 500, **changes}  # fmt: skip
    agent = Agent(engine, mirror="never", caches=Caches.of(CacheSettings(url="")))
    app = create_app(ServiceSettings(**values), agent)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    give_up = time.monotonic() + 20
    while (not server.started or app.state.service.problem) and time.monotonic() < give_up:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
