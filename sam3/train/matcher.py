"""Which query answers for which object: Hungarian matching on class, box and overlap.

Costs 2 (class) / 5 (L1) / 2 (GIoU), after DETR (Carion et al., 2020) and the published SAM 3 recipe. Masks play
no part in the cost, so it stays cheap on every decoder layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou


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


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: list[Tensor], costs: MatchCosts) -> Matches:
    """Match one decoder layer.

    Args:
        logits: (P, Q); boxes: (P, Q, 4) xyxy in [0, 1]; targets: P tensors (n, 4), likewise.

    Returns:
        Every target once, as long as a pair has no more targets than queries.
    """
    counts = [len(target) for target in targets]
    device = logits.device
    if not sum(counts):
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return Matches(none, none, none)
    rows = torch.tensor([at for at, count in enumerate(counts) if count], device=device)
    everything = torch.cat(targets).float()
    probability = logits[rows].float().sigmoid()
    # the focal cost of DETR variants: what is gained by calling this query the object
    focal = (
        0.25 * (1 - probability) ** 2 * -(probability + 1e-8).log()
        - 0.75 * probability**2 * -(1 - probability + 1e-8).log()
    )
    flat = boxes[rows].float().flatten(0, 1)
    cost = (
        costs.focal * focal.flatten()[:, None]
        + costs.box * torch.cdist(flat, everything, p=1)
        - costs.giou * generalized_box_iou(flat, everything)
    )
    cost = cost.view(len(rows), -1, len(everything)).nan_to_num(1e6).cpu().numpy()
    pairs, queries, matched, offset = [], [], [], 0
    for at, row in enumerate(rows.tolist()):
        query, target = linear_sum_assignment(cost[at][:, offset : offset + counts[row]])
        pairs += [row] * len(query)
        queries += query.tolist()
        matched += (target + offset).tolist()
        offset += counts[row]
    as_tensor = lambda values: torch.tensor(values, dtype=torch.int64, device=device)  # noqa: E731
    return Matches(as_tensor(pairs), as_tensor(queries), as_tensor(matched))
