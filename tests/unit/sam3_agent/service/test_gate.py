"""Keys, rates, sizes, ids, health: what happens to a request before and after it is answered."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from scene_service import SceneEngine, chat, message
from starlette.testclient import TestClient

from sam3.errors import BadConfig
from sam3_agent.service import settings
from sam3_agent.service.limits import Limits

Open = Callable[..., TestClient]
FULL = re.compile(
    r"^sam3_agent_answering 1\.0$[\s\S]*^sam3_agent_waiting 1\.0$", re.MULTILINE
)  # /metrics of one worker, one place
KEYS = {"keys": "ann:secret-of-ann,bob:secret-of-bob"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/sessions/abc", "/mcp"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": ""}, {"Authorization": "é"}])
def test_without_a_known_key_nothing_is_said(open_service: Open, path: str, headers: dict[str, str]) -> None:
    response = open_service(**KEYS).get(path, headers={k: v.encode() for k, v in headers.items()})
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_a_key_opens_by_either_header(open_service: Open) -> None:
    client = open_service(**KEYS)
    for headers in ({"Authorization": "Bearer secret-of-ann"}, {"X-API-Key": "secret-of-bob"}):
        assert client.get("/v1/models", headers=headers).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_without_keys_only_this_machine_is_meant(open_service: Open) -> None:
    client = open_service()
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers={"Host": "evil.example"}).json()["error"]["code"] == "wrong_host"


def test_a_key_has_its_own_rate_and_is_told_when_to_come_back(open_service: Open) -> None:
    client = open_service(**KEYS, per_minute=6, burst=2)
    ann, bob = ({"X-API-Key": f"secret-of-{name}"} for name in ("ann", "bob"))
    assert [client.get("/v1/models", headers=ann).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/v1/models", headers=ann)
    assert 1 <= int(refused.headers["retry-after"]) <= 10 and refused.json()["error"]["code"] == "rate_limited"
    assert client.get("/v1/models", headers=bob).status_code == 200


def test_tokens_come_back_with_time() -> None:
    now = [0.0]
    limits = Limits(60, 1, 4, clock=lambda: now[0])
    limits.spend("ann")
    with pytest.raises(Exception, match="Too many"):
        limits.spend("ann")
    now[0] = 1.01
    limits.spend("ann")


@pytest.mark.parametrize(("at_once", "refusal"), [(2, 429), (3, 503)])
def test_too_many_at_once_get_429_and_a_full_house_503(
    open_service: Open, engine: SceneEngine, park: str, at_once: int, refusal: int
) -> None:
    client = open_service(at_once=at_once, workers=1, queue=1)
    engine.hold.clear()
    with ThreadPoolExecutor(2) as crowd:
        accepted = [crowd.submit(chat, client, message(f"how many dogs? {n}", park)) for n in range(2)]
        try:
            end = time.monotonic() + 20
            while not FULL.search(client.get("/metrics").text):  # one answered, one waiting
                assert time.monotonic() < end
                time.sleep(0.01)
            refused = [chat(client, message("how many dogs?", park)) for _ in range(3)]
        finally:
            engine.hold.set()
    assert [reply.result().status_code for reply in accepted] == [200, 200]
    assert [(reply.status_code, "retry-after" in reply.headers) for reply in refused] == [(refusal, True)] * 3
    assert chat(client, message("how many dogs?", park)).status_code == 200  # and nobody holds a place for ever


def test_a_body_over_the_limit_is_refused_said_or_unsaid(open_service: Open) -> None:
    client = open_service(max_body=2000)
    body = json.dumps({"messages": [message("x" * 3000)]}).encode()
    said = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})

    def pieces() -> object:
        for at in range(0, len(body), 500):
            yield body[at : at + 500]

    unsaid = client.post("/v1/chat/completions", content=pieces(), headers={"Content-Type": "application/json"})
    for response in (said, unsaid):
        assert response.status_code == 413 and response.json()["error"]["code"] == "too_large"


def test_a_request_has_an_id_that_comes_back_and_is_never_an_injection(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 100, "<script>"):
        assert client.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"] != bad
    error = client.get("/v1/nothing", headers={"X-Request-Id": "abc-2"}).json()["error"]
    assert error["request_id"] == "abc-2" and error["code"] == "not_found"


def test_requests_are_logged_without_secrets(open_service: Open, capsys: pytest.CaptureFixture[str]) -> None:
    client = open_service(**KEYS, log="json")
    client.get("/v1/models", headers={"X-API-Key": "secret-of-ann", "X-Request-Id": "find-me"})
    logged = capsys.readouterr().err
    line = next(json.loads(line) for line in logged.splitlines() if "find-me" in line)
    assert line["path"] == "/v1/models" and line["status"] == 200 and line["owner"] == "ann" and line["ms"] >= 0
    assert "secret" not in logged


def test_not_ready_until_the_model_is_loaded(open_service: Open, engine: SceneEngine) -> None:
    engine.hold.clear()
    threading.Timer(0.3, engine.hold.set).start()
    start = time.monotonic()
    client = open_service()
    assert time.monotonic() - start > 0.2 and client.get("/readyz").json() == {"status": "ready"}
    client.app.state.service.problem = "weights are gone"  # type: ignore[attr-defined]
    response = client.get("/readyz")
    assert (
        response.status_code == 503 and "retry-after" in response.headers and client.get("/healthz").status_code == 200
    )


def test_metrics_count_requests_stages_caches_and_memory(client: TestClient, park: str) -> None:
    for _ in range(2):
        chat(client, message("how many dogs?", park))
    text = client.get("/metrics").text
    for line in (
        'sam3_agent_requests_total{method="POST",route="/v1/chat/completions",status="200"} 2.0',
        'sam3_agent_answers_total{status="ok"} 2.0',
        'sam3_agent_cache_hits{cache="result"} 1.0',
        'sam3_agent_cache_entries{cache="embedding"} 1.0',
        "sam3_agent_gpu_bytes 0.0",
    ):
        assert line in text
    assert "process_resident_memory_bytes" in text and 'sam3_agent_stage_seconds_count{stage="ground"}' in text


def test_pages_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("keys", ["ann", "ann:", ":secret-enough", "ann:short"])
def test_a_key_that_is_none_is_said_without_repeating_it(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("SAM3_SERVICE_KEYS", keys)
    with pytest.raises(BadConfig, match="SAM3_SERVICE_KEYS") as told:
        settings.from_environment()
    assert "short" not in str(told.value) and "enough" not in str(told.value)


def test_a_bug_says_nothing_but_its_id(client: TestClient, park: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(client.app.state.service.talks, "ask", broken)  # type: ignore[attr-defined]
    for stream in (False, True):
        response = chat(client, message("how many dogs?", park), stream=stream)
        assert response.status_code == 500 and response.json()["error"]["code"] == "internal"
        assert "hunter2" not in response.text
