"""Masks in the loss: instance masks of matched queries on every decoder layer, and the semantic head.

Only labels that follow the object teach masks: a box drawn around a hen says where she is, not what shape she
has (`PairBatch.outlined`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from sam3.detector import Grounding, Sam3Detector
from sam3.train.loss_config import LossConfig
from sam3.train.mask_points import at_points
from sam3.train.matcher import Matches
from sam3.train.targets import PairBatch
from sam3.train.world import shared_count


def mask_terms(
    model: Sam3Detector,
    found: Grounding,
    batch: PairBatch,
    matched: list[Matches],
    config: LossConfig,
    terms: dict[str, Tensor],
) -> Tensor:
    """Weighted sum of all mask terms; the unweighted ones are added to `terms`."""
    zero = found.logits.new_zeros((), dtype=torch.float32)
    if config.mask_loss_weight == 0 and config.dice_loss_weight == 0:
        return zero
    pairs = chosen_pairs(batch, config)
    chosen = matched_masks(found, batch, matched, pairs)
    whole = outlined_pairs(batch, pairs) if config.semantic_loss_weight > 0 else []
    # every process asks, whatever it has: a sum over processes must not hang on a branch
    device, counts = zero.device, bool(batch.weight)
    objects = shared_count(len(chosen.targets) * counts, device)
    areas = shared_count(len(whole) * counts, device)
    if not len(pairs):
        return zero
    pixels = model.pixel_embeddings(found, pairs)
    total = instance_terms(model, batch, chosen, pairs, pixels, config, terms, objects)
    if whole:
        total = total + semantic_term(model, batch, pairs, whole, pixels, config, terms, areas)
    return total


@dataclass
class MatchedMasks:
    """Queries whose masks are judged, on all layers.

    Attributes:
        queries: (N, d) decoder states. rows: int64 (N,) of the chosen pairs. targets: int64 (N,), through all pairs.
        layers: how many decoder layers they come from.
    """

    queries: Tensor
    rows: Tensor
    targets: Tensor
    layers: int


def matched_masks(found: Grounding, batch: PairBatch, matched: list[Matches], pairs: Tensor) -> MatchedMasks:
    """Matched queries of the pairs at `pairs` (int64) whose targets are outlined."""
    row_of = torch.full((len(batch),), -1, dtype=torch.int64, device=pairs.device)
    row_of[pairs] = torch.arange(len(pairs), device=pairs.device)
    known = torch.cat(outlines(batch)).bool()
    queries, rows, targets = [], [], []
    for at, matches in enumerate(matched):
        kept = (row_of[matches.pair] >= 0) & known[matches.target]
        queries.append(found.queries[at][matches.pair[kept], matches.query[kept]])
        rows.append(row_of[matches.pair[kept]])
        targets.append(matches.target[kept])
    return MatchedMasks(torch.cat(queries), torch.cat(rows), torch.cat(targets), len(matched))


def outlined_pairs(batch: PairBatch, pairs: Tensor) -> list[int]:
    """Rows of `pairs` in which every object has an outline."""
    known = outlines(batch)
    return [row for row, pair in enumerate(pairs.tolist()) if bool(known[pair].all())]


def chosen_pairs(batch: PairBatch, config: LossConfig) -> Tensor:
    """int64: a random share of the positive pairs that have an outline, and negative pairs if the config says so."""
    positive = batch.positive
    outlined = torch.tensor([bool(known.any()) for known in outlines(batch)], device=positive.device)
    drawn = torch.rand(len(positive), device=positive.device) < config.mask_share
    return ((positive & outlined & drawn) | (~positive & config.semantic_on_negatives)).nonzero().squeeze(1)


def outlines(batch: PairBatch) -> list[Tensor]:
    """Per pair, bool (n,): which masks follow their object."""
    if batch.outlined is not None:
        return batch.outlined
    return [torch.ones(len(boxes), dtype=torch.bool, device=boxes.device) for boxes in batch.boxes]


def instance_terms(
    model: Sam3Detector,
    batch: PairBatch,
    chosen: MatchedMasks,
    pairs: Tensor,
    pixels: Tensor,
    config: LossConfig,
    terms: dict[str, Tensor],
    objects: Any,
) -> Tensor:
    """Focal and dice of the masks of matched queries, on every layer.

    Args:
        pairs: int64 (P',), the pairs that `pixels` (P', d, H, W) belong to.
        objects: what sums over matched masks are divided by (`shared_count`).
    """
    if not len(chosen.targets):
        return pixels.new_zeros((), dtype=torch.float32)
    if config.mask_points:
        logits, truth = at_points(model, batch, chosen, pairs, pixels, config.mask_points)
    else:
        logits = model.mask_logits(pixels, chosen.rows, chosen.queries).float()
        truth = torch.cat([resize_masks(masks, pixels.shape[-2:]) for masks in batch.masks])[chosen.targets]
    # every layer matches every target at least once: the mean over all is about the mean over layers
    focal, dice = (term * (len(logits) / objects) for term in mask_losses(logits, truth))
    terms["mask"], terms["dice"] = focal.detach(), dice.detach()
    return chosen.layers * (config.mask_loss_weight * focal + config.dice_loss_weight * dice)


def semantic_term(
    model: Sam3Detector,
    batch: PairBatch,
    pairs: Tensor,
    rows: list[int],
    pixels: Tensor,
    config: LossConfig,
    terms: dict[str, Tensor],
    areas: Any,
) -> Tensor:
    """Focal and dice of "this pixel is the concept" for the `rows` of `pairs` that are outlined throughout.

    Args:
        areas: what sums over rows are divided by (`shared_count`).
    """
    size = pixels.shape[-2:]
    truth = torch.stack([_union(batch.masks[int(pairs[row])], size) for row in rows])
    logits = model.semantic_logits(pixels[rows]).float()
    focal, dice = (term * (len(rows) / areas) for term in mask_losses(logits, truth))
    terms["semantic"] = focal.detach()
    return config.semantic_loss_weight * (config.mask_loss_weight * focal + config.dice_loss_weight * dice)


def mask_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Focal and dice of (N, H, W) logits, or (N, K) at points, against masks in [0, 1]; means over N."""
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


def _union(masks: Tensor, size: torch.Size) -> Tensor:
    return resize_masks(masks, size).amax(0) if len(masks) else masks.new_zeros(size, dtype=torch.float32)
