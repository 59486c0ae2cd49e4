"""Masks as people edit them: polygons on the grid of the picture, ready for LabelMe and Label Studio."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DETAIL = 1.0  # pixels that a polygon may be off the mask's edge
CRUMB = 9.0  # pixels squared; smaller parts of a mask are not worth an editing handle


def decoded(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """A COCO RLE -> bool (H, W)."""
    from pycocotools import mask as coco_mask

    return np.asarray(coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()}), bool)


def rings(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Outer outlines of a mask's parts, largest first, each (K, 2) xy pixels; holes are filled.

    A contour runs through the centres of the border pixels; it is taken on an enlarged mask, so that the polygon
    encloses the pixels and does not lose half a pixel all around.
    """
    import cv2

    height, width = mask.shape
    fine = cv2.resize(mask.astype(np.uint8), (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out = []
    for contour in found:
        simple = cv2.approxPolyDP(contour, 2 * DETAIL, True).reshape(-1, 2).astype(float)
        if len(simple) >= 3 and cv2.contourArea(contour) / 4 >= CRUMB:
            out.append((simple + 0.5) / 2)
    return sorted(out, key=lambda ring: -_area(ring))


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
