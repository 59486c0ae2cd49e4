"""What the numbers of a training config may be: a run that cannot end well does not begin.

Called by `sam3.train.config.compose`, so every way into a run (here, torchrun, a cluster job's submission) has passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from sam3.errors import BadConfig

# key: least, most (None: no bound), in words
LIMITS: dict[str, tuple[float | None, float | None, str]] = {
    "train.max_epochs": (1, None, "1 or more"),
    "train.accumulate": (1, None, "1 or more"),
    "data.workers": (0, None, "0 or more"),
    "data.views": (0, None, "0 or more"),
    "trainer.threads": (0, None, "0 (all) or more"),
    "trainer.save_every": (0, None, "0 (never) or more"),
    "trainer.validate_every": (0, None, "0 or more"),
    "trainer.keep": (1, None, "1 or more: the best of them becomes the result"),
    "trainer.mean_decay": (0, 0.9999999, "0 (off) to just below 1"),
    "model.lora.rank": (0, None, "0 (off) or more"),
    "model.lora.dropout": (0, 0.9999999, "0 to just below 1"),
    "loss.mask_points": (0, None, "0 (everywhere) or more"),
    "loss.mask_share": (0, 1, "a share, 0 to 1"),
    "optimizer.learning_rate": (0, None, "0 or more"),
    "optimizer.weight_decay": (0, None, "0 or more"),
    "optimizer.clip": (0, None, "0 (off) or more"),
    "optimizer.warmup": (0, 1, "a share, 0 to 1"),
}


def check(config: Any) -> None:
    """Hold a `TrainConfig` against what its numbers may be.

    Raises:
        BadConfig: names the first key that is out of bounds.
    """
    for key, value in _numbers(config, ""):
        if not math.isfinite(value):
            raise BadConfig(f"{key}={value}: expected a finite number.", field=key)
        least, most, words = LIMITS.get(key, (None, None, ""))
        if (least is not None and value < least) or (most is not None and value > most):
            raise BadConfig(f"{key}={value}: expected {words}.", field=key)
    size = config.train.batch_size
    if size != "auto" and not (isinstance(size, int) and size >= 1):
        raise BadConfig(f"train.batch_size={size}: expected 1 or more, or auto.", field="train.batch_size")
    if config.cache.enabled:
        config.cache.check()


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Dotted key and value of every number in nested dataclasses."""
    for item in fields(value):
        inner, name = getattr(value, item.name), f"{key}.{item.name}".lstrip(".")
        if is_dataclass(inner):
            yield from _numbers(inner, name)
        elif isinstance(inner, (int, float)) and not isinstance(inner, bool):
            yield name, inner
