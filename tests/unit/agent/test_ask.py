"""The verbs `ask`, `segment` and `count` at the command line, with a stand-in for the model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "understanding"))
from stage import SCENES, StageEngine

import sam3.engines
from sam3_agent.ask import DECLINED
from sam3_agent.conversation import Agent


@pytest.fixture
def park(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    engine = StageEngine()
    picture = tmp_path / "park.png"
    Image.fromarray(engine.draw(SCENES["park"])).save(picture)
    monkeypatch.setattr(sam3.engines, "load_engine", lambda name, **_: engine)
    return picture


def test_ask_prints_the_answer_the_plan_and_the_things(park: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "how many dogs are not sitting?", str(park)) == 0
    printed = capsys.readouterr().out
    assert "There are 2 dogs" in printed and "understood: count the dogs that are not sitting" in printed


def test_ask_as_json_carries_masks_as_rle(park: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "find the largest dog", str(park), "--json") == 0
    reply = json.loads(capsys.readouterr().out)
    (annotation,) = reply["results"][0]["annotations"]
    assert reply["status"] == "ok" and annotation["segmentation"]["size"] == [300, 400] and annotation["label"] == "dog"


@pytest.mark.parametrize("verb", ["segment", "count"])
def test_segment_and_count_keep_overlay_and_json(park: Path, tmp_path: Path, verb: str) -> None:
    overlay, out = tmp_path / "out" / "overlay.png", tmp_path / "out" / "found.json"
    assert run(verb, "dog", str(park), "--out", str(overlay), "--json", str(out)) == 0
    assert np.asarray(Image.open(overlay)).shape[0] >= 700
    assert len(json.loads(out.read_text())["results"][0]["annotations"]) == 3


def test_a_clip_at_the_command_line_is_answered_as_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clip_service import FarmEngine, write_farm

    from sam3_agent.conversation import Agent

    clip = write_farm(tmp_path)
    engine = FarmEngine(clip)
    monkeypatch.setattr(sam3.engines, "load_engine", lambda name, **_: engine)
    for query in ("how many different ducks are there?", "when does the last duck appear?", "track the hen"):
        assert run("ask", query, str(clip), "--json", "--out", str(tmp_path / "sheet.png")) == 0
        reply, here = json.loads(capsys.readouterr().out), Agent(engine=engine).process(query, [clip])
        assert (reply["text"], reply["answer"], reply["status"]) == (here.text, here.answer, here.status)
        rows = [(row["frame"], row["track_id"], row["bbox"]) for row in reply["results"][0]["annotations"]]
        assert rows == [(row["frame"], row["track_id"], row["bbox"]) for row in here.to_coco()] and rows
    assert Image.open(tmp_path / "sheet.png").size[0] > 300
    assert run("ask", "track the ducks", str(clip)) == 0
    assert "#1 duck" in (printed := capsys.readouterr().out) and " s" in printed


def test_a_missing_picture_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "how many dogs?", str(tmp_path / "no.png")) == 1
    error = capsys.readouterr().err.strip()
    assert "no.png" in error and "\n" not in error


def test_explain_looks_at_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "--explain", "the two largest dogs left of the tree") == 0
    assert capsys.readouterr().out.strip() == "find the 2 largest dogs left of the tree"


@pytest.mark.parametrize(
    ("query", "said"),
    [("write me a poem", "That is not something I can see in a picture."), ("find 123", "What should I look for?"),
     ("how many?", "How many of what?"), ("combien de poules?", "I only understand English.")],
)  # fmt: skip
def test_explain_says_what_is_not_understood_as_the_agent_would(
    capsys: pytest.CaptureFixture[str], query: str, said: str
) -> None:
    assert run("ask", "--explain", query) == DECLINED
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(said) and "\n" not in printed
    assert printed == Agent(engine=object()).process(query).text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "status"),
    [("how many dogs are there?", 0), ("find the elephants", 0), ("are there any elephants?", 0), ("how many elephants?", 0),
     ("is this right: 'two dogs'?", 0), ("write me a poem", DECLINED), ("segment it", DECLINED), ("combien de poules?", DECLINED),
     ("whereof the barkers do in thine image dwell", DECLINED)],
)  # fmt: skip
def test_the_exit_status_tells_an_answer_from_none(park: Path, query: str, status: int) -> None:
    assert run("ask", query, str(park)) == run("ask", query, str(park), "--json") == status


def test_a_question_without_its_picture_is_no_answer(park: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    assert run("ask", "how many dogs are there?", "--out", str(overlay)) == DECLINED and not overlay.exists()


@pytest.mark.parametrize("verb", ["segment", "count"])
def test_a_thing_that_is_no_thing_is_declined(park: Path, verb: str) -> None:
    assert run(verb, "the weather forecast for tomorrow", str(park)) == DECLINED


def test_the_exit_statuses_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "--help") == 0
    assert "3 no answer" in " ".join(capsys.readouterr().out.split())
