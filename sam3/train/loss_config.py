"""The weights of the loss: configs/loss/*.yaml, typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam3.train.matcher import MatchCosts


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; the published values unless a config says otherwise.

    Attributes:
        focal_loss_weight: class focal, per query. presence_loss_weight: presence, per pair.
        box_loss_weight: L1. iou_loss_weight: GIoU. mask_loss_weight: mask focal. dice_loss_weight: mask dice.
        semantic_loss_weight: share of the mask weights given to the semantic head; 0 turns it off.
        class_on_negatives: share of the class loss that teaches queries to be silent on negative pairs (pretraining).
        class_overlap: every query whose box overlaps an object by at least this GIoU learns that it shows the concept,
            to the root of the overlap, not the matched query alone; what then answers twice is suppressed
            (`sam3.pixels.distinct`). 1 turns it off.
        queries_per_object: so many queries learn the box of an object, not the matched one alone (pretraining; after
            the one-to-many branch of H-DETR, Jia et al. 2023, without queries of its own); 0 turns it off.
        mask_share: share of positive pairs whose masks are computed in a step.
        semantic_on_negatives: run the semantic head on negative pairs too.
        mask_points: judge instance masks at so many points instead of everywhere (`sam3.train.mask_points`); 0 turns
            it off. 12544 is what Mask2Former takes of a map of 65536.
    """

    focal_loss_weight: float = 5.0
    presence_loss_weight: float = 20.0
    box_loss_weight: float = 5.0
    iou_loss_weight: float = 2.0
    mask_loss_weight: float = 200.0
    dice_loss_weight: float = 10.0
    semantic_loss_weight: float = 0.1
    class_on_negatives: float = 0.0
    class_overlap: float = 1.0
    semantic_on_negatives: bool = True
    queries_per_object: int = 0
    mask_share: float = 1.0
    mask_points: int = 0
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    matcher: MatchCosts = field(default_factory=MatchCosts)
