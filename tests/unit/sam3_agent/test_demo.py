"""demo: the questions are built around the concept, and every answer leaves a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_run import write_finished_run
from PIL import Image
from rich.console import Console

from sam3.errors import BadConfig, BadInput
from sam3.types import Detections
from sam3_agent import Agent
from sam3_agent.demo import answer_all, demo, exported_or_trained, read_questions


class TwoOfEverything:
    """An engine that sees two squares in every picture."""

    def encode(self, images):
        return [image.shape[:2] for image in images]

    def ground(self, embeddings, prompts):
        return [self._two(*size) for size in embeddings]

    def _two(self, height: int, width: int) -> Detections:
        masks = np.zeros((2, height, width), bool)
        masks[0, 40:120, 40:120] = masks[1, 200:360, 300:500] = True
        boxes = np.array([[40, 40, 120, 120], [300, 200, 500, 360]], np.float32)
        return Detections(boxes, np.array([0.9, 0.8], np.float32), masks, 0.99)


@pytest.mark.parametrize(
    ("concept", "asked"),
    [("chicken", "how many chickens are there?"), ("goose", "how many geese are there?")],
)
def test_questions_are_about_the_concept(repo_root: Path, concept: str, asked: str) -> None:
    questions = read_questions(repo_root / "data" / "demo", concept)
    assert len(questions) == 3 and questions[0].text == asked


def test_bundled_pictures_are_small_and_readable(repo_root: Path) -> None:
    for question in read_questions(repo_root / "data" / "demo", "chicken"):
        assert question.picture.stat().st_size < 100_000
        assert Image.open(question.picture).size == (640, 480)


def test_every_answer_leaves_an_overlay(repo_root: Path, tmp_path: Path) -> None:
    questions = read_questions(repo_root / "data" / "demo", "chicken")
    console = Console(record=True, width=120, file=(tmp_path / "out.txt").open("w"))
    drawn = answer_all(Agent(engine=TwoOfEverything()), questions, tmp_path / "demo", console)
    assert len({path.read_bytes() for path in drawn}) == 3
    text = console.export_text()
    assert "how many chickens are there?" in text and "2" in text


def test_the_verb_shows_summary_answers_and_next_step(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_run(tmp_path, pairs=16)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sam3.engines.load_engine", lambda *_, **__: TwoOfEverything())
    demo(pictures=repo_root / "data/demo", out=Path("reports/demo"), checkpoint="any", params=repo_root / "params.yaml")
    said = capsys.readouterr().out
    parts = [said.index(part) for part in ("cgF1", "three questions", "answered by any", "Next")]
    assert parts == sorted(parts)
    assert len(list(Path("reports/demo").glob("*.jpg"))) == 3


@pytest.mark.parametrize(
    "content", ["- picture: yard.jpg\n", "yard.jpg: how many?\n", "- {picture: yard.jpg, ask: 'how many {dogs}?'}\n"]
)
def test_questions_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "questions.yaml").write_text(content)
    with pytest.raises(BadConfig, match=r"questions\.yaml"):
        read_questions(tmp_path, "chicken")


def test_without_a_model_the_stage_that_makes_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="dvc repro export"):
        exported_or_trained()
