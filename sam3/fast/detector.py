"""The detector in five steps, each a function of tensors that can be compiled or exported by itself.

fast = FastDetector(model, EXACT)
trunk = fast.trunk(pixels)                                # (B, 3, S, S) -> (B, D, H, W)
level, started = fast.coarse(trunk)                       # what the DETR sees, once an image
fine = fast.fine(trunk)                                   # for masks, once an image with something to draw
found = fast.ground(level, started, text, mask, boxes, labels)
masks = fast.masks(found.queries, found.encoded, fine)    # (P, n, H_0 * W_0)
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from sam3.detector import Sam3Detector
from sam3.fast.attention import attend
from sam3.fast.decoder import Decoder
from sam3.fast.doubling import MergedLevel, doubles
from sam3.fast.geometry import encode_boxes
from sam3.fast.masks import PixelDecoder, draw
from sam3.fast.switches import EXACT, Switches
from sam3.fast.trunk import fast_trunk


class Found(NamedTuple):
    """The last layer's answer for P pairs.

    Attributes:
        logits: float32 (P, Q). boxes: float32 (P, Q, 4) xyxy in [0, 1]. presence: float32 (P,) logits.
        queries: float32 (P, Q, d). encoded: (P, N, d), ready for the mask head.
    """

    logits: Tensor
    boxes: Tensor
    presence: Tensor
    queries: Tensor
    encoded: Tensor


class FastDetector(nn.Module):
    """A `Sam3Detector` for inference.

    Args:
        model: its weights are shared.
        switches: which optimisations to use. explicit: write attention out (for builders that fuse it wrongly).
    """

    def __init__(self, model: Sam3Detector, switches: Switches = EXACT, *, explicit: bool = False) -> None:
        super().__init__()
        explicit = explicit or not switches.sdpa
        self.model, self.switches, self.explicit = model, switches, explicit
        vision: Any = model.config.vision_config  # typed as whatever a JSON file may hold
        side = int(model.config.image_size) // vision.backbone_config.patch_size
        self.grid = (side, side)
        self.backbone = fast_trunk(model.vision_encoder.backbone, switches, explicit)
        self.decoder = Decoder(model.detr_decoder, self.grid, hoist=switches.hoist, explicit=explicit)
        self.pixels = PixelDecoder(model.mask_decoder.pixel_decoder, switches.phases)
        self.count = len(vision.scale_factors) - 1  # levels that are read
        levels: Any = model.vision_encoder.neck.fpn_layers[: self.count if switches.used_levels else None]
        if switches.merged_neck:
            levels = [MergedLevel(level) if doubles(level) else level for level in levels]
        self.layers = nn.ModuleList(levels)
        self.register_buffer("position", self._position(), persistent=False)

    def trunk(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, D, H, W)."""
        return self.backbone(pixels).to(self.dtype)

    def coarse(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """-> the coarsest level (B, d, H, W), and where the DETR encoder goes on from, float32 (B, N, d)."""
        level = self.layers[self.count - 1](trunk)
        return level, self.start(level)

    def fine(self, trunk: Tensor) -> tuple[Tensor, ...]:
        """-> the finer levels (B, d, H_i, W_i) as the mask head wants them."""
        if not self.switches.used_levels:
            self.layers[-1](trunk)  # as published: the level that nobody reads
        return self.pixels.prepare(tuple(layer(trunk) for layer in self.layers[: self.count - 1]))

    def start(self, level: Tensor) -> Tensor:
        """The level as tokens (B, N, d); with `hoist` after the encoder's first self-attention."""
        x = level.flatten(2).transpose(1, 2).float()
        return self._look_around(self.model.detr_encoder.layers[0], x) if self.switches.hoist else x

    def ground(
        self,
        level: Tensor,
        started: Tensor,
        text: Tensor,
        mask: Tensor,
        boxes: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Found:
        """Find the concept of each pair.

        Args:
            level, started: an entry per pair. text: (P, T, d). mask: bool (P, T).
            boxes: (P, K, 4) cxcywh in [0, 1]. labels: int64 (P, K), -10 for padding.
        """
        prompt = text.float()
        if boxes is not None and labels is not None:
            encoder = self.model.geometry_encoder
            tokens, shown = encode_boxes(encoder, boxes, labels, level, self._place().to(level.dtype), self.explicit)
            prompt, mask = torch.cat([prompt, tokens.float()], 1), torch.cat([mask, shown], 1)
        seen = mask[:, None, None]
        short = prompt.to(level.dtype)
        encoded = self._encode(started, short, seen)
        decoded = self.decoder(encoded, self._place(), prompt, seen)
        logits = self.model.dot_product_scoring(decoded.queries[None], prompt, mask)[0, ..., 0]
        centre, half = decoded.boxes[..., :2], decoded.boxes[..., 2:] / 2
        head = self.model.mask_decoder
        drawn = encoded.to(level.dtype)
        normed = head.prompt_cross_attn_norm(drawn)
        ready = drawn + attend(head.prompt_cross_attn, normed, short, short, seen, self.explicit)
        corners = torch.cat([centre - half, centre + half], -1)
        return Found(logits.float(), corners, decoded.presence, decoded.queries, ready)

    def masks(self, queries: Tensor, encoded: Tensor, fine: tuple[Tensor, ...]) -> Tensor:
        """Mask logits (P, n, H_0 * W_0) of queries (P, n, d)."""
        coarse = encoded.transpose(1, 2).unflatten(2, self.grid)
        return draw(self.model.mask_decoder, self.pixels(coarse, fine), queries.to(encoded.dtype))

    def _encode(self, x: Tensor, prompt: Tensor, seen: Tensor) -> Tensor:
        layers: Any = self.model.detr_encoder.layers
        for at, layer in enumerate(layers):
            if at or not self.switches.hoist:
                x = self._look_around(layer, x)
            normed = layer.layer_norm2(x).to(prompt.dtype)
            x = x + attend(layer.cross_attn, normed, prompt, prompt, seen, self.explicit)
            x = x + layer.mlp(layer.layer_norm3(x).to(prompt.dtype))
        return x

    def _look_around(self, layer: Any, x: Tensor) -> Tensor:
        normed = layer.layer_norm1(x)
        placed = (normed + self._place()).to(self.dtype)
        return x + attend(layer.self_attn, placed, placed, normed.to(self.dtype), None, self.explicit)

    @property
    def dtype(self) -> torch.dtype:
        """Of most weights (`sam3.fast.precision`)."""
        return cast(Tensor, self.model.mask_decoder.instance_projection.weight).dtype

    def _place(self) -> Tensor:
        """float32 (1, N, d): the sine encoding of every place."""
        return cast(Tensor, self.position) if self.switches.tables else self._position()

    def _position(self) -> Tensor:
        encode = self.model.vision_encoder.neck.position_encoding
        vision: Any = self.model.config.vision_config
        shape = torch.Size((1, vision.fpn_hidden_size, *self.grid))
        # float32 whatever the weights are: bfloat16 cannot count to 288
        device = self.model.text_projection.weight.device
        return encode(shape, device, torch.float32).flatten(2).transpose(1, 2)
