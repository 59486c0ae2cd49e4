"""SAM 3's ViT with one product for queries, keys and values, and rotary tables that are made once.

Takes the modules of transformers' `Sam3ViTModel` as they are; other backbones (sam3-lite's) run unchanged.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import Sam3ViTModel, window_partition, window_unpartition

from sam3.fast.attention import scaled_dot_product
from sam3.fast.fp8 import Fp8Linear
from sam3.fast.switches import Switches


class FastAttention(nn.Module):
    """Rotary self-attention of one layer."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, layer: Any, switches: Switches, explicit: bool) -> None:
        super().__init__()
        source = layer.attention
        self.heads, self.explicit, self.fused = source.num_attention_heads, explicit, switches.fused_qkv
        self.out: Any = source.o_proj
        parts = (source.q_proj, source.k_proj, source.v_proj)
        if self.fused:
            width = source.hidden_size
            self.qkv: Any = nn.Linear(width, 3 * width)
            self.qkv.weight = nn.Parameter(torch.cat([p.weight.data for p in parts]), requires_grad=False)
            self.qkv.bias = nn.Parameter(torch.cat([p.bias.data for p in parts]), requires_grad=False)
        else:
            self.parts = nn.ModuleList(parts)
        config = source.config
        side = layer.window_size or config.image_size // config.patch_size
        rope = getattr(config, "rope_parameters", None) or {}  # a field of its own in older transformers
        theta: Any = rope.get("rope_theta") or getattr(config, "rope_theta", 10000.0)
        self.shape = (side, config.window_size / side, source.head_dim, float(theta))
        self.kept = switches.tables
        cosines, sines = rotary_table(*self.shape, parts[0].weight.device)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)."""
        if self.fused:
            q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.parts)
        cosines, sines = (self.cosines, self.sines) if self.kept else rotary_table(*self.shape, x.device)
        seen = scaled_dot_product(rotate(q, cosines, sines), rotate(k, cosines, sines), v, None, self.explicit)
        return cast(Tensor, self.out(seen.transpose(1, 2).flatten(2)))


def rotary_table(side: int, step: float, head: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of axial rotary attention over a square, x first (Heo et al. 2024).

    Args:
        side: places along a side. step: distance of neighbours, in units of the pretraining grid. head: channels.

    Returns:
        float32 (side * side, head) each; every angle stands twice, for the pair it turns.
    """
    axis = head // 2
    turns = 1.0 / theta ** (torch.arange(0, axis, 2, device=device).float() / axis)
    at = torch.arange(side, device=device) * step
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    places = torch.stack([columns.flatten(), rows.flatten()], -1)
    angles = (places[..., None] * turns).flatten(1).repeat_interleave(2, -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn neighbouring channels of (B, heads, N, head); in float32, without complex numbers."""
    wide = x.float()
    even, odd = wide.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-odd, even), -1).flatten(-2)
    return (wide * cosines + turned * sines).to(x.dtype)


class FastViT(nn.Module):
    """(B, 3, S, S) -> (B, d, grid, grid)."""

    def __init__(self, source: Sam3ViTModel, switches: Switches, explicit: bool) -> None:
        super().__init__()
        self.embeddings, self.first_norm = source.embeddings, source.layer_norm
        self.layers: Any = source.layers  # of modules whose parts have no types
        self.patch = cast(int, source.config.patch_size)
        self.attention: Any = nn.ModuleList([FastAttention(layer, switches, explicit) for layer in source.layers])
        if switches.fp8:
            attention: Any
            layer: Any
            for attention, layer in zip(self.attention, self.layers, strict=True):
                attention.out = Fp8Linear(attention.out)
                if attention.fused:
                    attention.qkv = Fp8Linear(attention.qkv)
                layer.mlp.fc1, layer.mlp.fc2 = Fp8Linear(layer.mlp.fc1), Fp8Linear(layer.mlp.fc2)

    def forward(self, pixels: Tensor) -> Tensor:
        """The trunk's map."""
        grid = (pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch)
        x = self.first_norm(self.embeddings(pixels).unflatten(1, grid))
        for layer, attention in zip(self.layers, self.attention, strict=True):
            x = x + self._attend(layer, attention, layer.layer_norm1(x))
            x = x + layer.mlp(layer.layer_norm2(x))
        return x.permute(0, 3, 1, 2)

    def _attend(self, layer: Any, attention: Any, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        if not layer.window_size:
            return cast(Tensor, attention(x.flatten(1, 2)).unflatten(1, (height, width)))
        windows, padded = window_partition(x, layer.window_size)
        seen = attention(windows.flatten(1, 2)).unflatten(1, windows.shape[1:3])
        return cast(Tensor, window_unpartition(seen, layer.window_size, padded, (height, width)))


class AnyTrunk(nn.Module):
    """A backbone that is not a ViT, as it is; its numbers stay float32 (`sam3.fast.precision`)."""

    exact = True

    def __init__(self, source: nn.Module, grid: int) -> None:
        super().__init__()
        self.source, self.grid = source, grid

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) float32 -> (B, d, grid, grid)."""
        x = self.source(pixels).last_hidden_state
        return cast(Tensor, x.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2))


def fast_trunk(source: nn.Module, switches: Switches, explicit: bool) -> nn.Module:
    """The backbone for inference."""
    if isinstance(source, Sam3ViTModel):
        return FastViT(source, switches, explicit)
    config: Any = source.config
    return AnyTrunk(source, config.image_size // config.patch_size)
