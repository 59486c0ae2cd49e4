"""The metric at every score threshold: is 0.5 the right one for this checkpoint?

Overlaps are computed once and matched anew at each threshold. cgF1 as published is the point at 0.5; a curve
that peaks elsewhere says that the scores are not calibrated, not that the model is better there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sam3.eval.cgf1 import score_overlaps
from sam3.eval.matching import PairOverlap
from sam3.eval.saco import IouKind

SWEPT: tuple[float, ...] = tuple(np.round(np.arange(1, 20) * 0.05, 2).tolist())  # 0.05, 0.10, ... 0.95


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """The headline figures when detections from `threshold` on count."""

    threshold: float
    cgf1: float
    pmf1: float
    il_mcc: float
    il_precision: float
    il_recall: float
    detections: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, by the published names."""
        fields = asdict(self)
        return {
            "threshold": fields.pop("threshold"),
            "cgF1": fields.pop("cgf1"),
            "pmF1": fields.pop("pmf1"),
            "IL_MCC": fields.pop("il_mcc"),
            "IL_precision": fields.pop("il_precision"),
            "IL_recall": fields.pop("il_recall"),
            **fields,
        }


def sweep(
    by_pair: Sequence[Sequence[PairOverlap]], iou: IouKind = "segm", thresholds: Sequence[float] = SWEPT
) -> list[SweepPoint]:
    """Score at each threshold.

    Args:
        by_pair: `cgf1.overlaps` with a `min_score` of at most the lowest threshold.
        thresholds: ascending, in (0, 1).
    """
    points = []
    for threshold in thresholds:
        result = score_overlaps(by_pair, iou, threshold=threshold)
        figures = result.figures
        points.append(
            SweepPoint(
                threshold,
                result.cgf1,
                result.pmf1,
                result.il_mcc,
                float(figures.il_precision),
                float(figures.il_recall),
                sum(pair.detections for pair in result.pairs),
            )
        )
    return points


def best(points: Sequence[SweepPoint]) -> SweepPoint:
    """The point with the highest cgF1; of equals, the one nearest to 0.5."""
    return max(points, key=lambda point: (point.cgf1, -abs(point.threshold - 0.5)))
