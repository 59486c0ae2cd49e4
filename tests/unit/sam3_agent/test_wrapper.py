"""SAM3Wrapper: the configured concept, empty below the presence threshold, results that others' code understands."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.types import Detections
from sam3_agent.wrapper import SAM3Wrapper

IMAGE = np.full((30, 40, 3), 90, np.uint8)


class Fixed:
    """Finds two things, and remembers what it was asked."""

    def __init__(self, presence: float = 0.9) -> None:
        self.presence, self.asked = presence, []

    def encode(self, images: Any) -> list[Any]:
        return [image.shape[:2] for image in images]

    def ground(self, embeddings: Any, prompts: Any) -> list[Detections]:
        self.asked += [prompt.text for prompt in prompts]
        masks = np.zeros((2, 30, 40), bool)
        masks[0, 5:15, 5:15] = masks[1, 5:15, 20:30] = True
        boxes = np.array([[5, 5, 15, 15], [20, 5, 30, 15]], np.float32)
        return [Detections(boxes, np.array([0.9, 0.4], np.float32), masks, self.presence) for _ in embeddings]


def test_the_configured_concept_is_what_is_looked_for(monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> None:
    monkeypatch.chdir(repo_root)
    engine = Fixed()
    model = SAM3Wrapper(engine=engine)
    seen = model.predict(IMAGE)
    assert engine.asked == [model.concept] == ["chicken"] and model.names == {0: "chicken"}
    assert len(seen) == 1 and seen.detections.labels == ["chicken"]
    assert seen.supervision.xyxy.tolist() == [[5, 5, 15, 15]] and seen.supervision.mask.shape == (1, 30, 40)


@pytest.mark.parametrize(("presence", "count"), [(0.49, 0), (0.5, 1), (1.0, 1)])
def test_below_the_presence_threshold_the_result_is_empty(presence: float, count: int) -> None:
    seen = SAM3Wrapper(concept="hen", engine=Fixed(presence)).predict(IMAGE)
    assert len(seen) == count and len(seen.supervision) == count and seen.presence == presence


def test_files_arrays_and_batches(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "barn.png"
    Image.fromarray(IMAGE).save(path)
    model = SAM3Wrapper(concept="hen", engine=Fixed())
    assert [len(seen) for seen in model.predict_all([path, IMAGE, Image.open(path)])] == [1, 1, 1]
    assert model(path).path == str(path) and model.predict_all([]) == []


def test_without_ultralytics_there_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    monkeypatch.setitem(sys.modules, "ultralytics.engine.results", None)
    assert SAM3Wrapper(concept="hen", engine=Fixed()).predict(IMAGE).ultralytics is None


def test_with_ultralytics_its_results_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    module = types.ModuleType("ultralytics.engine.results")
    module.Results = lambda orig_img, **known: made.update(orig_img=orig_img, **known) or "results"  # type: ignore[attr-defined]
    for name in ("ultralytics", "ultralytics.engine"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "ultralytics.engine.results", module)
    picture = IMAGE.copy()
    picture[..., 0] = 200
    assert SAM3Wrapper(concept="hen", engine=Fixed()).predict(picture).ultralytics == "results"
    assert made["boxes"].tolist() == [[5, 5, 15, 15, pytest.approx(0.9), 0]] and made["names"] == {0: "hen"}
    assert made["masks"].shape == (1, 30, 40) and made["orig_img"][0, 0].tolist() == [90, 90, 200], "BGR"


@pytest.mark.parametrize("wrong", [{"presence_threshold": 1.2}, {"threshold": -1}, {"concept": "  "}])
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong)).split("_")[0]):
        SAM3Wrapper(**{"concept": "hen", "engine": Fixed(), **wrong})
