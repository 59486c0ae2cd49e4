"""Predictions: a COCO result list, or our object around it -> checked rows by pair.

Two shapes are read: the bare list of `{image_id, category_id, score, bbox, segmentation}` that everybody
writes, and `{"predictions": [...], "presence": {image_id: p}, "meta": {...}}`, which `evaluate` writes since
the calibration of presence needs a number for pairs without detections too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.eval.masks import Rle, check_runs, read_segmentation
from sam3.eval.rows import Box, Row, table_rows
from sam3.eval.saco import GroundTruth, IouKind, Pair, is_normalised
from sam3.files import read_json


@dataclass(frozen=True, slots=True)
class Prediction:
    """One detection; `row` is its place in the file."""

    row: int
    category_id: int
    score: float
    bbox: Box | None
    rle: Rle | None


@dataclass(frozen=True)
class Predictions:
    """The detections of one model over a set of pairs.

    Attributes:
        presence: pair id -> probability that the phrase is in the picture; empty for bare lists.
        meta: who made them (checkpoint, engine, ...), as written.
    """

    path: Path
    by_pair: dict[int, list[Prediction]]
    presence: dict[int, float] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def of(self, image_id: int) -> list[Prediction]:
        """The detections of a pair, in the order of the file."""
        return self.by_pair.get(image_id, [])


def read_predictions(path: str | os.PathLike[str], pairs: Mapping[int, Pair], iou: IouKind = "segm") -> Predictions:
    """Read and check predictions against the pairs they are about.

    Args:
        path: the JSON file.
        pairs: the ground truth's pairs by id; masks must have their sizes.
        iou: what will be compared: "segm" needs `segmentation` in every row, "bbox" needs `bbox`.

    Raises:
        BadInput: naming file and row: broken JSON, wrong types, NaN, unknown pairs, masks of the wrong size.
    """
    return parse_predictions(read_json(path), pairs, iou, Path(path))


def parse_predictions(data: Any, pairs: Mapping[int, Pair], iou: IouKind, path: Path) -> Predictions:
    """`read_predictions` for JSON that is in memory already; `path` is the name used in errors."""
    presence, meta = {}, {}
    if isinstance(data, dict):
        if "predictions" not in data:
            raise BadInput(f'{path}: expected a list of predictions, or an object with "predictions" in it.')
        presence = _read_presence(path, data.get("presence", {}))
        meta = data.get("meta", {})
        data = data["predictions"]
    by_pair: dict[int, list[Prediction]] = {}
    rows: list[Row] = []
    rles: list[Rle] = []
    for row in table_rows(path, "predictions", data):
        image_id = row.integer("image_id")
        if image_id not in pairs:
            row.fail("image_id", f"pair {image_id} is not in the ground truth. Do the files match?")
        score = row.number("score")
        rle = read_segmentation(row, pairs[image_id].height, pairs[image_id].width) if iou == "segm" else None
        if rle is not None:
            rows.append(row)
            rles.append(rle)
        by_pair.setdefault(image_id, []).append(
            Prediction(row.index, row.integer("category_id"), score, row.box(required=iou == "bbox"), rle)
        )
    check_runs(rows, rles)
    return Predictions(path, by_pair, presence, meta)


def check_same_unit(ground_truth: GroundTruth, predictions: Predictions) -> None:
    """Boxes in pixels against boxes in shares of the picture never overlap: say so instead of scoring 0.

    Raises:
        BadInput: every box of one file lies in the unit square and every box of the other far outside of it.
    """
    annotated = [a.bbox for rows in ground_truth.annotations.values() for a in rows if a.bbox]
    predicted = [p.bbox for rows in predictions.by_pair.values() for p in rows if p.bbox]
    if not annotated or not predicted:
        return
    for small, large, small_path, large_path in (
        (annotated, predicted, ground_truth.path, predictions.path),
        (predicted, annotated, predictions.path, ground_truth.path),
    ):
        if all(map(is_normalised, small)) and all(max(b[0] + b[2], b[1] + b[3]) > 2 for b in large):
            raise BadInput(
                f"{large_path}: bbox is in pixels but in {small_path} it is a share of the picture (0 to 1). "
                "Divide x and width by the picture's width, y and height by its height.",
                field="bbox",
            )


def _read_presence(path: Path, values: Any) -> dict[int, float]:
    if not isinstance(values, dict):
        raise BadInput(f'{path}: "presence" must map pair ids to probabilities.', field="presence")
    presence = {}
    for key, value in values.items():
        if not key.lstrip("-").isdecimal() or type(value) not in (int, float) or not 0 <= value <= 1:
            raise BadInput(f'{path}: presence["{key}"] is {value!r:.40}; expected a number from 0 to 1 by pair id.')
        presence[int(key)] = float(value)
    return presence
