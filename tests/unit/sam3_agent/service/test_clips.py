"""Clips over HTTP: questions, things followed through every frame, uploads, limits, privacy."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clip_service import FarmEngine, clip_url, write_farm
from scene_service import chat, events
from starlette.testclient import TestClient

Open = Callable[..., TestClient]
ANN, BOB = {"X-API-Key": "secret-of-ann"}, {"X-API-Key": "secret-of-bob"}
KEYS = {"keys": "ann:secret-of-ann,bob:secret-of-bob"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_farm(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def engine(clip: Path) -> FarmEngine:  # in place of the drawn scenes of conftest
    one = FarmEngine(clip)
    one.encodes = one.grounds = 0  # type: ignore[attr-defined]
    return one


def asked(text: str, *clips: str) -> dict[str, Any]:
    parts = [{"type": "video_url", "video_url": {"url": url}} for url in clips]
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


def upload(client: TestClient, clip: Path, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    return client.post("/v1/track", files={"video": clip.read_bytes()}, data=fields, headers=headers or {})


# --- questions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "answer"), [
    ("how many different hens are there?", 1),
    ("how many distinct ducks are there in the clip?", 2),
    ("how many ducks are there between 0:02 and 0:03?", 1),
    ("is there a duck at 0:01?", False),
])  # fmt: skip
def test_a_question_about_a_clip_is_answered_in_chat(
    client: TestClient, clip: Path, query: str, answer: object
) -> None:
    reply = chat(client, asked(query, clip_url(clip))).json()["sam3"]
    assert reply["answer"] == answer, reply["text"]


def test_the_http_answer_is_that_of_python(client: TestClient, engine: FarmEngine, clip: Path) -> None:
    from sam3_agent.conversation import Agent

    for query in ("when does the first duck appear?", "track the ducks", "how many ducks are there?"):
        over_http = chat(client, asked(query, clip_url(clip))).json()["sam3"]
        here = Agent(engine=engine).process(query, [clip])
        assert (over_http["text"], over_http["answer"]) == (here.text, here.answer)
        frames = {f["frame"]: f["tracks"] for f in over_http["results"][0]["frames"]}
        for at, frame in enumerate(here.results[0].frames or []):
            assert [row["id"] for row in frames.get(at, [])] == list(frame.track_ids)


def test_tracks_have_spans_in_seconds_of_the_whole_clip(client: TestClient, clip: Path) -> None:
    reply = chat(client, asked("track the ducks after 0:03", clip_url(clip))).json()["sam3"]
    [result] = reply["results"]
    assert [track["label"] for track in result["tracks"]] == ["duck", "duck"] and result["count"] == 2
    assert result["tracks"][0]["first"] == pytest.approx(3.0, abs=0.15)
    assert result["tracks"][1]["last"] == pytest.approx(5.0, abs=0.6)
    assert min(frame["time"] for frame in result["frames"]) >= 2.9


def test_a_chat_stream_brings_every_frame_then_the_reply_then_masks(client: TestClient, clip: Path) -> None:
    response = chat(client, asked("count the ducks", clip_url(clip)), stream=True, masks="polygons")
    happened = events(response)
    kinds = [one["event"] for one in happened]
    frames = [one for one in happened if one["event"] == "frame"]
    assert kinds == ["frame"] * len(frames) + ["found", "said"] + ["masks"] * kinds.count("masks") + ["done"]
    assert [one["done"] for one in frames] == list(range(1, frames[0]["of"] + 1))
    assert frames[0]["counts"] == {"duck": 0} and frames[-1]["counts"] == {"duck": 2}
    assert frames[-1]["tracks"][0]["polygons"] and frames[-1]["time"] > 5.5
    [said] = [one for one in happened if one["event"] == "said"]
    assert said["answer"] == 2
    with_masks = [frame for one in happened if one["event"] == "masks" for frame in one["frames"]]
    boxes = said["results"][0]["frames"]
    assert [f["frame"] for f in with_masks] == [f["frame"] for f in boxes] and with_masks[0]["tracks"][0]["polygons"]


def test_a_conversation_about_a_clip_goes_on_and_survives_a_restart(
    open_service: Open, engine: FarmEngine, clip: Path
) -> None:
    before = open_service()
    session = before.post("/v1/sessions").json()["id"]
    chat(before, asked("track the ducks", clip_url(clip)), session=session)
    after = open_service()
    looks = engine.looks
    assert chat(after, asked("how many of them are there?"), session=session).json()["sam3"]["answer"] == 2
    looked = engine.looks
    assert looked > looks  # masks are not kept over a restart
    assert chat(after, asked("when does the last one appear?"), session=session).json()["sam3"]["status"] == "ok"
    assert engine.looks == looked
    known = after.get(f"/v1/sessions/{session}").json()
    assert known["media"][0] == {"media": 0, "kind": "clip", "size": [96, 128], "frames": 48, "seconds": 5.9}


def test_a_websocket_hears_the_frames(client: TestClient, clip: Path) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"query": "count the ducks", "videos": [clip_url(clip)], "masks": "none"})
        heard = [socket.receive_json()]
        while heard[-1]["event"] != "done":
            heard.append(socket.receive_json())
        assert [one["event"] for one in heard].count("frame") == 48 and heard[-2]["answer"] == 2
        socket.send_json({"query": "when does the first one leave?", "masks": "none"})
        kinds = [socket.receive_json()["event"] for _ in range(3)]
        assert kinds == ["found", "said", "done"]


# --- /v1/track ----------------------------------------------------------------------------------------------------------


def test_things_are_followed_through_every_frame(client: TestClient, clip: Path) -> None:
    body = {"video": clip_url(clip), "things": ["duck", "hen"], "every": 0.5}
    head, *frames, done = lines(client.post("/v1/track", json=body))
    assert head["event"] == "clip" and (head["width"], head["height"], head["frames"]) == (128, 96, 60)
    assert [one["frame"] for one in frames] == list(range(60)) and done["counts"] == {"duck": 2, "hen": 1}
    assert {"id", "label", "score", "box", "rle"} == set(frames[-1]["tracks"][0])
    [hen] = [track for track in done["tracks"] if track["label"] == "hen"]
    assert hen["first"] == 0.0 and hen["last"] == pytest.approx(5.9) and hen["frames"] == 60


def test_the_rows_are_those_of_the_command_line(
    client: TestClient, engine: FarmEngine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam3_agent.video.track import track

    monkeypatch.setattr("sam3.engines.load_engine", lambda *_, **__: engine)
    track(str(clip), ["duck"], out=tmp_path, every="500ms", formats="mot", end=None, budget_ms=None)
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()][1:]
    rows = lines(upload(client, clip, things="duck", every="0.5"))[1:-1]
    assert [{k: v for k, v in row.items() if k != "event"} for row in rows] == kept


def test_one_document_instead_of_lines(client: TestClient, clip: Path) -> None:
    options = {"stream": "false", "masks": "none", "start": "2", "end": "4", "every": "0.5"}
    report = upload(client, clip, things="duck", **options).json()
    assert report["done"] == 20 and len(report["frames"]) == 20 and report["counts"] == {"duck": 2}
    reply = upload(client, clip, query="how many ducks are there?", stream="false").json()
    assert reply["answer"] == 2 and reply["results"][0]["frames"][0]["tracks"][0]["rle"]["size"] == [96, 128]


def test_a_question_to_track_may_belong_to_a_conversation(client: TestClient, clip: Path) -> None:
    session = client.post("/v1/sessions").json()["id"]
    assert lines(upload(client, clip, query="track the ducks", session=session))[-1]["event"] == "done"
    assert chat(client, asked("how many of them are there?"), session=session).json()["sam3"]["answer"] == 2


@pytest.mark.parametrize(("change", "status"), [
    ({}, 400),
    ({"query": "count the ducks", "things": ["duck"]}, 400),
    ({"query": "  "}, 400),
    ({"things": [" "]}, 400),
    ({"things": ["x"] * 9}, 422),
    ({"query": "count the ducks", "video": ""}, 422),
    ({"query": "count the ducks", "video": "../farm.mp4"}, 400),
    ({"query": "count the ducks", "video": "/etc/passwd"}, 400),
    ({"query": "count the ducks", "video": "rtsp://127.0.0.1/barn"}, 400),
    ({"query": "count the ducks", "video": "http://127.0.0.1:9/farm.mp4"}, 400),
    ({"query": "count the ducks", "video": "concat:/etc/passwd|x.mp4"}, 400),
    ({"query": "count the ducks", "video": "data:video/mp4;base64,AAAA"}, 400),
    ({"query": "count the ducks", "video": "data:video/mp4;base64,####"}, 400),
    ({"query": "count the ducks", "video": "data:image/png;base64,AAAA"}, 400),
    ({"query": "count the ducks", "surprise": 1}, 422),
    ({"query": "count the ducks", "masks": "all"}, 422),
    ({"things": ["duck"], "session": "abc"}, 400),
    ({"query": "count the ducks", "session": "nobody-knows-it"}, 404),
    ({"things": ["duck"], "start": 100}, 200),
])  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(
    client: TestClient, clip: Path, change: dict[str, object], status: int
) -> None:
    response = client.post("/v1/track", json={"video": clip_url(clip), **change})
    assert response.status_code == status, response.text
    if status != 200:
        assert response.json()["error"]["message"] and "/tmp" not in response.text


def test_a_playlist_or_a_lying_type_is_refused_by_content(client: TestClient, clip: Path) -> None:
    playlist = base64.b64encode(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").decode()
    for url in (f"data:video/mp4;base64,{playlist}", clip_url(clip).replace("video/mp4", "image/png")):
        reply = chat(client, asked("count the ducks", url))
        assert (reply.status_code == 400 and "content" in reply.text) or "picture" in reply.text
    broken = clip.read_bytes()[:200]
    assert client.post("/v1/track", files={"video": broken}, data={"query": "count the ducks"}).status_code == 400


def test_a_clip_over_the_limits_is_refused(open_service: Open, clip: Path) -> None:
    small = open_service(max_clip=2000)
    assert upload(small, clip, query="count the ducks").status_code == 413
    short = open_service(max_clip_seconds=2.0)
    refused = upload(short, clip, query="count the ducks")
    assert refused.status_code == 400 and "2 seconds" in refused.json()["error"]["message"]
    few = open_service(max_clip_frames=10)
    assert upload(few, clip, things="duck").status_code == 400


def test_a_clip_that_takes_too_long_is_ended_and_the_house_goes_on(
    open_service: Open, engine: FarmEngine, clip: Path
) -> None:
    client = open_service(clip_seconds=2.0, clip_workers=1, clip_queue=0)
    engine.delay = 1.0
    refused = upload(client, clip, query="count the ducks", stream="false")
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "too_slow"
    late = lines(upload(client, clip, things="duck"))[-1]
    assert late["event"] == "error" and late["error"]["code"] == "too_slow"
    engine.delay = 0.0
    assert lines(upload(client, clip, query="count the ducks"))[-1]["event"] == "done"


def test_clips_do_not_keep_pictures_waiting_and_too_many_are_sent_away(
    open_service: Open, engine: FarmEngine, clip: Path
) -> None:
    client = open_service(workers=1, clip_workers=1, clip_queue=1, at_once=50)
    engine.hold.clear()
    with ThreadPoolExecutor(4) as crowd:
        clips = [crowd.submit(upload, client, clip, query="count the ducks", stream="false") for _ in range(4)]
        time.sleep(0.5)
        threading.Timer(0.3, engine.hold.set).start()
        assert client.post("/v1/sessions").status_code == 201
        codes = sorted(one.result().status_code for one in clips)
    assert codes == [200, 200, 503, 503]
    refused = next(one.result() for one in clips if one.result().status_code == 503)
    assert "retry-after" in refused.headers


# --- uploads ------------------------------------------------------------------------------------------------------------


def test_an_upload_belongs_to_its_conversation_and_the_next_question(open_service: Open, clip: Path) -> None:
    client = open_service(**KEYS)
    session = client.post("/v1/sessions", headers=ANN).json()["id"]
    path = f"/v1/sessions/{session}/media"
    given = client.post(path, files={"file": ("../../x.mp4", clip.read_bytes())}, headers=ANN)
    assert given.status_code == 201 and given.json()["media"] == 0 and given.json()["kind"] == "clip"
    for refused in (
        client.post(path, files={"file": clip.read_bytes()}, headers=BOB),
        client.get(f"{path}/0/frames", headers=BOB),
        client.get(f"{path}/1/frames", headers=ANN),
    ):
        assert refused.status_code == 404
    shown = client.get(f"{path}/0/frames", params={"first": 40, "count": 30}, headers=ANN).json()
    assert [one["frame"] for one in shown["shown"]] == list(range(40, 48)) and shown["frames"] == 48
    assert base64.b64decode(shown["shown"][0]["jpeg"])[:2] == b"\xff\xd8"
    reply = chat(client, asked("how many ducks are there?"), session=session, key="secret-of-ann").json()["sam3"]
    assert reply["answer"] == 2


def test_an_upload_is_still_for_the_next_question_after_a_restart(open_service: Open, clip: Path) -> None:
    before = open_service()
    session = before.post("/v1/sessions").json()["id"]
    before.post(f"/v1/sessions/{session}/media", files={"file": clip.read_bytes()})
    assert chat(open_service(), asked("how many hens?"), session=session).json()["sam3"]["answer"] == 1


def test_an_upload_that_is_nothing_is_refused(client: TestClient, clip: Path) -> None:
    session = client.post("/v1/sessions").json()["id"]
    path = f"/v1/sessions/{session}/media"
    for content, status in ((b"", 422), (b"hello", 400), (clip.read_bytes()[:100], 400)):
        assert client.post(path, files={"file": content}).status_code == status
    assert client.post(path, json={"file": "x"}).status_code == 422
    assert client.get(f"/v1/sessions/{session}").json()["media"] == []


# --- sockets ------------------------------------------------------------------------------------------------------------


def test_websockets_are_counted_and_idle_ones_closed(open_service: Open) -> None:
    from starlette.websockets import WebSocketDisconnect

    client = open_service(sockets=3, sockets_each=2, socket_idle=0.3)
    with client.websocket_connect("/v1/stream") as first, client.websocket_connect("/v1/stream"):
        with client.websocket_connect("/v1/stream") as third:
            assert third.receive_json()["error"]["code"] == "too_many_sockets"
        with pytest.raises(WebSocketDisconnect) as closed:
            first.receive_json()
        assert closed.value.code == 1000 and closed.value.reason == "idle"
    gauge = next(line for line in client.get("/metrics").text.splitlines() if line.startswith("sam3_agent_sockets "))
    assert gauge == "sam3_agent_sockets 0.0"
    full = open_service(sockets=1, socket_idle=5)
    with full.websocket_connect("/v1/stream") as kept, pytest.raises(WebSocketDisconnect) as refused:
        with full.websocket_connect("/v1/stream") as other:
            other.receive_json()
        kept.close()
    assert refused.value.code == 1013


def test_a_connection_does_not_carry_without_end(open_service: Open, clip: Path) -> None:
    size = len(clip_url(clip))
    client = open_service(max_body=size + 2000)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"query": "how many hens?", "videos": [clip_url(clip)], "masks": "none"})
        while socket.receive_json()["event"] != "done":
            pass
        socket.send_json({"query": "and here?", "videos": [clip_url(clip)]})
        assert socket.receive_json()["error"]["code"] == "too_large"
        socket.send_json({"query": "how many ducks are there?", "masks": "none"})
        heard = [socket.receive_json()]
        while heard[-1]["event"] != "done":
            heard.append(socket.receive_json())
        assert heard[-2]["answer"] == 2
