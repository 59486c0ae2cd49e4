"""Convolutions of doubled maps, done on the map itself.

A 3 x 3 convolution of a map that was doubled linearly sees, from each of the four phases of a pixel, only 2 x 2 pixels
of the map before: one 2 x 2 convolution with four times the channels says the same, at 4/9 of the work where pixels
were repeated, and in place of three layers where a transposed convolution doubled the map.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (phase of the output, row of the 3 x 3 kernel) -> (pixel of the map before: first or second, phase it falls on)
SEEN = {(0, 0): (0, 1), (0, 1): (1, 0), (0, 2): (1, 1), (1, 0): (0, 0), (1, 1): (0, 1), (1, 2): (1, 0)}


def merged_kernel(kernel: Tensor, doubled: Tensor | None = None) -> Tensor:
    """What each phase of a doubled map sees of the map itself: (4 * out, in, 2, 2).

    Args:
        kernel: (out, middle, 3, 3), of the doubled map.
        doubled: (in, middle, 2, 2), the kernel of a transposed convolution of stride 2; None: each pixel is repeated.
    """
    if doubled is None:
        doubled = torch.eye(kernel.shape[1]).to(kernel)[..., None, None].expand(-1, -1, 2, 2)
    seen = kernel.new_zeros(2, 3, 2, 2)
    for (phase, row), (pixel, part) in SEEN.items():
        seen[phase, row, pixel, part] = 1
    return torch.einsum("omuv,imab,pura,qvsb->pqoirs", kernel, doubled, seen, seen).flatten(0, 2)


def double_and_convolve(x: Tensor, merged: Tensor) -> Tensor:
    """The 3 x 3 convolution of `x` (P, d, H, W) after doubling: (P, out, 2H, 2W)."""
    height, width = x.shape[-2:]
    corners = F.conv2d(x, merged, padding=1).unflatten(1, (2, 2, -1))  # (P, row phase, column phase, out, H + 1, W + 1)
    rows = [
        torch.stack([corners[:, p, q, :, p : p + height, q : q + width] for q in (0, 1)], -1).flatten(-2)
        for p in (0, 1)
    ]
    return torch.stack(rows, -2).flatten(-3, -2)


class MergedLevel(nn.Module):
    """A finer level of the neck: its last doubling and both convolutions in one.

    Args:
        level: transformers' `Sam3FPNLayer` of scale 2 or 4. Its weights are read once.
    """

    borders: Tensor
    merged: Tensor

    def __init__(self, level: Any) -> None:
        super().__init__()
        self.before = level.scale_layers[:-1]
        last, kernel = level.scale_layers[-1], level.proj2.weight.data
        point = level.proj1.weight.data[..., 0, 0].float()
        doubled = torch.einsum("icab,mc->imab", last.weight.data.float(), point)
        constant = point @ last.bias.data.float() + level.proj1.bias.data.float()
        # at the border the second convolution sees zeros, not the first one's bias: (out, 3, 3) for edge, middle, edge
        around = F.conv2d(constant[:, None, None].expand(-1, 3, 3), kernel.float(), padding=1)
        borders = around + level.proj2.bias.data.float()[:, None, None]
        self.register_buffer("merged", merged_kernel(kernel.float(), doubled).to(kernel.dtype), persistent=False)
        self.register_buffer("borders", borders.to(kernel.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, d, scale * H, scale * W)."""
        x = x.to(self.merged.dtype)
        for layer in self.before:
            x = layer(x)
        made = double_and_convolve(x, self.merged)
        rows, columns = (spread(count, x.device) for count in made.shape[-2:])
        return made + self.borders[:, rows][..., columns]


def doubles(level: Any) -> bool:
    """Whether a level of the neck ends in a transposed convolution and the two that `MergedLevel` merges it with."""
    return bool(len(level.scale_layers)) and isinstance(level.scale_layers[-1], nn.ConvTranspose2d)


def spread(count: int, device: torch.device) -> Tensor:
    """0 for the first, 2 for the last of `count` places, 1 for those between."""
    places = torch.arange(count, device=device)
    return (places > 0).long() + (places == count - 1).long()
