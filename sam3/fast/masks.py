"""The mask head, with the image's share of the work done beforehand.

Each stage of the published head is conv(upsample(coarse) + fine). A convolution is linear, so conv(fine) belongs to
the image alone and is done once (`prepare`); and a 3 x 3 convolution of a map whose pixels were doubled is a 2 x 2
one of the map itself for each of four phases, at 4/9 of the work. The 1 x 1 projection before the dot product with
the queries moves to the queries' side. Same answers up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def prepare(decoder: Any, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Levels (B, d, H_i, W_i), fine to coarse and without the coarsest, through the convolution that meets each."""
    last = len(levels) - 1
    return tuple(decoder.conv_layers[last - at](level) for at, level in enumerate(levels))


def merged_kernel(kernel: Tensor) -> Tensor:
    """(out, in, 3, 3) -> (4 * out, in, 2, 2): what each phase of a doubled map sees of the map itself.

    An even pixel sees its left neighbour once and itself twice, an odd one itself twice and its right neighbour.
    """

    def phases(k: Tensor) -> Tensor:
        first, second, third = k.unbind(-1)
        return torch.stack([torch.stack([first, second + third], -1), torch.stack([first + second, third], -1)], -2)

    both = phases(phases(kernel).permute(0, 1, 3, 4, 2))  # (out, in, column phase, column tap, row phase, row tap)
    return both.permute(4, 2, 0, 1, 5, 3).flatten(0, 2)


def double_and_convolve(x: Tensor, merged: Tensor) -> Tensor:
    """The 3 x 3 convolution of `x` (P, d, H, W) after doubling: (P, out, 2H, 2W)."""
    height, width = x.shape[-2:]
    corners = F.conv2d(x, merged, padding=1).unflatten(1, (2, 2, -1))  # (P, row phase, column phase, out, H + 1, W + 1)
    rows = [
        torch.stack([corners[:, p, q, :, p : p + height, q : q + width] for q in (0, 1)], -1).flatten(-2)
        for p in (0, 1)
    ]
    return torch.stack(rows, -2).flatten(-3, -2)


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
