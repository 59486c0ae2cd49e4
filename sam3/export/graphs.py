"""The three graphs of an exported detector, as modules that trace cleanly.

image encoder   pixels (B, 3, S, S)                          -> level_0..level_n (B, d, H_i, W_i)
text encoder    ids, mask (P, T)                             -> text (P, T, d), text_mask (P, T)
decoder         levels, text, text_mask, boxes, box_labels   -> logits, boxes_out, presence, masks

Images, phrases and boxes have dynamic counts; an image of several phrases goes in once per pair (the engine
repeats its levels). A pair without boxes has one padding box, which changes nothing (`Sam3Detector.prompt`).
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from sam3.detector import BoxPrompts, Sam3Detector, Vision, Words


class ImageEncoder(nn.Module):
    """pixels -> feature levels, fine to coarse."""

    def __init__(self, model: Sam3Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) float32 in [-1, 1]."""
        return self.model.encode_images(pixels).levels


class TextEncoder(nn.Module):
    """token ids -> text features."""

    def __init__(self, model: Sam3Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(P, T) int64 each -> (P, T, d)."""
        return self.model.encode_text(ids, mask).features


class Decoder(nn.Module):
    """Pairs of feature levels and prompts -> the last layer's answer, masks of all queries included."""

    def __init__(self, model: Sam3Detector) -> None:
        super().__init__()
        self.model = model
        use_indexed_roi_align(model)

    def forward(
        self, text: Tensor, text_mask: Tensor, boxes: Tensor, box_labels: Tensor, *levels: Tensor
    ) -> tuple[Tensor, ...]:
        """text (P, T, d), text_mask (P, T), boxes (P, K, 4) cxcywh, box_labels (P, K), levels (P, d, H_i, W_i)."""
        model = self.model
        encode = model.vision_encoder.neck.position_encoding
        vision = Vision(levels, tuple(encode(x.shape, x.device, x.dtype) for x in levels))
        found = model.ground(vision, Words(text, text_mask.bool()), BoxPrompts(boxes, box_labels))
        pixels = model.pixel_embeddings(found)
        head = model.mask_decoder
        masks = torch.einsum("pqc,pchw->pqhw", head.mask_embedder(found.queries[-1]), head.instance_projection(pixels))
        return found.logits[-1], found.boxes[-1], found.presence[-1], masks


def use_indexed_roi_align(model: Sam3Detector) -> None:
    """Give the geometry encoder a RoI pooling whose batch is not baked into the graph.

    transformers hands `roi_align` a list with one tensor an image, which a trace unrolls; rows with a batch
    index say the same. The replacement is bound to this model's geometry encoder only.
    """
    geometry = model.geometry_encoder

    def encode_boxes(
        boxes: Tensor, boxes_mask: Tensor, boxes_labels: Tensor, vision_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        pairs, count = boxes.shape[:2]
        height, width = vision_features.shape[-2:]
        centre, size = boxes[..., :2], boxes[..., 2:]
        corners = torch.cat([centre - size / 2, centre + size / 2], -1) * boxes.new_tensor(
            [width, height, width, height]
        )
        index = torch.arange(pairs, device=boxes.device, dtype=boxes.dtype)[:, None, None].expand(-1, count, 1)
        rows = torch.cat([index, corners], -1).flatten(0, 1)
        sampled = torchvision.ops.roi_align(vision_features, rows, geometry.roi_size)
        pooled = geometry.boxes_pool_project(sampled).view(pairs, count, geometry.hidden_size)
        x, y, w, h = boxes.flatten(0, 1).unbind(-1)
        position = geometry._encode_box_coordinates(x, y, w, h).view(pairs, count, -1)
        embedded = geometry.boxes_direct_project(boxes) + pooled + geometry.boxes_pos_enc_project(position)
        return geometry.label_embed(boxes_labels.long()) + embedded, boxes_mask

    geometry._encode_boxes = encode_boxes
