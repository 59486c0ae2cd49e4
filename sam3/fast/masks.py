"""The mask head, with the image's share of the work done beforehand.

Each stage of the published head is conv(upsample(coarse) + fine). A convolution is linear, so conv(fine) belongs to
the image alone and is done once (`prepare`); conv(upsample(coarse)) is done on the coarse map (`sam3.fast.doubling`).
The 1 x 1 projection before the dot product with the queries moves to the queries' side. Same answers up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam3.fast.doubling import double_and_convolve, merged_kernel


def prepare(decoder: Any, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Levels (B, d, H_i, W_i), fine to coarse and without the coarsest, through the convolution that meets each."""
    last = len(levels) - 1
    return tuple(decoder.conv_layers[last - at](level) for at, level in enumerate(levels))


class PixelDecoder(nn.Module):
    """From the coarsest map to the finest."""

    def __init__(self, source: Any, phases: bool) -> None:
        super().__init__()
        self.source: Any = source  # the published module, whose parts have no types
        self.phases = phases
        if phases:
            for at, layer in enumerate(source.conv_layers):
                self.register_buffer(f"merged_{at}", merged_kernel(layer.weight.data), persistent=False)

    def prepare(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What is kept of the fine levels: convolved already, or as they are."""
        return prepare(self.source, levels) if self.phases else levels

    def forward(self, coarse: Tensor, fine: tuple[Tensor, ...]) -> Tensor:
        """(P, d, H, W) and what `prepare` left -> (P, d, H_0, W_0)."""
        for at, level in enumerate(reversed(fine)):
            if self.phases:
                coarse = double_and_convolve(coarse, getattr(self, f"merged_{at}")) + level
            else:
                coarse = self.source.conv_layers[at](F.interpolate(coarse, size=level.shape[-2:]) + level)
            coarse = F.relu(self.source.norms[at](coarse))
        return coarse


def draw(head: Any, pixels: Tensor, queries: Tensor) -> Tensor:
    """Mask logits of queries (P, n, d) over pixel embeddings (P, d, H, W): (P, n, H * W)."""
    wanted = head.mask_embedder(queries)
    projection = head.instance_projection
    kernel = projection.weight.flatten(1)  # (d, d): applied to the few queries instead of the many pixels
    return torch.matmul(wanted @ kernel, pixels.flatten(2)) + (wanted @ projection.bias)[..., None]
