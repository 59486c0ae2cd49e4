"""The gate between two engines: what it matches, what it counts, what it forgives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam3.eval.parity import compare, judge
from sam3.eval.rounding import unexplained
from sam3.types import Detections, Prompt

IMAGE = np.zeros((40, 40, 3), np.uint8)


class Painter:
    """An engine that only shows detections: squares at given places, with given scores."""

    def __init__(self, squares: Sequence[tuple[int, float]], presence: float = 0.9) -> None:
        self.squares, self.presence, self.threshold = squares, presence, 0.5

    def encode(self, images: Any) -> list[Any]:
        return [None] * len(images)

    def ground(self, embeddings: Any, prompts: Any) -> list[Detections]:
        kept = [(at, score) for at, score in self.squares if score >= self.threshold]
        masks = np.zeros((len(kept), 40, 40), bool)
        for row, (at, _) in enumerate(kept):
            masks[row, at : at + 10, at : at + 10] = True
        boxes = np.array([[at, at, at + 10, at + 10] for at, _ in kept], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score in kept], np.float32)
        return [Detections(boxes, scores, masks, self.presence) for _ in prompts]


def judged(one: Painter, other: Painter) -> list[str]:
    return judge(compare(one, other, [(IMAGE, [Prompt("hen")])]), exact=False)


def test_the_order_of_detections_does_not_matter() -> None:
    assert judged(Painter([(0, 0.9), (20, 0.8)]), Painter([(20, 0.9), (0, 0.8)])) == []


@pytest.mark.parametrize(("score", "same"), [(0.52, True), (0.7, False)])
def test_only_a_score_beside_the_threshold_excuses_a_missing_one(score: float, same: bool) -> None:
    # 0.52 against 0.48: the other engine has it too, just below; 0.7 it does not have at all
    other = [(0, 0.9), (20, 0.48)] if same else [(0, 0.9)]
    assert (judged(Painter([(0, 0.9), (20, score)]), Painter(other)) == []) == same


def test_a_shifted_mask_is_seen_in_boxes_and_iou() -> None:
    parity = compare(Painter([(0, 0.9)]), Painter([(1, 0.9)], presence=0.6), [(IMAGE, [Prompt("hen")])])
    assert parity.box_px == [1.0] and parity.presence == [pytest.approx(0.3)]
    assert parity.mask_iou == [pytest.approx(81 / 119)]
    assert judge(parity, exact=False)[0].startswith("masks: mean IoU 0.68")


def test_nothing_found_is_nothing_compared() -> None:
    assert judged(Painter([]), Painter([]))[0].startswith("nothing was compared")


def test_cgf1_may_differ_by_half_a_point() -> None:
    parity = compare(Painter([(0, 0.9)]), Painter([(0, 0.9)]), [(IMAGE, [Prompt("hen")])])
    parity.cgf1 = (0.5, 0.504)
    assert judge(parity, exact=False) == []
    parity.cgf1 = (0.5, 0.49)
    assert judge(parity, exact=False) == ["cgF1: 0.4900 against 0.5000, at most 0.005 apart allowed"]


class Numbers(Painter):
    """An engine that shows its queries as well. Query 2 hangs on the features 4,000 times as much as the others."""

    def __init__(self, at: int = 0, error: float = 0.0) -> None:
        super().__init__([(0, 0.9)])
        self.error = np.zeros((1, 4))
        self.error[0, at] = error

    def encode(self, images: Any) -> list[Any]:
        return [1.0] * len(images)

    def features(self, embedding: float) -> np.ndarray:
        return np.ones((2, 3, 3))

    def shaken(self, embedding: float, size: float, seed: int) -> float:
        return embedding * (1 + size * float(np.random.default_rng(seed).standard_normal()))

    def answer(self, embeddings: Sequence[float], prompts: Any) -> Any:
        logits = embeddings[0] * np.array([[1.0, 1.0, 4000.0, 1.0]]) - [[0, 0, 3999, 0]] + self.error
        zeros = np.zeros((1, 4, 4))
        return SimpleNamespace(logits=logits, boxes=zeros, presence=np.zeros(1), masks=lambda: zeros)


@pytest.mark.parametrize(
    ("at", "error", "same"),
    [(0, 9e-5, True), (0, 3e-4, False), (2, 3e-4, True), (2, 0.1, False), (2, float("nan"), False)],
)
def test_a_number_may_differ_by_as_much_as_rounding_moves_it_in_the_reference(
    at: int, error: float, same: bool
) -> None:
    parity = compare(Numbers(), Numbers(at, error), [(IMAGE, [Prompt("hen")])])
    assert (judge(parity, exact=True) == []) == same
    json.dumps(parity.to_json(), allow_nan=False)
    assert np.isnan(error) or parity.difference["logits"] == pytest.approx(error), "what was seen is told as it is"


def test_a_reference_that_moves_without_end_explains_nothing() -> None:
    left = unexplained(np.array([0.1, 0.1, 0.1]), np.array([0.05, np.inf, np.nan]))
    assert left.tolist() == [0.0, 0.1, 0.1]


def test_thresholds_are_put_back() -> None:
    one = Painter([(0, 0.9)])
    judged(one, one)
    assert one.threshold == 0.5


def test_what_only_one_engine_finds_can_be_written_down() -> None:
    parity = compare(Painter([(0, 0.9), (20, 0.9)]), Painter([(0, 0.9)]), [(IMAGE, [Prompt("hen")])])  # type: ignore[arg-type]
    assert json.loads(json.dumps(parity.to_json()))["unmatched"] == 1
