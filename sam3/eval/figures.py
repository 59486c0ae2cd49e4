"""The formulas of cgF1: sums over pairs -> precision, recall, F1 and correlation.

Split from `cgf1` so that the metric of a data set and of a thousand bootstrap resamples of it are one
computation: every array may carry leading axes (...), and a resample is only other weights in the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.eval.matching import THRESHOLDS, PairScore

Floats = NDArray[np.float64]
KINDS = ("TP", "FP", "TN", "FN")
_EPS_INSTANCE = 1e-4
_EPS_IMAGE = 1e-6


@dataclass(frozen=True)
class Figures:
    """The metric's figures; leading axes (...) are resamples when there are any.

    `precision` to `positive_macro_f1` are (..., 10), one a threshold; `il_*` are (...).
    `positive_macro_f1` is NaN where no positive pair has a detection.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    positive_micro_precision: Floats
    positive_micro_f1: Floats
    positive_macro_f1: Floats
    il_precision: Floats
    il_recall: Floats
    il_f1: Floats
    il_fpr: Floats
    il_mcc: Floats

    @property
    def cgf1_per_threshold(self) -> Floats:
        """(..., 10)."""
        return self.positive_micro_f1 * self.il_mcc[..., None]

    @property
    def cgf1(self) -> Floats:
        """(...), the mean over thresholds."""
        return self.cgf1_per_threshold.mean(axis=-1)

    @property
    def pmf1(self) -> Floats:
        """(...), the mean over thresholds."""
        return self.positive_micro_f1.mean(axis=-1)


@dataclass(frozen=True)
class Sums:
    """What the figures need of a set of pairs; for one row a pair, or summed over pairs.

    Attributes:
        tp, fp, positive_fp, fn, macro_f1: (..., 10); `positive_fp` and `macro_f1` are 0 on negative pairs.
        kinds: (..., 4) pairs of each of `KINDS`.
    """

    tp: Floats
    fp: Floats
    positive_fp: Floats
    fn: Floats
    macro_f1: Floats
    kinds: Floats

    @classmethod
    def of_pairs(cls, pairs: Sequence[PairScore]) -> Sums:
        """One row a pair: arrays (P, 10) and (P, 4)."""
        tp = np.array([pair.tp for pair in pairs], dtype=np.float64).reshape(-1, len(THRESHOLDS))
        fp = np.array([[pair.detections] for pair in pairs]).reshape(-1, 1) - tp
        fn = np.array([[pair.annotations] for pair in pairs]).reshape(-1, 1) - tp
        kinds = np.array([[pair.kind == kind for kind in KINDS] for pair in pairs], np.float64).reshape(-1, 4)
        hit = kinds[:, :1]
        return cls(tp, fp, fp * hit, fn, f1(tp, fp, fn) * hit, kinds)

    def weighted(self, weights: Floats) -> Sums:
        """Sums over pairs, each counted `weights` times: (R, P) weights give arrays (R, 10) and (R, 4)."""
        parts = (self.tp, self.fp, self.positive_fp, self.fn, self.macro_f1, self.kinds)
        return Sums(*(weights @ part for part in parts))

    def total(self) -> Sums:
        """The sum over all pairs: arrays (10,) and (4,)."""
        return self.weighted(np.ones(len(self.tp)))

    def figures(self) -> Figures:
        """Precision, recall, F1 and correlation of these sums."""
        precision, recall = _ratio(self.tp, self.fp), _ratio(self.tp, self.fn)
        micro_precision = _ratio(self.tp, self.positive_fp)
        il_tp, il_fp, il_tn, il_fn = np.moveaxis(self.kinds, -1, 0)
        il_precision = il_tp / (il_tp + il_fp + _EPS_IMAGE)
        il_recall = il_tp / (il_tp + il_fn + _EPS_IMAGE)
        with np.errstate(invalid="ignore"):
            macro = self.macro_f1 / il_tp[..., None]
        return Figures(
            precision=precision,
            recall=recall,
            f1=_harmonic(precision, recall),
            positive_micro_precision=micro_precision,
            positive_micro_f1=_harmonic(micro_precision, recall),
            positive_macro_f1=macro,
            il_precision=il_precision,
            il_recall=il_recall,
            il_f1=2 * il_precision * il_recall / (il_precision + il_recall + _EPS_IMAGE),
            il_fpr=il_fp / (il_fp + il_tn + _EPS_IMAGE),
            il_mcc=(il_tp * il_tn - il_fp * il_fn)
            / (((il_tp + il_fp) * (il_tp + il_fn) * (il_tn + il_fp) * (il_tn + il_fn)) ** 0.5 + _EPS_IMAGE),
        )


def _ratio(tp: NDArray[Any], other: NDArray[Any]) -> Floats:
    return tp / (tp + other + _EPS_INSTANCE)


def _harmonic(precision: Floats, recall: Floats) -> Floats:
    return 2 * precision * recall / (precision + recall + _EPS_INSTANCE)


def f1(tp: NDArray[Any], fp: NDArray[Any], fn: NDArray[Any]) -> Floats:
    """F1 with the published epsilons; any shapes that broadcast."""
    return _harmonic(_ratio(tp, fp), _ratio(tp, fn))
