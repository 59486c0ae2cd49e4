"""Readiness: the service waits for a model that comes later, and says what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scene_service import SceneEngine
from starlette.testclient import TestClient

from sam3.errors import Unavailable
from sam3_agent.service import app as service_app


class Late(SceneEngine):
    """A server of models that answers only after it was asked a few times."""

    refusals = 0

    def encode(self, images: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("no model sam3 at 127.0.0.1:1. Start the server.")
        return super().encode(images)


@pytest.fixture
def engine() -> Late:
    return Late()


def test_a_model_that_comes_later_is_waited_for(
    open_service: Callable[..., TestClient], engine: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_app, "AGAIN", 0.01)
    engine.refusals = 3
    client = open_service()
    assert engine.refusals == 0 and client.get("/readyz").json() == {"status": "ready"}


def test_until_then_it_says_what_is_missing(
    open_service: Callable[..., TestClient], engine: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_app, "AGAIN", 60.0)
    engine.refusals = 1
    client = open_service(patience=0.5)
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert "no model sam3 at 127.0.0.1:1" in answer.json()["error"]["message"]
    assert client.get("/healthz").status_code == 200
