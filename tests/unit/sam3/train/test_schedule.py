"""The learning rate rises, falls along a cosine, and is a function of step and length alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3.train.schedule import share_of_rate


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.2), (4, 1.0), (5, 1.0), (52, 0.5 * (1 + 0.0516)), (99, 0.02), (500, 0.02)]
)
def test_five_steps_up_and_a_half_cosine_down(step: int, share: float) -> None:
    assert share_of_rate(step, 100, warmup=0.05, floor=0.02) == pytest.approx(share, abs=0.02)


@given(step=st.integers(0, 10_000), total=st.integers(2, 10_000))
def test_the_share_stays_between_floor_and_one(step: int, total: int) -> None:
    assert 0 < share_of_rate(step, total) <= 1
    assert step < total or share_of_rate(step, total) == pytest.approx(0.02)
