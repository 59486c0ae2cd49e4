"""Chat over HTTP: OpenAI's shape, conversations carried by the client or kept here, streams."""

from __future__ import annotations

import pytest
from scene_service import SceneEngine, chat, events, message, said
from starlette.testclient import TestClient


def test_a_question_is_answered_in_openais_shape(client: TestClient, park: str) -> None:
    reply = chat(client, message("how many dogs are there?", park)).json()
    assert reply["object"] == "chat.completion" and reply["choices"][0]["finish_reason"] == "stop"
    assert "3 dogs" in reply["choices"][0]["message"]["content"]
    assert reply["sam3"]["answer"] == 3 and len(reply["sam3"]["results"][0]["instances"]) == 3


def test_an_instance_has_box_score_and_mask_in_pixels(client: TestClient, park: str) -> None:
    reply = chat(client, message("find the black dog", park), masks="both").json()
    [result] = reply["sam3"]["results"]
    [dog] = result["instances"]
    assert result["size"] == [300, 400] and dog["box"] == [115, 225, 177, 271] and dog["area"] == 62 * 46
    assert dog["mask"]["size"] == [300, 400] and isinstance(dog["mask"]["counts"], str) and dog["sure"]
    [ring] = dog["polygons"]
    assert len(ring) >= 8 and min(ring[::2]) == pytest.approx(115.5) and max(ring[1::2]) == pytest.approx(270.5)


def test_a_client_that_carries_the_conversation_may_refer_back(
    client: TestClient, park: str, engine: SceneEngine
) -> None:
    first = message("find the dogs", park)
    answer = chat(client, first).json()["choices"][0]["message"]["content"]
    reply = chat(client, first, said(answer), message("only the black one")).json()["sam3"]
    assert [i["box"] for i in reply["results"][0]["instances"]] == [[115, 225, 177, 271]]
    again = chat(client, first, said(answer), message("how many of them are not sitting?")).json()["sam3"]
    assert again["answer"] == 2
    assert engine.encodes == 1  # one picture, one encode, in whatever order its turns come


def test_a_conversation_kept_here_needs_only_the_new_message(client: TestClient, park: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    chat(client, message("find the dogs", park), session=session)
    reply = chat(client, message("without the sitting one"), session=session).json()["sam3"]
    assert len(reply["results"][0]["instances"]) == 2
    assert len(client.get(f"/v1/sessions/{session}").json()["turns"]) == 2


def test_a_stream_brings_boxes_first_then_words_then_masks(client: TestClient, park: str) -> None:
    response = chat(client, message("find the dogs", park), stream=True, masks="polygons")
    assert response.headers["content-type"].startswith("text/event-stream")
    happened = events(response)
    assert [one["event"] for one in happened] == ["found", "said", "masks", "done"]
    found, _, masks, _ = happened
    assert found["results"][0]["count"] == 3 and "polygons" not in found["results"][0]["instances"][0]
    assert masks["result"]["instances"][0]["polygons"] and response.text.rstrip().endswith("data: [DONE]")


def test_what_is_wrong_before_the_first_word_of_a_stream_has_a_status(client: TestClient) -> None:
    response = chat(client, message("find the dogs", "data:image/png;base64,AAAA"), stream=True)
    assert response.status_code == 400 and response.json()["error"]["code"] == "bad_input"


def test_the_same_question_again_is_answered_from_the_cache(client: TestClient, park: str, engine: SceneEngine) -> None:
    for _ in range(2):
        reply = chat(client, message("how many dogs?", park)).json()["sam3"]
    assert engine.encodes == 1 and engine.grounds == 1 and reply["answer"] == 3
    assert reply["explain"]["cache"] == {
        "plans": 1, "results_cached": 1, "pictures_encoded": 0, "embeddings_reused": 0, "phrases_grounded": 0,
    }  # fmt: skip


def test_every_answer_explains_itself(client: TestClient, park: str) -> None:
    explain = chat(client, message("count the dogs", park)).json()["sam3"]["explain"]
    assert explain["plan"].startswith("count the dogs") and explain["model"]
    assert {"load", "understand", "encode", "ground", "answer", "total"} <= set(explain["timings_ms"])
    engine_ms = explain["timings_ms"]["encode"] + explain["timings_ms"]["ground"]
    assert explain["cost"] == pytest.approx(engine_ms / 3_600_000 * 3.0, rel=1e-2)


def test_no_picture_and_no_thing_ask_back_and_small_talk_is_refused_kindly(client: TestClient) -> None:
    assert chat(client, message("how many dogs?")).json()["sam3"]["status"] == "clarify"
    assert chat(client, message("what is the capital of France?")).json()["sam3"]["status"] == "unsupported"


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 422, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 422, None),
        ({"threshold": 7}, 422, "threshold"),
        ({"n": 3}, 422, "n"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"session": "nobody-knows-it"}, 404, "session"),
        ({"session": "../../etc/passwd"}, 422, "session"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    client: TestClient, change: dict[str, object], status: int, field: str | None
) -> None:
    body = {"messages": [message("how many dogs?")], **change}
    response = client.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert response.status_code == status and error["message"] and error["request_id"]
    assert field is None or error["field"] == field


def test_half_a_surrogate_pair_and_nul_break_nothing(client: TestClient, park: str) -> None:
    body = '{"messages":[{"role":"user","content":"how many \\ud800 dogs\\u0000?"}]}'
    response = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    session = client.post("/v1/sessions").json()["id"]
    assert chat(client, message("how many dogs\x00?", park), session=session).status_code == 200


@pytest.mark.parametrize(
    "words", ["dogs left of " * 280, "the dog next to the " * 40, "not the " * 400, "(" * 3000, "dogs and " * 400]
)
def test_a_question_without_end_breaks_nothing(client: TestClient, park: str, words: str) -> None:
    session = client.post("/v1/sessions").json()["id"]
    response = chat(client, message(f"find the {words} dogs"[:3999], park), session=session)
    assert response.status_code == 200
    assert chat(client, message("how many dogs?"), session=session).json()["sam3"]["answer"] == 3


def test_a_question_that_is_too_long_is_said_and_not_cut(client: TestClient) -> None:
    response = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "dogs " * 900}]})
    assert response.status_code == 400 and response.json()["error"]["code"] == "too_long"


def test_the_threshold_of_a_request_is_its_own(client: TestClient, park: str) -> None:
    assert chat(client, message("how many dogs?", park), threshold=0.95).json()["sam3"]["answer"] == 0
    assert chat(client, message("how many dogs?", park)).json()["sam3"]["answer"] == 3
