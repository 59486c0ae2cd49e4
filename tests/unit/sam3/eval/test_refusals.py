"""Whatever cannot be measured is refused in one line that names the file and the row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from sam3.errors import BadInput
from sam3.eval.cgf1 import score_files
from sam3.eval.masks import run_totals


def change(table: str, key: str, value: Any = None, *, drop: bool = False, row: int = 0) -> Any:
    """A blemish: set or drop one field of one row."""

    def apply(board: Any) -> None:
        fields = getattr(board, table)[row]
        if drop:
            del fields[key]
        else:
            fields[key] = value

    return apply


def repeat(table: str) -> Any:
    return lambda board: getattr(board, table).append(dict(getattr(board, table)[0]))


def no_pair(board: Any) -> None:
    for image in board.images:
        image["is_instance_exhaustive"] = 0


BLEMISHES = {
    "no iscrowd": (change("annotations", "iscrowd", drop=True), "gt.json, annotations[0]", "iscrowd"),
    "iscrowd a word": (change("annotations", "iscrowd", "no"), "gt.json, annotations[0]", "iscrowd"),
    "no exhaustive flag": (
        change("images", "is_instance_exhaustive", drop=True),
        "gt.json, images[0]",
        "exhaustive",
    ),
    "no height": (change("images", "height", drop=True, row=1), "gt.json, images[1]", "height"),
    "height 0": (change("images", "height", 0), "gt.json, images[0]", "height"),
    "no category": (lambda b: b.categories.clear(), "gt.json", "categories"),
    "no evaluable pair": (no_pair, "gt.json", "no pair can be evaluated"),
    "pair twice": (repeat("images"), "gt.json, images[2]", "id 100 appears twice"),
    "annotation twice": (repeat("annotations"), "gt.json, annotations[1]", "id 1 appears twice"),
    "annotation of nothing": (change("annotations", "image_id", 7), "gt.json, annotations[0]", "image_id 7"),
    "annotation without shape": (
        change("annotations", "segmentation", drop=True),
        "annotations[0]",
        "polygons or RLE",
    ),
    "empty shape": (change("annotations", "segmentation", []), "gt.json, annotations[0]", "empty list"),
    "polygon of two points": (
        change("annotations", "segmentation", [[1, 1, 5, 5]]),
        "annotations[0]",
        "polygon",
    ),
    "NaN in a polygon": (
        change("annotations", "segmentation", [[1, 1, 5, 5, float("nan"), 3]]),
        "[0]",
        "polygon",
    ),
    "mask of the wrong size": (
        change("predictions", "segmentation", {"size": [40, 61], "counts": "0"}),
        "pred.json, predictions[0]",
        "[40, 61]",
    ),
    "damaged mask": (
        change("predictions", "segmentation", {"size": [40, 60], "counts": "PPPP0~~"}),
        "pred.json, predictions[0]",
        "damaged",
    ),
    "short mask": (
        change("predictions", "segmentation", {"size": [40, 60], "counts": [5, 10]}),
        "pred.json, predictions[0]",
        "2400",
    ),
    "NaN score": (change("predictions", "score", float("nan")), "pred.json, predictions[0]", "nan"),
    "score a word": (change("predictions", "score", "high"), "pred.json, predictions[0]", "'high'"),
    "score true": (change("predictions", "score", True), "pred.json, predictions[0]", "True"),
    "no score": (
        change("predictions", "score", drop=True),
        "pred.json, predictions[0]",
        '"score" is missing',
    ),
    "unknown pair": (change("predictions", "image_id", 7), "pred.json, predictions[0]", "pair 7"),
    "pair id as text": (change("predictions", "image_id", "100"), "pred.json, predictions[0]", "image_id"),
    "box of three numbers": (change("predictions", "bbox", [0, 0, 1]), "pred.json, predictions[0]", "bbox"),
}


@pytest.mark.parametrize(("blemish", "where", "what"), BLEMISHES.values(), ids=BLEMISHES)
def test_a_bad_row_is_named(board: Any, blemish: Any, where: str, what: str) -> None:
    board.pair([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.9)])
    board.pair()
    blemish(board)
    with pytest.raises(BadInput) as error:
        score_files(*board.write())
    assert where in str(error.value) and what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"images": [', "line 1: not valid JSON"),
        ("[]", "not a list"),
        ('{"images": [], "annotations": []}', '"categories" is missing'),
        ('{"images": {}, "annotations": [], "categories": [{"id": 1}]}', '"images" must be a list'),
        ('{"images": [3], "annotations": [], "categories": [{"id": 1}]}', "images[0]: must be an object"),
    ],
)
def test_a_bad_file_is_named(board: Any, text: str, what: str) -> None:
    board.pair()
    truth, predictions = board.write()
    truth.write_text(text)
    with pytest.raises(BadInput, match=r"gt\.json") as error:
        score_files(truth, predictions)
    assert what in str(error.value)


@pytest.mark.parametrize("content", [3, {"results": []}, {"predictions": [], "presence": {"100": 1.5}}, "[1"])
def test_bad_predictions_are_named(board: Any, content: Any) -> None:
    board.pair()
    truth, predictions = board.write()
    predictions.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BadInput, match=r"pred\.json"):
        score_files(truth, predictions)


def test_a_missing_file_is_named(board: Any) -> None:
    board.pair()
    truth, _ = board.write()
    with pytest.raises(BadInput, match=r"nowhere\.json"):
        score_files(truth, truth.with_name("nowhere.json"))


def test_boxes_in_pixels_against_shares_are_not_scored_as_zero(board: Any) -> None:
    board.pair([(10, 10, 20, 20)], [((10, 10, 20, 20), 0.9)])
    board.predictions[0]["bbox"] = [10, 10, 20, 20]
    with pytest.raises(BadInput, match=r"pred\.json: bbox is in pixels"):
        score_files(*board.write(), "bbox")


def test_annotators_must_share_the_pairs(board: Any) -> None:
    board.pair()
    truth, predictions = board.write()
    second = truth.with_name("second.json")
    board.images[0] = {**board.images[0], "id": 5}
    second.write_text(json.dumps(board.truth()))
    with pytest.raises(BadInput, match=r"second\.json: pair 100"):
        score_files([truth, second], predictions)


@given(mask=arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 60))))
def test_the_runs_of_a_sound_mask_fill_its_picture(mask: np.ndarray) -> None:
    counts = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    assert run_totals([b"0", counts, b"1"]).tolist() == [0, mask.size, 1]


@pytest.mark.parametrize("counts", [b"", b"P", b"~~", b"~" * 9 + b"1", b"\x1f", b"1O", b"\xff0"])
def test_damaged_runs_are_told_from_sound_ones(counts: bytes) -> None:
    assert run_totals([b"1", counts, b"1"]).tolist() == [1, -1, 1]
