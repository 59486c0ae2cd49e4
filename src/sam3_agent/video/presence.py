"""Whether a followed thing is still there: a score smoothed over time, so that one missed look does not make it blink.

A thing that the detector found and now does not is believed for as long as its smoothed score stays above a bound, unless
there is a reason for the miss: it left the picture, or another thing that was found now covers it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam3.types import BoolArray, FloatArray

WEIGHT = 0.5  # of the newest look
SHOWN = 0.3  # smoothed score from which a thing that was missed is still shown
COVERED = 0.5  # share of a mask that others may cover before it counts as hidden
LEFT = 0.15  # share of the last seen area below which a thing has left the picture


def smoothed(before: float | None, score: float) -> float:
    """Exponential smoothing of a score in [0, 1]; the first one as it is."""
    return score if before is None else (1 - WEIGHT) * before + WEIGHT * score


def excused(mask: BoolArray, area: float, others: Sequence[BoolArray], expected: FloatArray) -> bool:
    """Whether a miss has a reason: the thing left the picture, or is hidden behind things that were found.

    Args:
        mask: bool (H, W), where the thing was expected.
        area: pixels it had when it was last found.
        others: masks of what was found in this frame.
        expected: (4,) xyxy, where the whole thing would be, hidden parts included.
    """
    left = int(np.count_nonzero(mask))
    if left <= LEFT * area:
        return True
    others = [other for other in others if not _same(mask, left, other)]
    hidden = sum(int(np.count_nonzero(mask & other)) for other in others)
    if hidden > COVERED * left:
        return True
    x0, y0, x1, y1 = (int(v) for v in np.clip(expected, 0, [mask.shape[1], mask.shape[0]] * 2))
    over = sum(int(np.count_nonzero(other[y0:y1, x0:x1])) for other in others)
    return over > COVERED * max((x1 - x0) * (y1 - y0), 1)


def _same(mask: BoolArray, area: int, other: BoolArray) -> bool:
    """Whether another phrase found this very thing: it does not hide itself."""
    both = int(np.count_nonzero(mask & other))
    return 2 * both > area + int(np.count_nonzero(other)) - both
