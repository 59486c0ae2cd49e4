"""Does a presence of 0.8 mean "it is there eight times in ten"?

Presence is the probability, per pair, that the phrase is in the picture. Expected calibration error with
equal-width bins (Guo et al. 2017, "On Calibration of Modern Neural Networks") and the Brier score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sam3.errors import BadInput


@dataclass(frozen=True, slots=True)
class Bin:
    """The pairs whose presence lies in [low, high); the last bin includes 1.

    Attributes:
        pairs: how many.
        mean_presence, share_positive: of these pairs; None when there are none.
    """

    low: float
    high: float
    pairs: int
    mean_presence: float | None
    share_positive: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far presence is from the truth.

    Attributes:
        ece: mean gap between presence and share of positives, weighted by pairs; 0 is perfect.
        brier: mean squared gap between presence and truth of a pair; 0 is perfect, 0.25 is guessing.
        mean_on_positives, mean_on_negatives: mean presence; None when there is no such pair.
    """

    bins: tuple[Bin, ...]
    ece: float
    brier: float
    mean_on_positives: float | None
    mean_on_negatives: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def calibrate(presence: Sequence[float], positive: Sequence[bool], *, bins: int = 10) -> Calibration:
    """Reliability of presence.

    Args:
        presence: (P,) in [0, 1].
        positive: (P,) whether the pair has an instance.
        bins: of equal width.

    Raises:
        BadInput: no pair, different lengths, or a presence outside [0, 1].
    """
    p, truth = np.asarray(presence, dtype=np.float64), np.asarray(positive, dtype=bool)
    if len(p) == 0 or p.shape != truth.shape:
        raise BadInput(f"calibration needs one presence a pair, not {len(p)} for {len(truth)} pairs.")
    if not ((p >= 0) & (p <= 1)).all():
        raise BadInput("presence must be a probability from 0 to 1.", field="presence")
    place = np.minimum((p * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        inside = place == i
        mean, share = _mean(p[inside]), _mean(truth[inside])
        rows.append(Bin(i / bins, (i + 1) / bins, int(inside.sum()), mean, share))
    gaps = [r.pairs * abs((r.mean_presence or 0.0) - (r.share_positive or 0.0)) for r in rows]
    return Calibration(
        bins=tuple(rows),
        ece=float(sum(gaps) / len(p)),
        brier=float(((p - truth) ** 2).mean()),
        mean_on_positives=_mean(p[truth]),
        mean_on_negatives=_mean(p[~truth]),
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
