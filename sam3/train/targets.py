"""One batch of pairs, as training sees it.

Images and pairs are counted apart: an image goes through the backbone once, however many phrases are asked of
it. Made by `sam3.train.data` (real label files) and `sam3.pretrain.stream` (composed scenes); eaten by
`sam3.train.module`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from sam3.detector import BoxPrompts


@dataclass
class PairBatch:
    """B images, P pairs.

    Attributes:
        pixels: float32 (B, 3, S, S), normalised to [-1, 1].
        image_of_pair: int64 (P,), row of `pixels`.
        ids, mask: int64 (P, T) tokens of each pair's phrase.
        boxes: P tensors (n, 4) xyxy in [0, 1]; n = 0 for a negative pair.
        masks: P float32 tensors (n, H, W) in [0, 1], at the resolution the mask head works in.
        outlined: P bool tensors (n,): the mask follows the object. False for a label that was drawn as a box or
            a circle, which says where the object is but not its outline; None when all masks are true.
        exemplars: box prompts, or None.
        pair_ids: the `images.id` of each pair, for logs.
        part, features, held: what `sam3.train.frozen` stored of the images: which part left it, its tensors (one entry
            an image that is held), and bool (B,): which images are held. `pixels` then has only the others; None
            when nothing is stored.
        weight: 0 for a batch that only keeps a process in step with the others, else 1.
        number: of the batch in the run, from 0; random choices of the loss are a function of it.
    """

    pixels: Tensor
    image_of_pair: Tensor
    ids: Tensor
    mask: Tensor
    boxes: list[Tensor]
    masks: list[Tensor]
    exemplars: BoxPrompts | None = None
    outlined: list[Tensor] | None = None
    pair_ids: list[int] = field(default_factory=list)
    part: str | None = None
    features: list[Tensor] | None = None
    held: Tensor | None = None
    weight: float = 1.0
    number: int = 0

    @property
    def positive(self) -> Tensor:
        """bool (P,): the concept is in the image."""
        return torch.tensor([len(boxes) > 0 for boxes in self.boxes], device=self.pixels.device)

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: Any, non_blocking: bool = False) -> PairBatch:
        """The same batch on another device (Lightning calls this)."""
        moved = {item.name: _move(getattr(self, item.name), device, non_blocking) for item in fields(self)}
        return replace(self, **moved)

    def pin_memory(self) -> PairBatch:
        """The same batch in page-locked memory, from where a GPU copies without waiting (DataLoader calls this)."""
        pinned = {item.name: _pin(getattr(self, item.name)) for item in fields(self)}
        return replace(self, **pinned)


def _move(value: Any, device: Any, non_blocking: bool) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [item.to(device, non_blocking=non_blocking) for item in value]
    if isinstance(value, BoxPrompts):
        return BoxPrompts(_move(value.boxes, device, non_blocking), _move(value.labels, device, non_blocking))
    return value


def _pin(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.pin_memory()
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [item.pin_memory() for item in value]
    if isinstance(value, BoxPrompts):
        return BoxPrompts(value.boxes.pin_memory(), value.labels.pin_memory())
    return value
