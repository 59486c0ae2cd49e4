"""The training loss, after SAM 3's published recipe, with every term kept apart.

Each decoder layer is matched and judged on its own: presence (cross entropy), class (focal), boxes (L1, GIoU)
and the masks of matched queries (focal, dice); the semantic head adds focal and dice of all objects together.
On a negative pair only presence learns (and the semantic head); in pretraining the class term may learn there
too (`class_on_negatives`), without which presence hardly starts from random weights.

Focal: Lin et al. 2017, "Focal Loss for Dense Object Detection". Dice: Milletari et al. 2016, "V-Net".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from sam3.detector import Grounding, Sam3Detector
from sam3.train.matcher import MatchCosts, Matches, match
from sam3.train.targets import PairBatch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; the published values unless a config says otherwise.

    Attributes:
        focal_loss_weight: class focal, per query. presence_loss_weight: presence, per pair.
        box_loss_weight: L1. iou_loss_weight: GIoU. mask_loss_weight: mask focal. dice_loss_weight: mask dice.
        semantic_loss_weight: share of the mask weights given to the semantic head; 0 turns it off.
        class_on_negatives: also teach queries to be silent on negative pairs (pretraining).
        mask_share: share of positive pairs whose masks are computed in a step.
        semantic_on_negatives: run the semantic head on negative pairs too.
    """

    focal_loss_weight: float = 5.0
    presence_loss_weight: float = 20.0
    box_loss_weight: float = 5.0
    iou_loss_weight: float = 2.0
    mask_loss_weight: float = 200.0
    dice_loss_weight: float = 10.0
    semantic_loss_weight: float = 0.1
    class_on_negatives: bool = False
    semantic_on_negatives: bool = True
    mask_share: float = 1.0
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    matcher: MatchCosts = field(default_factory=MatchCosts)


def detection_loss(
    model: Sam3Detector, found: Grounding, batch: PairBatch, config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and each term on its own.

    Returns:
        loss: scalar. terms: unweighted means (scalars, detached), over the layers, by name; presence also for
        positives and negatives apart.
    """
    positive = batch.positive
    objects = torch.cat(batch.boxes).float()
    per_object = max(len(objects), 1)
    layers = len(found.logits)
    terms: dict[str, Tensor] = {}
    total = found.logits.new_zeros((), dtype=torch.float32)

    def add(name: str, weight: float, value: Tensor) -> None:
        nonlocal total
        total = total + weight * value
        terms[name] = terms.get(name, torch.zeros((), device=value.device)) + value.detach() / layers

    matched = [match(found.logits[at], found.boxes[at], batch.boxes, config.matcher) for at in range(layers)]
    for at, matches in enumerate(matched):
        add("class", config.focal_loss_weight, class_loss(found.logits[at], matches, positive, config))
        presence = F.binary_cross_entropy_with_logits(found.presence[at].float(), positive.float(), reduction="none")
        add("presence", config.presence_loss_weight, presence.mean())
        predicted = found.boxes[at].float()[matches.pair, matches.query]
        wanted = objects[matches.target]
        add("box", config.box_loss_weight, F.l1_loss(predicted, wanted, reduction="sum") / per_object)
        add(
            "giou",
            config.iou_loss_weight,
            generalized_box_iou_loss(predicted, wanted, reduction="sum") / per_object,
        )
    terms["presence_positive"] = _mean_where(presence.detach(), positive)
    terms["presence_negative"] = _mean_where(presence.detach(), ~positive)
    total = total + _mask_terms(model, found, batch, matched, config, terms)
    return total, terms


def class_loss(logits: Tensor, matches: Matches, positive: Tensor, config: LossConfig) -> Tensor:
    """Focal loss of (P, Q) logits: matched queries are the concept, the others are not.

    Summed over queries and divided by the number of objects; silent on negative pairs unless the config says so.
    """
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[matches.pair, matches.query] = 1.0
    loss = sigmoid_focal_loss(logits.float(), wanted, alpha=config.focal_alpha, gamma=config.focal_gamma)
    if not config.class_on_negatives:
        loss = loss * positive[:, None]
    return loss.sum() / max(len(matches.pair), 1)


def _mask_terms(
    model: Sam3Detector,
    found: Grounding,
    batch: PairBatch,
    matched: list[Matches],
    config: LossConfig,
    terms: dict[str, Tensor],
) -> Tensor:
    """Mask focal and dice of matched queries on every layer, and the semantic head."""
    zero = found.logits.new_zeros((), dtype=torch.float32)
    if config.mask_loss_weight == 0 and config.dice_loss_weight == 0:
        return zero
    positive = batch.positive
    wanted = torch.rand(len(positive), device=positive.device) < config.mask_share
    chosen = (positive & wanted) | (~positive & config.semantic_on_negatives)
    pairs = chosen.nonzero().squeeze(1)
    if not len(pairs):
        return zero
    pixels = model.pixel_embeddings(found, pairs)
    row_of = torch.full((len(positive),), -1, dtype=torch.int64, device=pairs.device)
    row_of[pairs] = torch.arange(len(pairs), device=pairs.device)
    size = pixels.shape[-2:]
    truth = torch.cat([resize_masks(masks, size) for masks in batch.masks]) if any(map(len, batch.masks)) else zero
    total, layers = zero, len(matched)
    for at, matches in enumerate(matched):
        kept = row_of[matches.pair] >= 0
        if not bool(kept.any()):
            break
        queries = found.queries[at][matches.pair[kept], matches.query[kept]]
        logits = model.mask_logits(pixels, row_of[matches.pair[kept]], queries).float()
        focal, dice = mask_losses(logits, truth[matches.target[kept]])
        for name, weight, value in (
            ("mask", config.mask_loss_weight, focal),
            ("dice", config.dice_loss_weight, dice),
        ):
            total = total + weight * value
            terms[name] = terms.get(name, zero) + value.detach() / layers
    if config.semantic_loss_weight > 0:
        whole = torch.stack(
            [
                resize_masks(batch.masks[at], size).amax(0)
                if len(batch.masks[at])
                else torch.zeros(size, device=pairs.device)
                for at in pairs.tolist()
            ]
        )
        focal, dice = mask_losses(model.semantic_logits(pixels).float(), whole)
        total = total + config.semantic_loss_weight * (config.mask_loss_weight * focal + config.dice_loss_weight * dice)
        terms["semantic"] = focal.detach()
    return total


def mask_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Focal and dice of (N, H, W) logits against masks in [0, 1]; means over N."""
    focal = sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2.0).flatten(1).mean(1).mean()
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    dice = 1 - (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    return focal, dice.mean()


def resize_masks(masks: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """(n, H, W) masks -> (n, h, w), by area, so that thin parts keep their weight."""
    masks = masks.float()
    if not len(masks) or masks.shape[-2:] == tuple(size):
        return masks if len(masks) else masks.new_zeros((0, *size))
    return F.interpolate(masks[:, None], size=tuple(size), mode="area")[:, 0]


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the values where true; NaN where there is none (the logger leaves such steps out)."""
    return values[where].mean() if bool(where.any()) else torch.full((), float("nan"), device=values.device)
