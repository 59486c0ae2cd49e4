"""Half precision where it is safe: weights and activations, not angles, places and boxes.

Nor a convolutional trunk: the rounding of its fifty layers adds up, since no residual stream carries them all. With it in
bfloat16 the masks of sam3-lite overlap those of float32 by 0.983 instead of the 0.99 that is demanded; everything else
in bfloat16 costs 0.002. It is a hundredth of a large model's work.

Nor what scores hang on and costs little: the text encoder (a phrase is encoded once ever), the DETR decoder and the
scoring (a few hundred queries; their tensor cores round to 10 bits instead of 7), and the DETR encoder's residual stream
and norms. With those in bfloat16, too, boxes of sam3-lite are half a pixel off instead of an eighth.
"""

from __future__ import annotations

import torch
from torch import nn

from sam3.fast.switches import EXACT_PARTS

# bfloat16 cannot count the places along a side, nor hold an angle or a box to the pixel
KEPT = (
    "cosines",
    "sines",
    "position",
    "places_x",
    "places_y",
    "boxes_0",
    "position_ids",
    "inv_freq",
    "original_inv_freq",
    "scale",
)


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a detector's floating-point weights and buffers in place.

    Left as they are: `KEPT`, 8-bit ones, `EXACT_PARTS`, norms of the DETR encoder, and modules that are `exact`.
    """
    exact = [whole for name, whole in module.named_modules() if _stays(name, whole)]
    kept = {part for whole in exact for part in whole.modules()}
    for part in module.modules():
        if part in kept:
            continue
        for weight in part.parameters(recurse=False):
            weight.data = weight.data.to(dtype)
        for name, value in list(part.named_buffers(recurse=False)):
            if name not in KEPT and value.is_floating_point() and value.element_size() > 1:
                setattr(part, name, value.to(dtype))
    return module


def _stays(name: str, part: nn.Module) -> bool:
    *path, last = name.split(".")
    norm = isinstance(part, nn.LayerNorm) and "detr_encoder" in path
    return norm or last in EXACT_PARTS or getattr(part, "exact", False)
