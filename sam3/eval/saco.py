"""SA-Co ground truth: one JSON file -> checked pairs and their annotations.

A *pair* is one (image, noun phrase): one row of `images`. The first step of every measurement; the other half
of the input is read by `predictions`. Nothing is guessed: a file that the published evaluator would crash on
gets an error here that names the row.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sam3.errors import BadInput
from sam3.eval.masks import Rle, check_runs, read_segmentation
from sam3.eval.rows import Box, Row, table_rows
from sam3.files import read_json

IouKind = Literal["segm", "bbox"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One (image, noun phrase).

    Attributes:
        image_id: the pair's id; SA-Co calls it so although several pairs may share a picture.
        file_name: the picture, relative to the images folder.
        height, width: pixels.
        exhaustive: every instance is annotated; other pairs are not evaluated.
        source: group of pictures that belong together (a farm, a video); empty when unknown.
    """

    image_id: int
    file_name: str
    text_input: str
    height: int
    width: int
    exhaustive: bool
    source: str = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated instance. `bbox` is xywh in the file's unit, `rle` is there when masks were asked for."""

    id: int
    category_id: int
    crowd: bool
    bbox: Box | None
    rle: Rle | None


@dataclass(frozen=True)
class GroundTruth:
    """One annotator's file."""

    path: Path
    pairs: dict[int, Pair]
    annotations: dict[int, list[Annotation]]
    categories: frozenset[int]

    @property
    def evaluable(self) -> list[int]:
        """Ids of the exhaustively annotated pairs, in the order of the file."""
        return [pair.image_id for pair in self.pairs.values() if pair.exhaustive]

    def instances(self, image_id: int) -> list[Annotation]:
        """What counts as an instance of a pair: no crowds, only the file's categories."""
        rows = self.annotations.get(image_id, [])
        kept = [a for a in rows if not a.crowd and a.category_id in self.categories]
        return sorted(kept, key=lambda a: a.category_id)  # stable: the file's order within a category

    def keep(self, image_ids: Collection[int]) -> GroundTruth:
        """The same file with only these pairs."""
        return replace(self, pairs={i: p for i, p in self.pairs.items() if i in image_ids})

    @property
    def normalised_boxes(self) -> bool:
        """Whether `bbox` is a share of the picture (SA-Co's way) and not pixels; true without boxes."""
        boxes = [a.bbox for rows in self.annotations.values() for a in rows if a.bbox]
        return all(is_normalised(box) for box in boxes)


def is_normalised(box: Box) -> bool:
    """Whether an xywh box lies in the unit square, rounding allowed."""
    return max(box[0] + box[2], box[1] + box[3]) <= 1.01


def read_ground_truth(path: str | os.PathLike[str], iou: IouKind = "segm") -> GroundTruth:
    """Read and check one SA-Co file.

    Args:
        path: the JSON file.
        iou: what will be compared; "segm" needs `segmentation` in every annotation, "bbox" needs `bbox`.

    Raises:
        BadInput: naming file and row: broken JSON, missing keys, wrong types, ids that appear twice,
            annotations of an unknown pair, masks of the wrong size.
    """
    file = Path(path)
    data = read_json(file)
    if not isinstance(data, dict):
        raise BadInput(f"{file}: expected an object with images, annotations and categories, not a {_name(data)}.")
    for key in ("images", "annotations", "categories"):
        if key not in data:
            raise BadInput(f'{file}: "{key}" is missing; SA-Co has images, annotations and categories.', field=key)
    categories = frozenset(row.integer("id") for row in table_rows(file, "categories", data["categories"]))
    if not categories:
        raise BadInput(f'{file}: "categories" is empty: every annotation would be left out.', field="categories")
    pairs = _read_pairs(file, data["images"])
    return GroundTruth(file, pairs, _read_annotations(file, data["annotations"], pairs, iou), categories)


def _read_pairs(path: Path, values: Any) -> dict[int, Pair]:
    pairs: dict[int, Pair] = {}
    for row in table_rows(path, "images", values):
        pair = Pair(
            image_id=row.integer("id"),
            file_name=row.text("file_name"),
            text_input=row.text("text_input"),
            height=row.integer("height", least=1),
            width=row.integer("width", least=1),
            exhaustive=row.flag("is_instance_exhaustive"),
            source=row.text("source"),
        )
        if pair.image_id in pairs:
            row.fail("id", f"id {pair.image_id} appears twice; every pair needs its own.")
        pairs[pair.image_id] = pair
    return pairs


def _read_annotations(path: Path, values: Any, pairs: dict[int, Pair], iou: IouKind) -> dict[int, list[Annotation]]:
    by_pair: dict[int, list[Annotation]] = {}
    seen: set[int] = set()
    rows: list[Row] = []
    rles: list[Rle] = []
    for row in table_rows(path, "annotations", values):
        annotation_id, image_id = row.integer("id"), row.integer("image_id")
        if annotation_id in seen:
            row.fail("id", f"id {annotation_id} appears twice; every annotation needs its own.")
        if image_id not in pairs:
            row.fail("image_id", f"image_id {image_id} is not among the images of the file.")
        seen.add(annotation_id)
        pair = pairs[image_id]
        rle = read_segmentation(row, pair.height, pair.width) if iou == "segm" else None
        if rle is not None:
            rows.append(row)
            rles.append(rle)
        category, crowd, box = (
            row.integer("category_id"),
            row.flag("iscrowd"),
            row.box(required=iou == "bbox"),
        )
        by_pair.setdefault(image_id, []).append(Annotation(annotation_id, category, crowd, box, rle))
    check_runs(rows, rles)
    return by_pair


def _name(value: Any) -> str:
    return {list: "list", str: "text", type(None): "null"}.get(type(value), type(value).__name__)
