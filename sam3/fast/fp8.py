"""A linear layer in 8-bit floating point (E4M3): weights scaled by row, activations by token, products in hardware.

Needs compute capability 8.9 (Ada, Hopper, Blackwell). Elsewhere the rounding is emulated, so that the error can be
measured where the speed cannot. Format: Micikevicius et al. 2022, "FP8 Formats for Deep Learning".
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, d) -> E4M3 (N, d) and float32 scales (N, 1); x is about the product of both."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FORMAT), scale


class Fp8Linear(nn.Module):
    """An `nn.Linear` whose product runs in 8 bits."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantise(source.weight.data)
        self.register_buffer("weight8", weight, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bias = source.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., out), in the dtype of x."""
        weight, scale = cast(Tensor, self.weight8), cast(Tensor, self.scale)
        tokens, step = quantise(x.flatten(0, -2))
        if x.is_cuda:
            # row-wise scales ask for bfloat16 results
            out = torch._scaled_mm(tokens, weight.t(), scale_a=step, scale_b=scale.t(), out_dtype=torch.bfloat16)
            out = out.to(x.dtype)
        else:
            out = F.linear(tokens.float() * step, weight.float() * scale).to(x.dtype)
        if self.bias is not None:
            out = out + self.bias.to(x.dtype)
        return out.unflatten(0, x.shape[:-1])
