"""What the training run says by itself: flat presence, spiking gradients, and how large a batch fits."""

from __future__ import annotations

import math

import pytest

from sam3.train.batch_size import HIGH, LOW, search_batch_size
from sam3.train.watch import WINDOW, Watch


def said(presence: list[float], norms: list[float]) -> list[str]:
    watch = Watch(say=lambda message: None)
    return [line for step, (p, n) in enumerate(zip(presence, norms, strict=True)) for line in watch.look(step, p, n)]


def test_a_flat_presence_loss_is_said_once() -> None:
    steps = 4 * WINDOW
    messages = said([0.69] * steps, [1.0] * steps)
    assert len(messages) == 1 and "presence loss is flat at 0.69" in messages[0]


def test_a_falling_presence_loss_is_not() -> None:
    steps = 4 * WINDOW
    assert said([0.69 * 0.99**step for step in range(steps)], [1.0] * steps) == []


def test_a_loss_that_trembles_at_one_level_is_said_once() -> None:
    steps = 12 * WINDOW
    trembling = [0.6 + 0.1 * math.sin(step / 25) for step in range(steps)]
    assert len(said(trembling, [1.0] * steps)) == 1


def test_a_presence_loss_that_has_been_learnt_may_be_flat() -> None:
    assert said([0.3] * (4 * WINDOW), [1.0] * (4 * WINDOW)) == []


def test_a_gradient_spike_is_said() -> None:
    messages = said([0.05] * (WINDOW + 1), [1.0] * WINDOW + [50.0])
    assert len(messages) == 1 and "gradient norm 50, 50 times the usual" in messages[0]


GIB = 2**30


@pytest.mark.parametrize(("fixed", "per_pair"), [(2.0, 0.5), (1.0, 3.1), (4.0, 0.11), (0.5, 11.0)])
def test_the_search_fills_the_device_but_not_to_the_brim(fixed: float, per_pair: float) -> None:
    budget = 80 * GIB

    def attempt(size: int) -> int:
        used = (fixed + per_pair * size) * GIB
        if used > budget:
            raise MemoryError
        return int(used)

    size = search_batch_size(attempt, budget, most=4096)
    used = fixed + per_pair * size
    assert used <= HIGH * 80
    assert used >= LOW * 80 or fixed + per_pair * (size + 1) > HIGH * 80


def test_the_search_steps_down_when_memory_grows_faster_than_a_line() -> None:
    def attempt(size: int) -> int:
        if size > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return size * GIB

    assert 15 <= search_batch_size(attempt, 80 * GIB) <= 20


def test_other_errors_are_not_swallowed() -> None:
    def attempt(size: int) -> int:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        search_batch_size(attempt, GIB)


def test_not_even_one_pair_says_what_to_do() -> None:
    with pytest.raises(MemoryError, match="gradient checkpointing"):
        search_batch_size(lambda size: 100 * GIB, GIB)
