"""How far a reference's own answer moves when its features are rounded otherwise: what no other engine can be nearer than.

Two float32 implementations of one network add up in different orders, which leaves features about 1e-6 apart (relative).
Nearly every number of an answer moves by as little; but fine-tuned weights can hold a query whose numbers move a
thousand times as much, in PyTorch alone. Its conditioning is a property of the weights and no fault of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sam3.types import Prompt

ROUNDING = 8 * 2.0**-23  # relative; 8 units in the last place, as the encoders of PyTorch and ONNX Runtime lie apart
DRAWS = 8
ALLOWED = 3.0  # times the largest movement of the draws: eight of them miss the tail

Read = Callable[[Any], Mapping[str, np.ndarray]]


def own_movement(reference: Any, embedding: Any, prompts: Sequence[Prompt], read: Read) -> dict[str, np.ndarray]:
    """Largest change of each number of an answer over `DRAWS` roundings of the features.

    Args:
        reference: an engine with `answer` and `shaken(embedding, size, seed)`.
        read: the numbers of an answer, by name.

    Returns:
        By name, the shape of the output; absolute differences in its unit.
    """

    def answered(one: Any) -> Mapping[str, np.ndarray]:
        return read(reference.answer([one] * len(prompts), prompts))

    still = answered(embedding)
    moved = {name: np.zeros_like(value) for name, value in still.items()}
    for seed in range(DRAWS):
        for name, value in answered(reference.shaken(embedding, ROUNDING, seed)).items():
            moved[name] = np.maximum(moved[name], np.abs(value - still[name]))
    return moved


def unexplained(difference: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """The differences (absolute, any shape) that are larger than `ALLOWED` times the reference's own movement, else 0.

    A NaN stays one, and a reference that moves without end explains nothing.
    """
    explained = np.isfinite(movement) & (difference <= ALLOWED * movement)
    return np.where(explained, 0.0, difference)
