"""The three graphs of an exported detector, as modules that trace cleanly.

image encoder   pixels (B, 3, S, S)                          -> level_0..level_n (B, d, H_i, W_i)
text encoder    ids, mask (P, T)                             -> text (P, T, d)
decoder         levels, text, text_mask, boxes, box_labels   -> logits, boxes_out, presence, masks

The last level is what the DETR sees; the finer ones are made ready for the mask head (`sam3.fast.masks`). Images,
phrases and boxes have dynamic counts; an image of several phrases goes in once per pair. A pair without boxes has
one padding box, which changes nothing (`Sam3Detector.prompt`).

Inside, the graphs keep the names of the values at which an engine may cut them (`CUTS`), to do once per image what
needs no prompt and to draw only the masks somebody wants (`sam3.engines.onnx_engine`).
"""

from __future__ import annotations

from torch import Tensor, nn

from sam3.detector import Sam3Detector
from sam3.fast.detector import FastDetector

# graph -> names of values inside it: the backbone's map; the level after the DETR encoder's first self-attention;
# the decoder's queries and the encoded places; masks before they are folded to (P, Q, H, W)
CUTS = {
    "image_encoder": ["trunk"],
    "text_encoder": [],
    "decoder": ["started", "queries", "encoded", "mask_rows"],
}


class ImageEncoder(nn.Module):
    """pixels -> feature levels, fine to coarse."""

    def __init__(self, fast: FastDetector) -> None:
        super().__init__()
        self.fast = fast

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) float32 in [-1, 1] -> levels, and the cut."""
        trunk = self.fast.trunk(pixels)
        level = self.fast.layers[self.fast.count - 1](trunk)
        return (*self.fast.fine(trunk), level, trunk)


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

    def __init__(self, fast: FastDetector) -> None:
        super().__init__()
        self.fast = fast

    def forward(
        self, text: Tensor, text_mask: Tensor, boxes: Tensor, box_labels: Tensor, *levels: Tensor
    ) -> tuple[Tensor, ...]:
        """text (P, T, d), text_mask (P, T), boxes (P, K, 4) cxcywh, box_labels (P, K), levels (P, d, H_i, W_i)."""
        started = self.fast.start(levels[-1])
        found = self.fast.ground(levels[-1], started, text, text_mask.bool(), boxes, box_labels)
        rows = self.fast.masks(found.queries, found.encoded, levels[:-1])
        masks = rows.unflatten(-1, levels[0].shape[-2:])
        return found.logits, found.boxes, found.presence, masks, started, found.queries, found.encoded, rows
