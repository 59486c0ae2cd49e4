"""Batches on their way to the device: workers that stay, page-locked memory where a GPU waits, a share per process."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.utils.data import DataLoader, Subset

from sam3.tokenizer import Tokenizer
from sam3.train.data import Items, OrderedBatches
from sam3.train.targets import PairBatch
from sam3.train.world import World


def training_loader(batches: OrderedBatches, workers: int, *, gpu: bool) -> DataLoader[PairBatch]:
    """Endless training batches, made by `workers` processes (0: by this one)."""
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        persistent_workers=workers > 0,
        pin_memory=gpu,
    )


def validation_loader(
    pairs: Items, tokenizer: Tokenizer, batch_size: int, world: World, *, gpu: bool
) -> DataLoader[PairBatch]:
    """Every held-out pair once over all processes; a process may have one batch less than another, or none."""
    mine: Any = Subset(pairs, range(world.rank, len(pairs), world.size))  # type: ignore[arg-type]
    size = max(batch_size // world.size, 1)
    return DataLoader(mine, batch_size=size, collate_fn=partial(_batch, pairs, tokenizer), pin_memory=gpu)


def _batch(pairs: Items, tokenizer: Tokenizer, items: list[dict[str, Any]]) -> PairBatch:
    return pairs.batch(items, tokenizer)
