"""The learning rate of every training in this repository: linear warm-up, then cosine decay.

A function of the step and the length of the run alone, so a run that goes on, or is made longer, needs no state.
"""

from __future__ import annotations

import math


def share_of_rate(step: int, total: int, *, warmup: float = 0.05, floor: float = 0.02) -> float:
    """What share of the learning rate holds at `step` (from 0) of `total`.

    Args:
        warmup: share of all steps in which it rises. floor: where it ends, as a share.

    Returns:
        In (0, 1].
    """
    warm = max(int(warmup * total), 1)
    if step < warm:
        return (step + 1) / warm
    done = min((step - warm) / max(total - warm, 1), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
