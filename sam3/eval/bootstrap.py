"""How sure a figure is: confidence intervals over pairs, and the paired difference of two models.

Pairs are drawn with replacement (together with the rest of their group, when pictures of one source hang
together); cgF1 of a resample needs nothing but weighted sums, so thousands of them are one matrix product.
Percentile intervals after Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.eval.cgf1 import CgF1
from sam3.eval.figures import Floats

CONFIDENCE = 0.95
_ROWS_AT_ONCE = 100  # 100 resamples of 10,000 pairs are 8 MB of weights


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the range that holds it with the confidence asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of the three headline figures of one model."""

    cgf1: Interval
    pmf1: Interval
    il_mcc: Interval
    resamples: int
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, by the published names."""
        named = {"cgF1": self.cgf1, "pmF1": self.pmf1, "IL_MCC": self.il_mcc}
        shown: dict[str, Any] = {name: asdict(interval) for name, interval in named.items()}
        return shown | {"resamples": self.resamples, "confidence": self.confidence}


@dataclass(frozen=True, slots=True)
class PairedGain:
    """cgF1 of a candidate minus cgF1 of a baseline on the same resamples.

    Attributes:
        gain: the difference on the pairs as they are, and its interval.
        probability: share of resamples in which the candidate is better.
    """

    gain: Interval
    probability: float
    resamples: int
    confidence: float

    @property
    def outside_noise(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.gain.low > 0


def resample_weights(
    pairs: int, resamples: int, *, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Iterator[Floats]:
    """How often each pair is drawn in each resample, in blocks.

    Args:
        pairs: P.
        groups: (P,) key of the group that a pair is drawn with; None draws pairs on their own.

    Yields:
        (r, P) whole numbers as float64; the blocks together have `resamples` rows.
    """
    if pairs == 0 or resamples < 1:
        raise BadInput(f"cannot draw {resamples} resamples of {pairs} pairs; both must be at least 1.")
    if groups is None:
        member = np.arange(pairs)
    else:
        index: dict[Hashable, int] = {}
        member = np.array([index.setdefault(key, len(index)) for key in groups])
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, member].astype(np.float64)


def intervals(
    score: CgF1,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Intervals:
    """Percentile intervals of cgF1, pmF1 and IL_MCC."""
    drawn = []
    for weights in resample_weights(len(score.pairs), resamples, groups=groups, seed=seed):
        figures = score.rows.weighted(weights).figures()
        drawn.append(np.stack([figures.cgf1, figures.pmf1, figures.il_mcc]))
    low, high = _bounds(np.concatenate(drawn, axis=1), confidence)
    values = (score.cgf1, score.pmf1, score.il_mcc)
    cgf1, pmf1, il_mcc = (Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True))
    return Intervals(cgf1, pmf1, il_mcc, resamples, confidence)


def paired_gain(
    baseline: CgF1,
    candidate: CgF1,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedGain:
    """The gain in cgF1, both models judged on the same pairs in every resample.

    Raises:
        BadInput: the two were not scored on the same pairs in the same order.
    """
    if [p.image_id for p in baseline.pairs] != [p.image_id for p in candidate.pairs]:
        raise BadInput("baseline and candidate were scored on different pairs; evaluate both on one file.")
    differences = [
        candidate.rows.weighted(weights).figures().cgf1 - baseline.rows.weighted(weights).figures().cgf1
        for weights in resample_weights(len(baseline.pairs), resamples, groups=groups, seed=seed)
    ]
    drawn = np.concatenate(differences)
    low, high = _bounds(drawn[None], confidence)
    gain = Interval(candidate.cgf1 - baseline.cgf1, float(low[0]), float(high[0]))
    return PairedGain(gain, float((drawn > 0).mean()), resamples, confidence)


def _bounds(drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Lower and upper percentile of each row of (K, R)."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    return low, high
