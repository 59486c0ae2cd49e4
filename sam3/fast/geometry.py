"""Exemplar boxes -> prompt tokens, in operations that every builder knows: no scatter, no RoI plugin.

The published encoder puts a token of its own behind the last real box; order does not matter to attention, so here it
stands at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sam3.fast.attention import attend


def encode_boxes(
    encoder: Any, boxes: Tensor, labels: Tensor, level: Tensor, place: Tensor, explicit: bool
) -> tuple[Tensor, Tensor]:
    """Tokens of the boxes of each pair, after `Sam3GeometryEncoder`.

    Args:
        boxes: float32 (P, K, 4) cxcywh in [0, 1]. labels: int64 (P, K), negative for padding.
        level: (P, d, H, W). place: (1, N, d), its position encoding.

    Returns:
        (P, K + 1, d) and what is to be seen of them, bool (P, K + 1): nothing where all boxes are padding.
    """
    given = labels >= 0
    x = _embed(encoder, boxes, labels, level)
    own = encoder.cls_embed.weight[None].expand(x.shape[0], -1, -1)
    x = encoder.prompt_layer_norm(encoder.final_proj(torch.cat([x, own], 1)))
    mask = torch.cat([given, torch.ones_like(given[:, :1])], 1)[:, None, None]
    values = level.flatten(2).transpose(1, 2)
    keys = values + place
    for layer in encoder.layers:
        normed = layer.layer_norm1(x)
        x = x + attend(layer.self_attn, normed, normed, normed, mask, explicit)
        x = x + attend(layer.cross_attn, layer.layer_norm2(x), keys, values, None, explicit)
        x = x + layer.mlp(layer.layer_norm3(x))
    # `any` as a maximum, which builders know
    some = given.to(torch.int32).amax(1, keepdim=True) > 0
    return encoder.output_layer_norm(x), torch.cat([given, some], 1)


def _embed(encoder: Any, boxes: Tensor, labels: Tensor, level: Tensor) -> Tensor:
    dtype, size = level.dtype, encoder.roi_size
    normed = encoder.vision_layer_norm(level.permute(0, 2, 3, 1))
    pooled = roi_align(normed.float(), boxes, size).to(dtype)  # (P, K, size, size, d)
    kernel = encoder.boxes_pool_project.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (size * size * d, out)
    x = pooled.flatten(2) @ kernel + encoder.boxes_pool_project.bias
    centre_x, centre_y, width, height = boxes.unbind(-1)
    around = encoder.position_encoding
    features = around.num_position_features

    def sines(values: Tensor) -> Tensor:
        index = torch.arange(features, device=values.device) // 2
        angles = (values * around.scale)[..., None] / around.temperature ** (2.0 * index / features)
        return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(-2)

    place = torch.cat([sines(centre_y), sines(centre_x), height[..., None], width[..., None]], -1)
    x = x + encoder.boxes_direct_project(boxes.to(dtype)) + encoder.boxes_pos_enc_project(place.to(dtype))
    return x + encoder.label_embed(labels.clamp(min=0))


def roi_align(level: Tensor, boxes: Tensor, size: int) -> Tensor:
    """torchvision's `roi_align` (He et al. 2017), `aligned=False`, adaptive sampling, as two small products.

    A sample's bilinear weights are a product of one over rows and one over columns, so the mean over a bin's grid of
    samples is too.

    Args:
        level: float32 (P, H, W, d). boxes: float32 (P, K, 4) cxcywh in [0, 1].

    Returns:
        float32 (P, K, size, size, d).
    """
    height, width = level.shape[1:3]
    x, y, w, h = boxes.float().unbind(-1)
    rows = _bin_weights((y - 0.5 * h) * height, (y + 0.5 * h) * height, height, size)
    columns = _bin_weights((x - 0.5 * w) * width, (x + 0.5 * w) * width, width, size)
    # (P, K * size, H) @ (P, H, W * d) -> (P, K, size, W, d); then over columns
    pairs, count = rows.shape[0], rows.shape[1]
    down = (rows.flatten(1, 2) @ level.flatten(2)).reshape(pairs, count, size, width, -1)
    return torch.matmul(columns[:, :, None], down)


def _bin_weights(start: Tensor, end: Tensor, places: int, size: int) -> Tensor:
    """(P, K, size, places): how much each place counts in each bin along one axis."""
    step = (end - start).clamp(min=1.0) / size
    count = step.ceil()  # samples in a bin
    sample = torch.arange(-(-places // size) + 1, device=start.device, dtype=torch.float32)
    first = start[..., None] + torch.arange(size, device=start.device, dtype=torch.float32) * step[..., None]
    at = first[..., None] + (sample + 0.5) * (step / count)[..., None, None]  # (P, K, size, samples)
    used = (sample < count[..., None, None]) & (at >= -1) & (at <= places)
    at = at.clamp(0, places - 1)
    grid = torch.arange(places, device=start.device, dtype=torch.float32)
    hat = (1 - (at[..., None] - grid).abs()).clamp(min=0)
    return (hat * used[..., None].to(hat.dtype)).sum(-2) / count[..., None, None]
