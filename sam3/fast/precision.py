"""Half precision where it is safe: weights and activations, not angles, places and boxes."""

from __future__ import annotations

import torch
from torch import nn

# bfloat16 cannot count the places along a side, nor hold an angle or a box to the pixel
KEPT = ("cosines", "sines", "places_x", "places_y", "boxes_0", "position_ids", "inv_freq", "original_inv_freq", "scale")


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a detector's floating-point weights and buffers in place, except those in `KEPT` and 8-bit ones."""
    for part in module.modules():
        for weight in part.parameters(recurse=False):
            weight.data = weight.data.to(dtype)
        for name, value in list(part.named_buffers(recurse=False)):
            if name not in KEPT and value.is_floating_point() and value.element_size() > 1:
                setattr(part, name, value.to(dtype))
    return module
