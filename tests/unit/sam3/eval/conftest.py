"""A drawing board: pairs with rectangles as instances and as detections, written as SA-Co files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

Rectangle = tuple[int, int, int, int]  # x, y, width, height in pixels


def rectangle_mask(height: int, width: int, *rectangles: Rectangle) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for x, y, w, h in rectangles:
        mask[y : y + h, x : x + w] = True
    return mask


def rle_of(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


@dataclass
class Board:
    """Collects rows; `write` leaves gt.json and pred.json in a folder."""

    folder: Path
    height: int = 40
    width: int = 60
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=lambda: [{"id": 1, "name": "thing"}])

    def pair(
        self,
        truth: list[Rectangle] = [],  # noqa: B006 - never changed
        found: list[tuple[Rectangle, float]] = [],  # noqa: B006
        *,
        exhaustive: int = 1,
        crowd: int = 0,
        **extra: Any,
    ) -> int:
        """Add a pair with instances `truth` and detections `found`; returns its id."""
        image_id = 100 + len(self.images)
        row = {
            "id": image_id,
            "file_name": f"{image_id}.png",
            "text_input": "thing",
            "height": self.height,
            "width": self.width,
            "is_instance_exhaustive": exhaustive,
        }
        self.images.append(row | extra)
        for box in truth:
            self.annotations.append({"id": len(self.annotations) + 1, "iscrowd": crowd, **self._shape(image_id, [box])})
        for box, score in found:
            self.predictions.append({"score": score, **self._shape(image_id, [box])})
        return image_id

    def _shape(self, image_id: int, boxes: list[Rectangle]) -> dict[str, Any]:
        x, y, w, h = boxes[0]
        return {
            "image_id": image_id,
            "category_id": 1,
            "area": w * h / (self.width * self.height),
            "bbox": [x / self.width, y / self.height, w / self.width, h / self.height],
            "segmentation": rle_of(rectangle_mask(self.height, self.width, *boxes)),
        }

    def paint(self, *boxes: Rectangle) -> dict[str, Any]:
        """The RLE of one mask made of several rectangles."""
        return rle_of(rectangle_mask(self.height, self.width, *boxes))

    def truth(self) -> dict[str, Any]:
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}

    def write(self) -> tuple[Path, Path]:
        ground_truth, predictions = self.folder / "gt.json", self.folder / "pred.json"
        ground_truth.write_text(json.dumps(self.truth()))
        predictions.write_text(json.dumps(self.predictions))
        return ground_truth, predictions


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)
