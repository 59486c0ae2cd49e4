"""cgF1 while training: predictions of a validation batch, scored by the one metric of the project.

Masks are compared at the resolution of the mask head, so figures are close to, not equal to, those of
`sam3/eval/evaluate.py`, which works on the original pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from sam3.detector import Grounding, Sam3Detector
from sam3.eval.cgf1 import CgF1
from sam3.eval.matching import SCORE_THRESHOLD, PairScore, match, pair_overlap
from sam3.eval.predictions import Prediction
from sam3.eval.saco import Annotation
from sam3.pixels import distinct
from sam3.train.targets import PairBatch


def pair_scores(model: Sam3Detector, found: Grounding, batch: PairBatch) -> list[PairScore]:
    """One `PairScore` for each pair of the batch."""
    scores = found.logits[-1].float().sigmoid() * found.presence[-1].float().sigmoid()[:, None]
    out = []
    for pair in range(len(batch)):
        kept = (scores[pair] >= SCORE_THRESHOLD).nonzero().squeeze(1)
        kept = kept[scores[pair][kept].argsort(descending=True)]
        rows: list[Prediction] = []
        if len(kept):
            pixels = model.pixel_embeddings(found, torch.tensor([pair], device=kept.device))
            logits = model.mask_logits(pixels, torch.zeros_like(kept), found.queries[-1][pair][kept])
            masks = logits.float().cpu().numpy() > 0
            alone = distinct(masks)
            rows = [
                Prediction(at, 1, float(scores[pair][kept[query]]), None, rle)
                for at, (query, rle) in enumerate(zip(alone, _rles(masks[alone]), strict=True))
            ]
        truth = _rles(batch.masks[pair].cpu().numpy() > 0.5)
        instances = [Annotation(at, 1, False, None, rle) for at, rle in enumerate(truth)]
        number = batch.pair_ids[pair] if batch.pair_ids else pair
        out.append(match(pair_overlap(number, rows, instances, "segm")))
    return out


def summarise(scores: list[PairScore]) -> dict[str, float]:
    """cgF1, pmF1 and IL_MCC over the pairs seen."""
    metric = CgF1("segm", tuple(scores))
    return {"cgf1": metric.cgf1, "pmf1": metric.pmf1, "il_mcc": metric.il_mcc}


def _rles(masks: np.ndarray) -> list[Any]:
    """bool (N, H, W) -> N COCO run-length encodings."""
    if not len(masks):
        return []
    return list(coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)))
