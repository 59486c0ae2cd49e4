"""A missed thing: shown on, unless it left or is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_agent.video.presence import SHOWN, excused, smoothed


def block(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((20, 100), bool)
    mask[5:15, x0:x1] = True
    return mask


@pytest.mark.parametrize(("expected", "area", "others", "reason"), [
    (block(20, 40), 200, [], False),
    (block(20, 40), 200, [block(60, 80)], False),
    (block(20, 40), 200, [block(25, 80)], True),  # three quarters are covered
    (block(20, 40), 200, [block(20, 27), block(33, 40)], True),  # covered by two together
    (block(98, 100), 200, [], True),  # a tenth of it is still in the picture
])  # fmt: skip
def test_a_miss_with_a_reason(expected: np.ndarray, area: float, others: list[np.ndarray], reason: bool) -> None:
    assert excused(expected, area, others) is reason


def test_a_clear_thing_survives_one_miss_and_not_three() -> None:
    score = smoothed(None, 0.9)
    once = smoothed(score, 0.0)
    assert once > SHOWN > smoothed(smoothed(once, 0.0), 0.0)
    assert smoothed(smoothed(None, 0.4), 0.0) < SHOWN, "a weak one is dropped at once"
