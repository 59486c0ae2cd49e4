"""Conversations by id, segments, exemplars, feedback, WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scene_service import SceneEngine, chat, message
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

Open = Callable[..., TestClient]
KEYS = {"keys": "ann:secret-of-ann,bob:secret-of-bob"}
ANN, BOB = {"X-API-Key": "secret-of-ann"}, {"X-API-Key": "secret-of-bob"}


def test_a_conversation_survives_a_restart_with_its_references(
    open_service: Open, park: str, engine: SceneEngine
) -> None:
    before = open_service()
    session = before.post("/v1/sessions").json()["id"]
    chat(before, message("find the dogs", park), session=session)
    after = open_service()
    reply = chat(after, message("only the black one"), session=session).json()["sam3"]
    assert [i["box"] for i in reply["results"][0]["instances"]] == [[115, 225, 177, 271]]
    undone = chat(after, message("undo"), session=session).json()["sam3"]
    assert len(undone["results"][0]["instances"]) == 3
    history = after.get(f"/v1/sessions/{session}").json()
    assert [turn["query"] for turn in history["turns"]] == ["find the dogs", "only the black one", "undo"]
    assert history["turns"][0]["reply"]["results"][0]["instances"][0]["polygons"]


def test_a_turn_that_fails_half_way_leaves_no_trace(
    client: TestClient, park: str, street: str, engine: SceneEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.post("/v1/sessions").json()["id"]
    chat(client, message("find the dogs", park), session=session)

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "encode", broken)
        assert chat(client, message("find the cars", street), session=session).status_code == 500
    reply = chat(client, message("find the cars", street), session=session).json()["sam3"]
    assert [result["media"] for result in reply["results"]] == [1] and reply["results"][0]["count"] == 4


def test_two_processes_take_turns_in_one_conversation(open_service: Open, park: str) -> None:
    one, other = open_service(), open_service()
    session = one.post("/v1/sessions").json()["id"]
    chat(one, message("find the dogs", park), session=session)
    chat(other, message("only the black one"), session=session)
    assert chat(one, message("how many of them are there?"), session=session).json()["sam3"]["answer"] == 1
    assert other.delete(f"/v1/sessions/{session}").status_code == 204
    assert chat(one, message("undo"), session=session).status_code == 404


def test_one_cannot_read_ask_point_judge_or_delete_anothers(open_service: Open, park: str) -> None:
    client = open_service(**KEYS)
    session = client.post("/v1/sessions", headers=ANN).json()["id"]
    reply = chat(client, message("find the dogs", park), session=session, key="secret-of-ann").json()
    box = {"media": 0, "box": [10, 10, 60, 60]}
    feedback = {"reply": reply["id"], "verdict": "up"}
    refused = [
        client.get(f"/v1/sessions/{session}", headers=BOB),
        client.get(f"/v1/sessions/{session}/media/0", headers=BOB),
        client.delete(f"/v1/sessions/{session}", headers=BOB),
        client.post(f"/v1/sessions/{session}/exemplars", json=box, headers=BOB),
        client.post("/v1/feedback", json=feedback, headers=BOB),
        chat(client, message("only the black one"), session=session, key="secret-of-bob"),
    ]
    unknown = client.get("/v1/sessions/does-not-exist", headers=BOB)
    assert {response.status_code for response in refused} == {404}
    assert refused[0].json()["error"]["message"] == unknown.json()["error"]["message"]  # nobody can tell which
    assert client.get(f"/v1/sessions/{session}/media/0", headers=ANN).status_code == 200
    assert client.post("/v1/feedback", json=feedback, headers=ANN).status_code == 201


def test_one_key_never_sees_what_anothers_conversation_carried(open_service: Open, park: str) -> None:
    client = open_service(**KEYS)
    first = message("find the dogs", park)
    chat(client, first, key="secret-of-ann")
    without_picture = [message("find the dogs"), {"role": "assistant", "content": "."}, message("only the black one")]
    reply = chat(client, *without_picture, key="secret-of-bob").json()["sam3"]
    assert reply["status"] == "clarify" and reply["results"] == []


def test_a_conversation_can_be_deleted(client: TestClient, park: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    chat(client, message("find the dogs", park), session=session)
    assert client.delete(f"/v1/sessions/{session}").status_code == 204
    assert client.get(f"/v1/sessions/{session}").status_code == 404
    assert chat(client, message("only the black one"), session=session).status_code == 404


def test_a_missed_thing_is_added_by_a_box_and_stays(client: TestClient, park: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    chat(client, message("find the dogs", park), session=session)
    cat = {"media": 0, "box": [268, 222, 316, 273]}
    reply = client.post(f"/v1/sessions/{session}/exemplars", json=cat).json()
    assert len(reply["results"][0]["instances"]) == 4
    assert chat(client, message("how many of them are there?"), session=session).json()["sam3"]["answer"] == 4


def test_a_box_on_nothing_adds_nothing_and_says_so(client: TestClient, park: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    path = f"/v1/sessions/{session}/exemplars"
    assert client.post(path, json={"media": 0, "box": [1, 1, 9, 9]}).status_code == 400
    chat(client, message("find the dogs", park), session=session)
    nothing = client.post(path, json={"media": 0, "box": [240, 5, 300, 40]}).json()
    assert "could not outline" in nothing["text"] and len(nothing["results"][0]["instances"]) == 3
    for box in ([5, 5, 5, 5], [900, 900, 950, 950], [1, 2, 3], [1, 2, 3, "x"]):
        assert client.post(path, json={"media": 0, "box": box}).status_code in (400, 422)
    assert client.post(path, json={"media": 4, "box": [1, 1, 50, 50]}).status_code == 400


def test_segment_by_words_and_by_example(client: TestClient, park: str) -> None:
    words = client.post("/v1/segment", json={"image": park, "concept": "dogs left of the cats"}).json()
    assert words["status"] == "ok" and len(words["results"][0]["instances"]) == 3
    shown = client.post("/v1/segment", json={"image": park, "boxes": [[268, 222, 316, 273]]}).json()
    [cat] = shown["results"][0]["instances"]
    assert cat["box"] == [270, 225, 314, 271] and cat["label"] == "like the example"
    bare = client.post("/v1/segment", json={"image": park.partition(",")[2], "concept": "dog"}).json()
    assert len(bare["results"][0]["instances"]) == 3


@pytest.mark.parametrize(
    "form",
    [
        {"concept": "dog"},
        {"image": "x", "concept": "dog"},
        {"image": "data:video/mp4;base64,AAAA", "concept": "dog"},
        {"image": "/etc/passwd", "concept": "dog"},
        {"image": "file:///etc/passwd", "concept": "dog"},
        {"image": "PARK"},
        {"image": "PARK", "boxes": [[0, 0, 9, 9]], "box_labels": [1, 0]},
        {"image": "PARK", "boxes": [[500, 0, 600, 9]]},
        {"image": "PARK", "concept": "dog", "surprise": 1},
    ],
)
def test_a_segment_that_cannot_be_is_a_400(client: TestClient, park: str, form: dict[str, object]) -> None:
    form = {**form, "image": park} if form.get("image") == "PARK" else form
    response = client.post("/v1/segment", json=form)
    assert response.status_code in (400, 422) and response.json()["error"]["message"]


def test_a_large_picture_is_kept_smaller_and_answered_in_its_own_pixels(
    client: TestClient, engine: SceneEngine
) -> None:
    import base64

    image = np.zeros((1500, 3000, 3), np.uint8)
    done, data = cv2.imencode(".png", image)
    url = "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
    assert done
    session = client.post("/v1/sessions").json()["id"]
    reply = chat(client, message("how many dogs?", url), session=session).json()["sam3"]
    assert reply["results"][0]["size"] == [1500, 3000]
    shown = cv2.imdecode(
        np.frombuffer(client.get(f"/v1/sessions/{session}/media/0").content, np.uint8), cv2.IMREAD_COLOR
    )
    assert shown.shape[:2] == (1024, 2048)


def test_feedback_is_kept_with_its_reply(client: TestClient, park: str) -> None:
    reply = chat(client, message("how many dogs?", park)).json()["id"]
    sent = {"reply": reply, "verdict": "wrong", "note": "one is a fox", "instance": 1, "media": 0}
    assert client.post("/v1/feedback", json=sent).status_code == 201
    [kept] = client.app.state.service.store.feedback()  # type: ignore[attr-defined]
    answered = kept["answered"]
    assert answered["query"] and answered["plan"] and answered["model"] and len(answered["pictures"][0]) >= 32
    assert kept["reply"] == reply and kept["note"] == "one is a fox" and kept["instance"] == 1
    assert 'sam3_agent_feedback_total{verdict="wrong"} 1.0' in client.get("/metrics").text
    assert client.post("/v1/feedback", json={"reply": reply, "verdict": "wrong"}).status_code == 400
    assert client.post("/v1/feedback", json={"reply": "never-given", "verdict": "up"}).status_code == 404


def test_a_websocket_hears_what_happens(client: TestClient, park: str) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"query": "find the dogs", "images": [park], "masks": "polygons"})
        heard = [socket.receive_json() for _ in range(4)]
        assert [one["event"] for one in heard] == ["found", "said", "masks", "done"]
        socket.send_text("not json")
        assert socket.receive_json()["error"]["code"] == "invalid_request"
        socket.send_json({"query": "only the black one", "masks": "none"})
        heard = [socket.receive_json() for _ in range(3)]
        assert heard[1]["results"][0]["count"] == 1


def test_a_websocket_needs_a_key_in_its_header_or_first_message(open_service: Open, park: str) -> None:
    client = open_service(**KEYS)
    question = {"query": "how many dogs?", "images": [park], "masks": "none"}
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"key": "secret-of-ann"})
        socket.send_json(question)
        assert socket.receive_json()["answer"] == 3
    with client.websocket_connect("/v1/stream", headers=ANN) as socket:
        socket.send_json(question)
        assert socket.receive_json()["answer"] == 3
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json(question)
        assert socket.receive_json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_a_page_from_elsewhere_may_not_open_a_websocket(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/stream", headers={"Origin": "http://evil.example"}) as socket,
    ):
        socket.receive_json()


def test_paths_work_inside_allowed_folders_only(open_service: Open, engine: SceneEngine, tmp_path: Path) -> None:
    from stage import SCENES

    folder = tmp_path / "allowed"
    folder.mkdir()
    cv2.imwrite(str(folder / "park.png"), engine.draw(SCENES["park"])[..., ::-1])
    (tmp_path / "secret.png").write_bytes((folder / "park.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    client = open_service(roots=str(folder))
    inside = client.post("/v1/segment", json={"image": str(folder / "park.png"), "concept": "dog"})
    assert len(inside.json()["results"][0]["instances"]) == 3
    for path in (folder / ".." / "secret.png", folder / "link.png", tmp_path / "secret.png", "../secret.png"):
        assert client.post("/v1/segment", json={"image": str(path), "concept": "dog"}).status_code == 400


def test_examples_of_the_page_are_only_those_that_are_listed(open_service: Open, repo_root: Path) -> None:
    client = open_service(examples=repo_root / "data" / "demo")
    listed = client.get("/examples").json()
    assert len(listed) == 3 and client.get(f"/examples/{listed[0]['picture']}").status_code == 200
    for name in ("questions.yaml", "..%2f..%2fparams.yaml", "%2e%2e/params.yaml"):
        assert client.get(f"/examples/{name}").status_code == 404
