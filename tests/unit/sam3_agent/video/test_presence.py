"""A missed thing: shown on, unless it left or is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_agent.video.flow import box_of
from sam3_agent.video.presence import SHOWN, excused, smoothed


def block(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((20, 100), bool)
    mask[5:15, x0:x1] = True
    return mask


def whole(mask: np.ndarray) -> np.ndarray:
    box = box_of(mask)
    assert box is not None
    return box


@pytest.mark.parametrize(("mask", "area", "others", "reason"), [
    (block(20, 40), 200, [], False),
    (block(20, 40), 200, [block(60, 80)], False),
    (block(20, 40), 200, [block(25, 80)], True),  # three quarters are covered
    (block(20, 40), 200, [block(20, 27), block(33, 40)], True),  # covered by two together
    (block(98, 100), 200, [], True),  # a twentieth of it is still in the picture
])  # fmt: skip
def test_a_miss_with_a_reason(mask: np.ndarray, area: float, others: list[np.ndarray], reason: bool) -> None:
    assert excused(mask, area, others, whole(mask)) is reason


def test_a_sliver_beside_what_hides_the_rest_has_a_reason() -> None:
    sliver, post = block(20, 24), block(26, 60)
    assert not excused(sliver, 60, [post], whole(sliver))
    assert excused(sliver, 60, [post], np.array([20, 5, 50, 15], np.float32))


def test_the_same_thing_found_under_another_name_does_not_hide_itself() -> None:
    assert not excused(block(20, 40), 200, [block(21, 41)], whole(block(20, 40)))


def test_a_clear_thing_survives_one_miss_and_not_three() -> None:
    score = smoothed(None, 0.9)
    once = smoothed(score, 0.0)
    assert once > SHOWN > smoothed(smoothed(once, 0.0), 0.0)
    assert smoothed(smoothed(None, 0.4), 0.0) < SHOWN, "a weak one is dropped at once"
