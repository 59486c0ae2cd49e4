"""The thing in a box or under a click by its colours alone (GrabCut, Rother et al. 2004): what an annotator gets where
the model sees nothing at all. A start to be refined, and better than drawing every corner.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3.types import UInt8Array

SIDE = 320  # pixels; the part around the box is worked on at most so large
MARGIN = 0.25  # of the box, around it: what the background looks like
ROUNDS = 4
LEAST = 0.02  # share of the box that a thing must fill


def by_colour(
    image: UInt8Array, box: tuple[float, float, float, float], point: tuple[float, float] | None = None
) -> NDArray[np.bool_] | None:
    """Mask (H, W) of what stands out in a box, in one piece; None when nothing does.

    Args:
        image: uint8 RGB (H, W, 3). box: xyxy pixels, around the thing. point: xy on it, if known.
    """
    import cv2

    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(box, 0, (width, height, width, height))
    pad = MARGIN * max(x1 - x0, y1 - y0)
    left, top = int(max(0, x0 - pad)), int(max(0, y0 - pad))
    part = image[top : int(min(height, np.ceil(y1 + pad))), left : int(min(width, np.ceil(x1 + pad)))]
    scale = min(1.0, SIDE / max(part.shape[:2]))
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    inner = np.round(np.array([x0 - left, y0 - top, x1 - left, y1 - top]) * scale).astype(int)
    if (inner[2:] - inner[:2] < 4).any() or (inner[2:] - inner[:2]).prod() >= small.shape[0] * small.shape[1]:
        return None
    marks = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    marks[inner[1] : inner[3], inner[0] : inner[2]] = cv2.GC_PR_FGD
    middle = ((x0 + x1) / 2, (y0 + y1) / 2) if point is None else point
    centre = (int((middle[0] - left) * scale), int((middle[1] - top) * scale))
    if point is not None:
        cv2.circle(marks, centre, max(2, SIDE // 80), cv2.GC_FGD, -1)
    cv2.setRNGSeed(0)
    bgr, all_of_it = np.ascontiguousarray(small[..., ::-1]), (0, 0, small.shape[1], small.shape[0])  # marks say where
    cv2.grabCut(bgr, marks, all_of_it, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS)
    found = _piece((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD), centre)
    if np.count_nonzero(found) < LEAST * (inner[2:] - inner[:2]).prod():
        return None
    mask: NDArray[np.bool_] = np.zeros((height, width), bool)
    large = cv2.resize(found.astype(np.float32), part.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    mask[top : top + part.shape[0], left : left + part.shape[1]] = large
    return mask


def _piece(found: NDArray[np.bool_], centre: tuple[int, int]) -> NDArray[np.bool_]:
    """The connected piece at the centre, or else the largest."""
    import cv2

    count, numbers, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    if count < 2:
        return found
    x, y = min(max(centre[0], 0), found.shape[1] - 1), min(max(centre[1], 0), found.shape[0] - 1)
    chosen = int(numbers[y, x]) or 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.asarray(numbers == chosen, bool)
