"""The largest batch that fits: memory is measured, a line is drawn, and out-of-memory steps down.

    size = search_batch_size(attempt, budget=torch.cuda.mem_get_info()[1])

`attempt(n)` runs one training step of n pairs and returns the peak bytes it took; it may raise the device's
out-of-memory error. The result uses between 80 % and 95 % of the budget where a whole number of pairs allows.
"""

from __future__ import annotations

from collections.abc import Callable

LOW, HIGH = 0.80, 0.95


def search_batch_size(attempt: Callable[[int], int], budget: int, *, most: int = 512) -> int:
    """Search the batch size.

    Args:
        attempt: batch size -> peak bytes; raises MemoryError or torch's OutOfMemoryError when it does not fit.
        budget: bytes of the device.
        most: never more than this.

    Returns:
        The largest batch size tried that stayed under 95 % of the budget, aiming above 80 %.

    Raises:
        MemoryError: not even one pair fits.
    """
    tried: dict[int, int] = {}
    too_large = most + 1
    size = 1
    while size not in tried:
        used = _peak(attempt, size)
        if used is None or used > HIGH * budget:
            too_large = min(too_large, size)
            if size == 1:
                raise MemoryError(
                    "one pair does not fit the device: lower the image size or turn on gradient checkpointing"
                )
            size = max((_best(tried) + size) // 2, 1)
            continue
        tried[size] = used
        if used >= LOW * budget or size + 1 >= too_large:
            return size
        size = min(_guess(tried, budget), too_large - 1)
    return _best(tried)


def _guess(tried: dict[int, int], budget: int) -> int:
    """Where a straight line through the last measurements reaches the middle of the aim."""
    sizes = sorted(tried)
    if len(sizes) == 1:
        return sizes[0] * 2
    (a, b) = sizes[-2:]
    per_pair = max((tried[b] - tried[a]) / (b - a), 1.0)
    return max(int(b + ((LOW + HIGH) / 2 * budget - tried[b]) / per_pair), b + 1)


def _best(tried: dict[int, int]) -> int:
    return max(tried, default=1)


def _peak(attempt: Callable[[int], int], size: int) -> int | None:
    """Peak bytes, or None when the device ran out of memory."""
    try:
        return attempt(size)
    except MemoryError:
        return None
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            return None
        raise
