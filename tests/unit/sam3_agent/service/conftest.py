"""The service around an engine that knows drawn scenes, asked through the app itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scene_service import SceneEngine, data_url
from starlette.testclient import TestClient

from sam3_agent.cache.caches import Caches, CacheSettings
from sam3_agent.conversation import Agent
from sam3_agent.service.app import create_app
from sam3_agent.service.settings import ServiceSettings

Open = Callable[..., TestClient]


@pytest.fixture
def engine() -> SceneEngine:
    return SceneEngine()


@pytest.fixture
def open_service(tmp_path: Path, engine: SceneEngine) -> Iterator[Open]:
    """Opens the service with changed settings; opening it twice is a restart."""
    clients: list[TestClient] = []

    def start(*, patience: float = 10.0, **changes: Any) -> TestClient:
        values = {"sessions": f"sqlite:///{tmp_path}/sessions.db", "hosts": "testserver", "per_minute": 60_000,
                  "burst": 1000, "log": "console", **changes}  # fmt: skip
        agent = Agent(engine, mirror="never", caches=Caches.of(CacheSettings(url="")), price_per_gpu_hour=3.0)
        client = TestClient(create_app(ServiceSettings(**values), agent), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        give_up = time.monotonic() + patience
        while client.get("/readyz").status_code != 200 and time.monotonic() < give_up:
            time.sleep(0.01)
        engine.encodes = engine.grounds = 0
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(open_service: Open) -> TestClient:
    return open_service()


@pytest.fixture
def park(engine: SceneEngine) -> str:
    return data_url(engine, "park")


@pytest.fixture
def street(engine: SceneEngine) -> str:
    return data_url(engine, "street")
