"""Segmentations as they stand in files -> checked COCO run-length encodings.

Polygons, uncompressed and compressed RLE all become `Rle`. Compressed runs come from outside and go into C
code that trusts them, so their lengths are added up first: a mask that does not fill its picture is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sam3.eval.rows import Box, Row


class Rle(TypedDict):
    """COCO compressed RLE: `size` is [height, width], `counts` the compressed runs."""

    size: list[int]
    counts: bytes


def read_segmentation(row: Row, height: int, width: int) -> Rle:
    """The `segmentation` of a row as RLE of a (height, width) picture. Compressed runs are not added up yet.

    Raises:
        BadInput: missing, of a shape that is none of COCO's three, or of another size than the picture.
    """
    value = row.fields.get("segmentation")
    if isinstance(value, list):
        return _from_polygons(row, value, height, width)
    if not isinstance(value, dict) or "size" not in value or "counts" not in value:
        row.fail("segmentation", '"segmentation" must be polygons or RLE ({"size": [h, w], "counts": ...}).')
    if value["size"] != [height, width]:
        row.fail(
            "segmentation",
            f"the mask is {value['size']} (height, width) its picture {[height, width]}; make them equal.",
        )
    counts = value["counts"]
    if isinstance(counts, str) and counts.isascii():
        return Rle(size=[height, width], counts=counts.encode("ascii"))
    whole = isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts)
    if not whole or sum(counts) != height * width:
        row.fail("segmentation", f"the mask's runs must be whole numbers that add up to {height * width}.")
    return coco_mask.frPyObjects(value, height, width)


def check_runs(rows: Sequence[Row], rles: Sequence[Rle]) -> None:
    """Add up the runs of every mask of a file at once.

    Raises:
        BadInput: the first row whose runs are damaged or do not add up to height x width.
    """
    if not rles:
        return
    wanted = np.array([rle["size"][0] * rle["size"][1] for rle in rles])
    for bad in np.flatnonzero(run_totals([rle["counts"] for rle in rles]) != wanted).tolist():
        height, width = rles[bad]["size"]
        rows[bad].fail("segmentation", f"damaged RLE: its runs do not fill {height} x {width} pixels.")


def run_totals(counts: Sequence[bytes]) -> NDArray[np.int64]:
    """Pixels that each compressed RLE covers, background included; -1 where it is damaged.

    The format (pycocotools' maskApi): a number is 5-bit digits, least first, each a character from '0' on
    with bit 5 set while more follow and the last one's bit 4 as sign; from the fourth run on, a number is
    the difference to the run two before it.
    """
    damaged = np.array([not c or bool((c[-1] - 48) & 32) for c in counts])
    texts = [b"0" if bad else c for c, bad in zip(counts, damaged, strict=True)]
    digits = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    text_of_digit = np.repeat(np.arange(len(texts)), [len(t) for t in texts])

    last = (digits & 32) == 0
    first = np.concatenate([[True], last[:-1]])
    starts = np.flatnonzero(first)
    place = np.arange(len(digits)) - np.repeat(starts, np.diff(np.append(starts, len(digits))))
    damaged[text_of_digit[(digits < 0) | (digits > 63) | (place > 6)]] = True  # 7 digits hold any 32-bit run
    place = np.minimum(place, 6)
    numbers = np.add.reduceat((digits & 31) << (5 * place), starts)
    numbers -= np.where(digits[last] & 16, 1 << (5 * (place[last] + 1)), 0)

    text_of_number = text_of_digit[starts]
    heads = np.searchsorted(text_of_number, np.arange(len(texts)))
    nth = np.arange(len(numbers)) - heads[text_of_number]
    runs = numbers.copy()
    for chain in (nth % 2 == 1, (nth % 2 == 0) & (nth > 0)):
        running = np.cumsum(np.where(chain, numbers, 0))
        before = np.concatenate([[0], running])[heads]
        runs[chain] = (running - before[text_of_number])[chain]
    damaged[text_of_number[runs < 0]] = True
    return np.where(damaged, -1, np.add.reduceat(runs, heads))


def mask_iou(a: Sequence[Rle | None], b: Sequence[Rle | None]) -> NDArray[np.float64]:
    """(A, B) intersection over union of masks of one picture."""
    return _compare(a, b, of_first=False)


def box_iou(a: Sequence[Box | None], b: Sequence[Box | None]) -> NDArray[np.float64]:
    """(A, B) intersection over union of xywh boxes in one unit."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    return np.asarray(coco_mask.iou(np.array(a, np.float64), np.array(b, np.float64), [0] * len(b)))


def share_inside(a: Sequence[Rle | None], b: Sequence[Rle | None]) -> NDArray[np.float64]:
    """(A, B) share of each mask in `a` that lies in each mask in `b`."""
    return _compare(a, b, of_first=True)


def _compare(a: Sequence[Rle | None], b: Sequence[Rle | None], *, of_first: bool) -> NDArray[np.float64]:
    if not a or not b:
        return np.zeros((len(a), len(b)))
    # COCO divides by the area of `a` alone where `b` is a crowd
    return np.asarray(coco_mask.iou(list(a), list(b), [int(of_first)] * len(b)))


def _from_polygons(row: Row, polygons: list[Any], height: int, width: int) -> Rle:
    for polygon in polygons:
        if (
            not isinstance(polygon, list)
            or len(polygon) < 6  # pycocotools would take 4 numbers for a box
            or len(polygon) % 2
            or not all(type(v) in (int, float) and math.isfinite(v) for v in polygon)
        ):
            row.fail("segmentation", f"a polygon must be [x1, y1, x2, y2, x3, y3, ...], not {polygon!r:.60}.")
    if not polygons:
        row.fail("segmentation", '"segmentation" is an empty list; an instance needs a shape.')
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
