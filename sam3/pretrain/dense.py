"""What pretraining adds to the published losses: every place of the grid is told what it shows.

32 queries of a fresh DETR learn from a handful of matches per picture; 256 places learn from each of them, and
keep what the alignment has taught while detection is learned. Two terms, both off in fine-tuning:

    names    the places of every scene against a draw of all names, through the encoder's first cross-attention
    encoded  the places after the encoder against the pair's own phrase, through the scorer of the queries (the
             encoder's own classification of two-stage DETRs; Zhu et al. 2021, "Deformable DETR")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sam3.detector import Grounding, Sam3Detector
from sam3.pretrain.align import NameStates, alignment_loss, place_queries
from sam3.pretrain.stream import SceneBatch
from sam3.train.losses import detection_loss
from sam3.train.mask_losses import resize_masks
from sam3.train.module import DetectorModule


@dataclass(frozen=True)
class DenseConfig:
    """Weights of the two terms, and how many absent names are drawn a step."""

    names_weight: float = 0.5
    encoded_weight: float = 10.0
    names: int = 300


class PretrainModule(DetectorModule):
    """`DetectorModule` with the dense terms.

    Args:
        names: of the vocabulary; the text encoder must be frozen, since they are not renewed.
    """

    end: Tensor
    start: Tensor

    def __init__(self, *args: Any, dense: DenseConfig, names: NameStates, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dense = dense
        self.register_buffer("end", names.end, persistent=False)
        self.register_buffer("start", names.start, persistent=False)

    def training_step(self, batch: SceneBatch, _: int) -> Tensor:  # type: ignore[override]
        """Loss of one batch; Lightning steps the optimiser."""
        # EfficientNet's depthwise convolutions run twice as fast with channels last
        found = self(replace(batch, pixels=batch.pixels.contiguous(memory_format=torch.channels_last)))
        loss, terms = detection_loss(self.model, found, batch, self.loss_config)
        queries = place_queries(self.model, replace(found.vision, rows=None))
        names = alignment_loss(self.model, queries, batch, NameStates(self.end, self.start), self.dense.names)
        encoded = encoded_loss(self.model, found, batch)
        terms |= {"names": names.detach(), "encoded": encoded.detach()}
        total = loss + self.dense.names_weight * names + self.dense.encoded_weight * encoded
        self._log("train", total, terms, len(batch))
        return total


def encoded_loss(model: Sam3Detector, found: Grounding, batch: SceneBatch) -> Tensor:
    """Binary cross entropy of every encoded place with its pair's phrase; places on a border are left out."""
    prompt = found.prompt
    logits = model.dot_product_scoring(
        decoder_hidden_states=found.encoded[None], text_features=prompt.features, text_mask=prompt.mask
    )[0, ..., 0].float()
    side = found.vision.levels[-1].shape[-2:]
    share = torch.stack([resize_masks(masks, side).sum(0) for masks in batch.masks]).flatten(1)
    loss = F.binary_cross_entropy_with_logits(logits, (share > 0.5).float(), reduction="none")
    weight = torch.where(share > 0.5, 3.0, torch.where(share > 0.05, 0.0, 1.0))
    return (loss * weight).mean()
