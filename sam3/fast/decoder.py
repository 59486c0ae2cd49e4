"""The DETR decoder, last layer's answer only; what its first layer does before it sees anything is done once ever."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import inverse_sigmoid

from sam3.fast.attention import attend


class Decoded(NamedTuple):
    """queries (P, Q, d); boxes float32 (P, Q, 4) cxcywh; presence (P,) logits."""

    queries: Tensor
    boxes: Tensor
    presence: Tensor


class Decoder(nn.Module):
    """Queries -> objects, after `Sam3DetrDecoder`; always float32 (`sam3.fast.precision`).

    Args:
        source: the published module. grid: height and width of the coarsest level.
        hoist: keep what the first layer computes from learned queries alone.
        explicit: write attention out.
    """

    places_x: Tensor
    places_y: Tensor
    exact = True

    def __init__(self, source: Any, grid: tuple[int, int], *, hoist: bool, explicit: bool) -> None:
        super().__init__()
        self.source: Any = source  # its parts have no types
        self.grid, self.hoist, self.explicit = grid, hoist, explicit
        for axis, count in zip("yx", grid, strict=True):
            places = torch.arange(count, device=source.query_embed.weight.device) / count
            self.register_buffer(f"places_{axis}", places, persistent=False)
        with torch.no_grad():
            boxes = source.reference_points.weight.float().sigmoid()[None]
            x, place, bias = self._begin(boxes)
        for name, value in (("boxes_0", boxes), ("x_0", x), ("place_0", place), ("bias_0", bias)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, encoded: Tensor, position: Tensor, prompt: Tensor, mask: Tensor) -> Decoded:
        """encoded (P, N, d), position (1, N, d), prompt (P, T, d), mask bool (P, 1, 1, T)."""
        keys = encoded + position
        boxes = cast(Tensor, self.boxes_0)
        held = (cast(Tensor, getattr(self, name)) for name in ("x_0", "place_0", "bias_0"))
        x, place, bias = held if self.hoist else self._begin(boxes)
        for at, layer in enumerate(self.source.layers):
            if at:
                place, bias = self._steer(boxes, encoded.dtype)
                x = self._see_each_other(layer, x, place)
            seen = attend(layer.text_cross_attn, x + place, prompt, prompt, mask, self.explicit)
            x = layer.text_cross_attn_layer_norm(x + seen)
            seen = attend(layer.vision_cross_attn, x + place, keys, encoded, bias, self.explicit)
            x = layer.vision_cross_attn_layer_norm(x + seen)
            x = layer.mlp_layer_norm(x + layer.mlp(x))
            queries = self.source.output_layer_norm(x[:, 1:])
            boxes = (inverse_sigmoid(boxes) + self.source.box_head(queries).float()).sigmoid()
        most = self.source.clamp_presence_logit_max_val
        presence = self.source.presence_head(self.source.presence_layer_norm(x[:, 0]))[:, 0]
        return Decoded(queries, boxes, presence.float().clamp(-most, most))

    def _begin(self, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Batch 1: the queries after the first self-attention, their places, and the bias of their boxes."""
        source = self.source
        x = torch.cat([source.presence_token.weight, source.query_embed.weight])[None]
        place, bias = self._steer(boxes, x.dtype)
        return self._see_each_other(source.layers[0], x, place), place, bias

    def _see_each_other(self, layer: Any, x: Tensor, place: Tensor) -> Tensor:
        placed = x + place
        seen = attend(layer.self_attn, placed, placed, x, None, self.explicit)
        return cast(Tensor, layer.self_attn_layer_norm(x + seen))

    def _steer(self, boxes: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Where the queries look: their places (P, 1 + Q, d), and a bias (P, heads, 1 + Q, N) by distance."""
        place = self.source.ref_point_head(self.source.position_encoding.encode_boxes(boxes).to(dtype))
        half = boxes[..., 2:] / 2
        sides = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)  # x0, y0, x1, y1
        down = self.source.box_rpb_embed_y(self._far(self.places_y, sides[..., 1::2], dtype))
        across = self.source.box_rpb_embed_x(self._far(self.places_x, sides[..., 0::2], dtype))
        # (P, heads, Q, rows, 1) and (P, heads, Q, 1, columns): heads first, or the sum would have to be turned
        bias = (down.permute(0, 3, 1, 2)[..., None] + across.permute(0, 3, 1, 2)[..., None, :]).flatten(3)
        # the presence token has no place and no bias
        return F.pad(place, (0, 0, 1, 0)), F.pad(bias, (0, 0, 1, 0)).contiguous()

    @staticmethod
    def _far(places: Tensor, sides: Tensor, dtype: torch.dtype) -> Tensor:
        """(P, Q, count, 2): signed distance of every row (or column) from two sides, on a log scale."""
        scaled = 8 * (places[:, None] - sides[:, :, None])
        return (scaled.sign() * torch.log2(scaled.abs() + 1) / math.log2(8)).to(dtype)
