"""A SA-Co file as two tables that can be checked column by column.

What concerns several rows or needs the pixels (does an annotation's picture exist, is its box inside, does
its mask decode to the stored area) becomes a column here, so that a check is one expectation on one column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sam3_agent.etl.saco import SacoFile

EDGE = 1e-6  # fraction of a side; rounding of the stored numbers


def image_table(saco: SacoFile) -> pd.DataFrame:
    """One row a pair: the file's columns, and `kind_fits` (negatives have no annotations, positives some)."""
    rows = []
    for row, count in saco.counts():
        positive = row.get("kind", "positive" if count else "negative") == "positive"
        rows.append(
            {
                **row,
                "annotation_count": count,
                "positive": float(count > 0),
                "kind_fits": positive == (count > 0),
            }
        )
    table = pd.DataFrame(rows)
    # the same picture with the same words twice is counted twice by every metric
    table["pair"] = table["file_name"].astype(str) + " · " + table["text_input"].astype(str)
    return table


def annotation_table(saco: SacoFile, progress: Iterable[dict[str, Any]] | None = None) -> pd.DataFrame:
    """One row an annotation: id, image_id, file_name, area, iscrowd, and the columns computed from several.

    Columns: `image_exists`, `bbox_inside` (bool); `decodes` (bool: the mask has the picture's size);
    `roundtrip_gap` (float): |decoded area - stored area| in units of what drawing on a pixel grid may change
    (half the outline's length and two pixels), so 1 is the limit; NaN when it does not decode.

    Args:
        saco: the file.
        progress: `saco.annotations`, wrapped in a progress bar if wanted.
    """
    images = {row["id"]: row for row in saco.images}
    names = [
        "id",
        "image_id",
        "file_name",
        "area",
        "iscrowd",
        "image_exists",
        "bbox_inside",
        "decodes",
        "roundtrip_gap",
    ]
    rows = [_annotation(row, images.get(row["image_id"])) for row in (progress or saco.annotations)]
    return pd.DataFrame(rows, columns=names)


def _annotation(row: dict[str, Any], image: dict[str, Any] | None) -> tuple[Any, ...]:
    area, crowd = row.get("area"), row.get("iscrowd")
    if image is None:
        return row["id"], row["image_id"], "", area, crowd, False, False, False, math.nan
    gap = _roundtrip_gap(row, image)
    inside = _is_inside(row.get("bbox"))
    return (
        row["id"],
        row["image_id"],
        image["file_name"],
        area,
        crowd,
        True,
        inside,
        gap is not None,
        gap or 0.0,
    )


def _is_inside(bbox: Any) -> bool:
    try:
        x, y, w, h = (float(value) for value in bbox)
    except (TypeError, ValueError):
        return False
    return x >= -EDGE and y >= -EDGE and w > 0 and h > 0 and x + w <= 1 + EDGE and y + h <= 1 + EDGE


def _roundtrip_gap(row: dict[str, Any], image: dict[str, Any]) -> float | None:
    """Decoded against stored area; None when the mask does not decode to the size of the picture."""
    from pycocotools import mask as coco_mask

    height, width, segmentation = image["height"], image["width"], row.get("segmentation")
    try:
        if isinstance(segmentation, dict):
            rle = segmentation
            if isinstance(rle["counts"], list):
                rle = coco_mask.frPyObjects(rle, height, width)
            outline = 2.0 * (row["bbox"][2] * width + row["bbox"][3] * height)
        else:
            outline = sum(_perimeter(flat) for flat in segmentation or ())
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        if list(rle["size"]) != [height, width] or coco_mask.decode(rle).shape != (height, width):
            return None
        stored = float(row["area"]) * width * height
    except (TypeError, ValueError, KeyError, IndexError):
        return None
    return abs(float(coco_mask.area(rle)) - stored) / (outline / 2 + 2)


def _perimeter(flat: list[float]) -> float:
    """Length of a flat polygon, pixels. ValueError when it is no polygon."""
    ring = np.array(flat, np.float64).reshape(-1, 2)
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError("a polygon has three finite points or more")
    return float(np.hypot(*(ring - np.roll(ring, 1, axis=0)).T).sum())
