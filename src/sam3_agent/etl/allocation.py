"""Whole groups to the validation side, so that its size and its mixture come nearest to the wish.

scikit-learn's StratifiedGroupKFold cuts k equal folds; here one side of any size is wanted, and groups of
very unequal size are the rule. A greedy pass over the groups in random order, repeated and the best
one kept, gets within a picture or two of the target when the groups allow it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRIES = 200
_MOST_STEPS = 100_000  # tries x groups; a second of work
MOST_INSTANCES = 4  # pictures with more are one stratum


def strata(instance_counts: NDArray[np.integer]) -> NDArray[np.intp]:
    """Stratum of each picture: 0 for a negative, else its number of instances, 4 and more as one."""
    return np.minimum(instance_counts, MOST_INSTANCES).astype(np.intp)


def choose_validation(
    groups: NDArray[np.integer], stratum: NDArray[np.intp], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which pictures go to the validation side.

    Args:
        groups: (N,) group number of each picture, 0..G-1.
        stratum: (N,) as from `strata`.
        share: of the pictures, in (0, 1).
        seed: equal seeds and data give equal sides, on any machine.

    Returns:
        (N,) bool. Neither side is empty when there are two groups or more.
    """
    table = np.zeros((groups.max() + 1, MOST_INSTANCES + 1))
    np.add.at(table, (groups, stratum), 1)
    target = share * table.sum(0)
    generator = np.random.default_rng(seed)
    best, best_cost = np.zeros(len(table), bool), np.inf
    for _ in range(int(np.clip(_MOST_STEPS // len(table), 1, TRIES))):
        chosen = _greedy(table, target, generator.permutation(len(table)))
        cost = _cost(table[chosen].sum(0), target)
        if chosen.any() and not chosen.all() and cost < best_cost:
            best, best_cost = chosen, cost
    if not best.any() and len(table) > 1:
        best[np.argmin(table.sum(1))] = True  # every group is larger than the share: the smallest one
    return best[groups]


def _greedy(table: NDArray[np.float64], target: NDArray[np.float64], order: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Take every group, in this order, that brings the side nearer to the target."""
    chosen, side = np.zeros(len(table), bool), np.zeros_like(target)
    cost = _cost(side, target)
    for group in order:
        larger = side + table[group]
        new_cost = _cost(larger, target)
        if new_cost < cost:
            side, cost, chosen[group] = larger, new_cost, True
    return chosen


def _cost(side: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Pictures too many or too few: in all, among the positives, and in every stratum."""
    off = side - target
    # a missing kind makes the metric meaningless (no positives: no F1; no negatives: cgF1 is 0)
    missing = float(((side[:1] == 0) & (target[:1] > 0)).any() + (side[1:].sum() == 0)) * target.sum()
    return float(2 * abs(off.sum()) + 2 * abs(off[1:].sum()) + np.abs(off).sum() + missing)
