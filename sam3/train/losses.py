"""The training loss, after SAM 3's published recipe, with every term kept apart.

Each decoder layer is matched and judged on its own: presence (cross entropy), class (focal), boxes (L1, GIoU)
and the masks of matched queries (focal, dice); the semantic head adds focal and dice of all objects together.
On a negative pair only presence learns (and the semantic head); in pretraining the class term may learn there
too (`class_on_negatives`), without which presence hardly starts from random weights.

Focal: Lin et al. 2017, "Focal Loss for Dense Object Detection". Dice: Milletari et al. 2016, "V-Net".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from sam3.detector import Grounding, Sam3Detector
from sam3.train.loss_config import LossConfig
from sam3.train.mask_losses import mask_terms
from sam3.train.matcher import Matches, assign, assign_many, match_overlapping, matching_cost
from sam3.train.targets import PairBatch
from sam3.train.world import shared_count, shared_mean, size, sum_over_all

TERMS = (
    *("class", "presence", "box", "giou", "box_near", "giou_near"),
    *("mask", "dice", "semantic", "presence_positive", "presence_negative"),
)


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
    layers = len(found.logits)
    terms: dict[str, Tensor] = {}
    total = found.logits.new_zeros((), dtype=torch.float32)

    def add(name: str, weight: float, value: Tensor) -> None:
        nonlocal total
        total = total + weight * value
        terms[name] = terms.get(name, torch.zeros((), device=value.device)) + value.detach() / layers

    costs = [matching_cost(found.logits[at], found.boxes[at], batch.boxes, config.matcher) for at in range(layers)]
    matched = [assign(cost, batch.boxes) for cost in costs]
    for at, matches in enumerate(matched):
        if config.class_overlap < 1:
            near, overlap = match_overlapping(found.boxes[at], batch.boxes, config.class_overlap)
            wanted = overlap_targets(found.logits[at], matches, near, overlap)
            add("class", config.focal_loss_weight, overlap_class_loss(found.logits[at], wanted, positive, config))
        else:
            near = None
            add("class", config.focal_loss_weight, class_loss(found.logits[at], matches, positive, config))
        presence = F.binary_cross_entropy_with_logits(found.presence[at].float(), positive.float(), reduction="none")
        add("presence", config.presence_loss_weight, shared_mean(presence, batch.weight))
        boxes = found.boxes[at].float()
        add("box", config.box_loss_weight, box_distance(boxes, matches, objects))
        add("giou", config.iou_loss_weight, box_overlap(boxes, matches, objects))
        if config.queries_per_object:
            many = assign_many(costs[at], batch.boxes, config.queries_per_object)
            add("box_near", config.box_loss_weight, box_distance(boxes, many, objects))
            add("giou_near", config.iou_loss_weight, box_overlap(boxes, many, objects))
    if near is not None:  # what may be kept in the end has to draw well
        matched[-1] = matched[-1].and_also(near)
    terms["presence_positive"] = _mean_where(presence.detach(), positive)
    terms["presence_negative"] = _mean_where(presence.detach(), ~positive)
    total = total + mask_terms(model, found, batch, matched, config, terms)
    return total, terms


def box_distance(boxes: Tensor, matches: Matches, objects: Tensor) -> Tensor:
    """L1 of (P, Q, 4) boxes to the (N, 4) objects they answer for: summed over coordinates, mean over matches."""
    distance = F.l1_loss(boxes[matches.pair, matches.query], objects[matches.target], reduction="sum")
    return distance / shared_count(len(matches.pair), boxes.device)


def box_overlap(boxes: Tensor, matches: Matches, objects: Tensor) -> Tensor:
    """1 - GIoU, mean over matches; arguments as in `box_distance`."""
    lost = generalized_box_iou_loss(boxes[matches.pair, matches.query], objects[matches.target], reduction="sum")
    return lost / shared_count(len(matches.pair), boxes.device)


def class_loss(logits: Tensor, matches: Matches, positive: Tensor, config: LossConfig) -> Tensor:
    """Focal loss of (P, Q) logits: matched queries are the concept, the others are not.

    Summed over queries and divided by the number of objects; silent on negative pairs unless the config says so.
    """
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[matches.pair, matches.query] = 1.0
    loss = sigmoid_focal_loss(logits.float(), wanted, alpha=config.focal_alpha, gamma=config.focal_gamma)
    return (loss * _heard(positive, config)).sum() / shared_count(len(matches.pair), logits.device)


def overlap_targets(logits: Tensor, matches: Matches, near: Matches, overlap: Tensor) -> Tensor:
    """(P, Q) in [0, 1]: how well each query's box fits an object, the root of its GIoU.

    Several queries may answer for one object, and the best of them is worth the most. The matched query is always
    worth 0.5, so that there is something to learn before any box fits.
    """
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[matches.pair, matches.query] = 0.5
    wanted[near.pair, near.query] = overlap.clamp(min=0).sqrt().maximum(wanted[near.pair, near.query])
    return wanted


def overlap_class_loss(logits: Tensor, wanted: Tensor, positive: Tensor, config: LossConfig) -> Tensor:
    """Cross entropy of (P, Q) logits with `overlap_targets`.

    Normalised by the sum of the targets, as the varifocal loss is (Zhang et al. 2021, "VarifocalNet").
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (loss * _heard(positive, config)).sum() / shared_count(wanted.sum())


def _heard(positive: Tensor, config: LossConfig) -> Tensor:
    """(P, 1): the weight of a pair in the class loss."""
    return torch.where(positive, 1.0, config.class_on_negatives)[:, None]


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the values where true; NaN where there is none (the logger leaves such steps out)."""
    return values[where].mean() if bool(where.any()) else torch.full((), float("nan"), device=values.device)


def mean_terms(terms: dict[str, Tensor], batch: PairBatch) -> dict[str, Tensor]:
    """Terms of all processes together: what one process with the whole batch would have found. Collective."""
    if size() == 1:
        return terms
    device, nothing = batch.pixels.device, torch.zeros(())
    count = {"presence_positive": int(batch.positive.sum()), "presence_negative": int((~batch.positive).sum())}
    rows = []
    for name in TERMS:
        value = terms.get(name, nothing)
        weight = batch.weight * count.get(name, name in terms)
        rows.append([float(value) * weight if weight else 0.0, weight])
    sums, weights = sum_over_all(torch.tensor(rows, device=device)).unbind(1)
    # a term is normalised already (`shared_count`), so processes without it count; where it is a plain mean they do not
    over = [weights[at] if name in count else size() for at, name in enumerate(TERMS)]
    return {name: sums[at] / over[at] for at, name in enumerate(TERMS) if weights[at] > 0}
