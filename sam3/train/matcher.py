"""Which query answers for which object: Hungarian matching on class, box and overlap.

Costs 2 (class) / 5 (L1) / 2 (GIoU), after DETR (Carion et al., 2020) and the published SAM 3 recipe. Masks play
no part in the cost, so it stays cheap on every decoder layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss


@dataclass(frozen=True)
class MatchCosts:
    """Weights of the terms of the matching cost."""

    focal: float = 2.0
    box: float = 5.0
    giou: float = 2.0


@dataclass
class Matches:
    """Matched (pair, query, target) triples, int64 (N,) each; `target` counts through all pairs' objects."""

    pair: Tensor
    query: Tensor
    target: Tensor

    def and_also(self, other: Matches) -> Matches:
        """Both, one after the other."""
        return Matches(
            *(torch.cat([getattr(self, name), getattr(other, name)]) for name in ("pair", "query", "target"))
        )


def match(logits: Tensor, boxes: Tensor, targets: list[Tensor], costs: MatchCosts) -> Matches:
    """Match one decoder layer, one query for one object.

    Args:
        logits: (P, Q); boxes: (P, Q, 4) xyxy in [0, 1]; targets: P tensors (n, 4), likewise.

    Returns:
        Every target once, as long as a pair has no more targets than queries.
    """
    return assign(matching_cost(logits, boxes, targets, costs), targets)


@torch.no_grad()
def assign(cost: Tensor, targets: list[Tensor]) -> Matches:
    """One query for one object, at the least cost of all; `cost` (N, Q) is `matching_cost` of the same targets."""
    pairs, queries, matched, offset = [], [], [], 0
    table = cost.T.cpu().numpy()
    for row, count in enumerate(map(len, targets)):
        if not count:
            continue
        query, target = linear_sum_assignment(table[:, offset : offset + count])
        pairs += [row] * len(query)
        queries += query.tolist()
        matched += (target + offset).tolist()
        offset += count
    return _matches(pairs, queries, matched, cost.device)


@torch.no_grad()
def assign_many(cost: Tensor, targets: list[Tensor], several: int) -> Matches:
    """The `several` cheapest queries for every object; arguments as in `assign`."""
    several = min(several, cost.shape[1])
    target = torch.arange(len(cost), device=cost.device).repeat_interleave(several)
    return Matches(_pair_of(targets)[target], cost.topk(several, largest=False).indices.flatten(), target)


@torch.no_grad()
def match_overlapping(boxes: Tensor, targets: list[Tensor], least: float) -> tuple[Matches, Tensor]:
    """Every query that overlaps an object of its pair, with the object it overlaps most.

    Args:
        boxes: (P, Q, 4) xyxy in [0, 1]; targets: P tensors (n, 4), likewise.
        least: GIoU from which a query counts.

    Returns:
        The matches, and their GIoU (N,).
    """
    if not sum(map(len, targets)):
        return _matches([], [], [], boxes.device), boxes.new_zeros(0, dtype=torch.float32)
    pair = _pair_of(targets)
    overlap = _giou(boxes[pair].float(), torch.cat(targets).float()[:, None]).nan_to_num(-1.0)
    best = torch.full(boxes.shape[:2], -1.0, device=boxes.device)
    best = best.scatter_reduce(0, pair[:, None].expand_as(overlap), overlap, "amax")
    target, query = ((overlap >= least) & (overlap == best[pair])).nonzero(as_tuple=True)
    return Matches(pair[target], query, target), overlap[target, query]


@torch.no_grad()
def matching_cost(logits: Tensor, boxes: Tensor, targets: list[Tensor], costs: MatchCosts) -> Tensor:
    """(N, Q): what it costs that a query of the same pair answers for each of the N objects of all pairs."""
    everything = torch.cat(targets).float()
    pair = _pair_of(targets)
    probability = logits[pair].float().sigmoid()
    # the focal cost of DETR variants: what is gained by calling this query the object
    focal = (
        0.25 * (1 - probability) ** 2 * -(probability + 1e-8).log()
        - 0.75 * probability**2 * -(1 - probability + 1e-8).log()
    )
    candidates = boxes[pair].float()
    distance = (candidates - everything[:, None]).abs().sum(-1)
    overlap = _giou(candidates, everything[:, None])
    return (costs.focal * focal + costs.box * distance - costs.giou * overlap).nan_to_num(1e6)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of (..., 4) xyxy boxes side by side; torchvision's is for all pairs of two lists."""
    return 1 - generalized_box_iou_loss(a, b.expand_as(a))


def _pair_of(targets: list[Tensor]) -> Tensor:
    """int64 (N,): the pair each object belongs to."""
    counts = torch.tensor([len(target) for target in targets], device=targets[0].device)
    return torch.arange(len(targets), device=counts.device).repeat_interleave(counts)


def _matches(pairs: list[int], queries: list[int], targets: list[int], device: torch.device) -> Matches:
    return Matches(*(torch.tensor(values, dtype=torch.int64, device=device) for values in (pairs, queries, targets)))
