"""Each kind of mistake is called by its name."""

from __future__ import annotations

from collections import Counter

import pytest

from sam3.eval.cgf1 import overlaps, score_overlaps
from sam3.eval.mistakes import headline, mistakes
from sam3.eval.predictions import read_predictions
from sam3.eval.saco import read_ground_truth

HEN = (10, 10, 20, 20)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([HEN], [HEN], {}),
        ([HEN], [(11, 10, 20, 20)], {}),
        ([], [], {}),
        ([HEN], [], {"missed": 1}),
        ([], [HEN, (40, 0, 5, 5)], {"false alarm": 2}),
        ([HEN], [HEN, (40, 0, 8, 8)], {"false alarm": 1}),
        ([HEN], [(40, 0, 8, 8)], {"missed": 1, "false alarm": 1}),
        ([HEN], [(10, 10, 30, 20)], {"bleeding": 1}),
        ([HEN], [(5, 5, 45, 30)], {"bleeding": 1}),
        ([HEN], [HEN, (10, 10, 20, 19)], {"ghosting": 1}),
        ([HEN], [HEN, (12, 12, 6, 6)], {"ghosting": 1}),
        ([HEN], [(10, 10, 20, 8), (10, 20, 20, 8)], {"fragmentation": 1}),
        ([HEN], [(12, 12, 8, 8)], {"fragmentation": 1}),
        ([HEN, (40, 10, 10, 10)], [HEN], {"missed": 1}),
    ],
)
def test_the_kind_of_a_mistake(board, truth, found, expected) -> None:
    board.pair(truth, [(box, 0.9) for box in found])
    assert _mistakes(board) == Counter(expected)


def test_a_mask_in_pieces_is_fragmentation(board) -> None:
    board.pair([HEN], [(HEN, 0.9)])
    board.predictions[0]["segmentation"] = board.paint((10, 10, 20, 8), (10, 22, 20, 8))
    assert _mistakes(board) == Counter({"fragmentation": 1})


@pytest.mark.parametrize(
    ("found", "name"),
    [({}, "ok"), ({"ghosting": 2, "missed": 1}, "ghosting"), ({"ghosting": 1, "missed": 1}, "missed")],
)
def test_the_headline_is_the_most_frequent(found: dict[str, int], name: str) -> None:
    assert headline(Counter(found)) == name


def _mistakes(board) -> Counter:
    truth_path, predictions_path = board.write()
    truth = read_ground_truth(truth_path)
    predictions = read_predictions(predictions_path, truth.pairs)
    (score,) = score_overlaps(overlaps([truth], predictions, "segm"), "segm").pairs
    return mistakes(score, truth.instances(score.image_id), predictions.of(score.image_id))
