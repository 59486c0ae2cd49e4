"""The holdout of negatives: pictures that do not show the phrase, on which nothing may be found.

A model that sees the concept everywhere can still have a fine mean over a mixed set; here it cannot hide. The
verdict is in words, with the knob to turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any, Literal

from sam3.errors import BadInput
from sam3.eval.matching import PairScore

Status = Literal["pass", "doubtful", "fail"]


@dataclass(frozen=True, slots=True)
class NegativeLimits:
    """What passes; the defaults stand in params.yaml under `gate`.

    Attributes:
        min_pass_rate: share of negatives without a detection must be above this.
        max_mean_presence: mean presence below this passes.
        fail_mean_presence: mean presence above this fails; between the two it is doubtful.
    """

    min_pass_rate: float
    max_mean_presence: float
    fail_mean_presence: float


@dataclass(frozen=True, slots=True)
class NegativesVerdict:
    """How a model behaves where there is nothing to find.

    Attributes:
        detections: above the score threshold; the goal is 0.
        pass_rate: share of negative pairs without any.
        offenders: ids of the pairs with detections, the most of them first.
        advice: what to do, in words.
    """

    pairs: int
    detections: int
    pass_rate: float
    mean_presence: float
    status: Status
    advice: str
    offenders: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether pass rate and mean presence are both where they should be."""
        return self.status == "pass"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": self.passed, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> NegativesVerdict:
        """The inverse of `to_json`; other keys are ignored. Raises KeyError or TypeError on anything else."""
        return cls(
            pairs=int(value["pairs"]),
            detections=int(value["detections"]),
            pass_rate=float(value["pass_rate"]),
            mean_presence=float(value["mean_presence"]),
            status=value["status"],
            advice=str(value["advice"]),
            offenders=tuple(value["offenders"]),
        )


def judge_negatives(
    pairs: Sequence[PairScore], presence: Mapping[int, float], limits: NegativeLimits
) -> NegativesVerdict:
    """Judge the negative pairs among `pairs`; positive ones are left out.

    Args:
        pairs: scored pairs.
        presence: pair id -> probability that the phrase is in the picture.

    Raises:
        BadInput: no negative pair, or a negative pair without a presence.
    """
    negatives = [pair for pair in pairs if pair.annotations == 0]
    if not negatives:
        raise BadInput("no negative pairs to judge; add pictures that do not show the phrase.")
    unknown = [pair.image_id for pair in negatives if pair.image_id not in presence]
    if unknown:
        raise BadInput(
            f"pair {unknown[0]} has no presence ({len(unknown)} such pairs). Use predictions of evaluate.",
            field="presence",
        )
    noisy = sorted((p for p in negatives if p.detections), key=lambda p: -p.detections)
    pass_rate = (len(negatives) - len(noisy)) / len(negatives)
    mean = fsum(presence[pair.image_id] for pair in negatives) / len(negatives)
    status, advice = _verdict(pass_rate, mean, limits)
    return NegativesVerdict(
        pairs=len(negatives),
        detections=sum(pair.detections for pair in noisy),
        pass_rate=pass_rate,
        mean_presence=mean,
        status=status,
        advice=advice,
        offenders=tuple(pair.image_id for pair in noisy),
    )


def _verdict(pass_rate: float, mean: float, limits: NegativeLimits) -> tuple[Status, str]:
    if mean > limits.fail_mean_presence:
        return "fail", (
            f"mean presence {mean:.2f} is above {limits.fail_mean_presence:g}: the model sees the phrase "
            "where it is not. Raise loss.focal_loss_weight (try twice the value) and add hard negatives."
        )
    if pass_rate <= limits.min_pass_rate:
        return "fail", (
            f"only {pass_rate:.1%} of the negatives are free of detections; more than "
            f"{limits.min_pass_rate:.0%} is asked for. Look at the false positives, add pictures like "
            "them as negatives, or raise loss.focal_loss_weight."
        )
    if mean >= limits.max_mean_presence:
        return "doubtful", (
            f"mean presence {mean:.2f} is not below {limits.max_mean_presence:g}: few false alarms, but "
            "the model hesitates. More negatives or a higher loss.focal_loss_weight make it surer."
        )
    return "pass", f"mean presence {mean:.2f}, {pass_rate:.1%} of negatives free of detections: all is well."
