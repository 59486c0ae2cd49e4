"""A service whose disk is full says so with 503 and Retry-After, and answers whatever needs no room."""

from __future__ import annotations

import errno
import pathlib
import tempfile
from typing import Any

import pytest
from httpx import Response
from scene_service import chat, message
from starlette.testclient import TestClient


def refused(response: Response, code: str) -> bool:
    said = response.json()["error"]
    return response.status_code == 503 and said["code"] == code and int(response.headers["retry-after"]) > 0


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/private")


def test_a_full_database_refuses_what_must_be_kept_and_answers_the_rest(client: TestClient, park: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    reply = chat(client, message("find the dogs", park)).json()["id"]
    store: Any = client.app.state.service.store  # type: ignore[attr-defined]
    from sqlalchemy import event

    def small(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")

    event.listen(store._engine, "checkout", small)
    for _ in range(30):  # until the last page is full
        response = chat(client, message("find the dogs", park), session=session)
        if response.status_code != 200:
            break
    assert refused(response, "unavailable")
    note = {"reply": reply, "verdict": "wrong", "note": "x" * 2000}
    statuses = [client.post("/v1/feedback", json=note).status_code for _ in range(30)]
    assert set(statuses) <= {201, 503} and 503 in statuses
    assert chat(client, message("find the dogs", park)).status_code == 200
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"query": "find the dogs", "images": [park], "session": session})
        heard = [socket.receive_json() for _ in range(2)]
        assert heard[-1]["error"]["code"] == "unavailable"
        socket.send_json({"query": "find the dogs", "images": [park]})
        assert socket.receive_json()["event"] == "found"
    event.remove(store._engine, "checkout", small)


def test_an_upload_that_finds_no_room_is_told_so_and_not_where(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.post("/v1/sessions").json()["id"]
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", full)
    data = b"\0\0\0\x18ftypmp42" + bytes(2_000_000)
    for response in (
        client.post(f"/v1/sessions/{session}/media", files={"file": ("a.mp4", data, "video/mp4")}),
        client.post("/v1/track", files={"video": ("a.mp4", data, "video/mp4")}, data={"things": "dog"}),
    ):
        assert refused(response, "storage") and "private" not in response.text


def test_a_clip_that_finds_no_room_while_it_is_followed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    write = pathlib.Path.write_bytes
    monkeypatch.setattr(
        pathlib.Path, "write_bytes", lambda path, data: full() if path.name == "the clip" else write(path, data)
    )
    data = b"\0\0\0\x18ftypmp42" + bytes(2000)
    for stream in ("true", "false"):
        fields = {"things": "dog", "stream": stream}
        response = client.post("/v1/track", files={"video": ("a.mp4", data, "video/mp4")}, data=fields)
        assert refused(response, "storage")
