"""Which detection is which annotation: overlaps of a pair, then one Hungarian assignment.

`pair_overlap` is computed once a pair; `match` turns it into a `PairScore` for any score threshold, so that
the metric, the threshold sweep and the list of mistakes compute no IoU twice. `cgf1` has the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sam3.eval.masks import box_iou, mask_iou
from sam3.eval.predictions import Prediction
from sam3.eval.saco import Annotation, IouKind

# `arange` gives another ninth value, and a match that sits on a threshold would fall off it
THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
SCORE_THRESHOLD = 0.5

Kind = Literal["TP", "FP", "FN", "TN"]


@dataclass(frozen=True, slots=True, eq=False)
class PairOverlap:
    """Every detection of a pair against every annotation of one annotator.

    Attributes:
        scores: (D,) detection scores.
        rows: (D,) their rows in the prediction file.
        annotation_ids: (A,).
        ious: (D, A) in [0, 1].
    """

    image_id: int
    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    annotation_ids: NDArray[np.int64]
    ious: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Match:
    """A detection and the annotation it was assigned to, whatever their IoU."""

    row: int
    annotation_id: int
    iou: float


@dataclass(frozen=True)
class PairScore:
    """What one pair contributes to the metric; everything later is computed from these.

    Attributes:
        annotations, detections: how many there are (detections above the score threshold).
        matches: the Hungarian assignment, min(annotations, detections) of them.
    """

    image_id: int
    annotations: int
    detections: int
    matches: tuple[Match, ...] = ()

    @property
    def kind(self) -> Kind:
        """TP: annotations and detections, whatever their IoU; FP, FN: only one of them; TN: neither."""
        if self.annotations:
            return "TP" if self.detections else "FN"
        return "FP" if self.detections else "TN"

    @cached_property
    def tp(self) -> NDArray[np.int64]:
        """(10,) matches with an IoU of at least each of `THRESHOLDS`."""
        ious = np.array([match.iou for match in self.matches])
        return (ious[None, :] >= THRESHOLDS[:, None]).sum(axis=1)

    @property
    def fp(self) -> NDArray[np.int64]:
        """(10,) detections that are no true positive at each threshold."""
        return self.detections - self.tp

    @property
    def fn(self) -> NDArray[np.int64]:
        """(10,) annotations without a true positive at each threshold."""
        return self.annotations - self.tp

    def to_json(self) -> dict[str, Any]:
        """For the list of pairs in a metrics file; `from_json` is exact."""
        matches = [[m.row, m.annotation_id, m.iou] for m in self.matches]
        return {
            "image_id": self.image_id,
            "kind": self.kind,
            "annotations": self.annotations,
            "detections": self.detections,
            "matches": matches,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PairScore:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        matches = tuple(Match(int(row), int(a), float(iou)) for row, a, iou in value["matches"])
        return cls(int(value["image_id"]), int(value["annotations"]), int(value["detections"]), matches)


def pair_overlap(
    image_id: int, predictions: Sequence[Prediction], annotations: Sequence[Annotation], iou: IouKind
) -> PairOverlap:
    """IoU of all detections of a pair with all its annotations.

    Args:
        predictions: D detections, in the order that breaks ties.
        annotations: A annotations, no crowds.
        iou: compare masks ("segm") or boxes ("bbox", both in the same unit).
    """
    if iou == "segm":
        ious = mask_iou([p.rle for p in predictions], [a.rle for a in annotations])
    else:
        ious = box_iou([p.bbox for p in predictions], [a.bbox for a in annotations])
    return PairOverlap(
        image_id,
        np.array([p.score for p in predictions], dtype=np.float64),
        np.array([p.row for p in predictions], dtype=np.int64),
        np.array([a.id for a in annotations], dtype=np.int64),
        ious,
    )


def match(overlap: PairOverlap, threshold: float = SCORE_THRESHOLD) -> PairScore:
    """Assign the detections with `score >= threshold` to annotations so that the sum of IoUs is largest."""
    keep = np.flatnonzero(overlap.scores >= threshold)
    annotations = len(overlap.annotation_ids)
    if not len(keep) or not annotations:
        return PairScore(overlap.image_id, annotations, len(keep))
    ious = overlap.ious[keep]
    chosen, matched = linear_sum_assignment(-ious)
    matches = tuple(
        Match(int(overlap.rows[keep[d]]), int(overlap.annotation_ids[a]), float(ious[d, a]))
        for d, a in zip(chosen, matched, strict=True)
    )
    return PairScore(overlap.image_id, annotations, len(keep), matches)
