"""The decision: is the candidate better than the champion, nowhere much worse, and not slower?

    1. validation   the interval of the paired gain in cgF1 (`confidence`) does not reach below -margin
    2. better       the interval of the gain lies above 0, on validation or on the new hard cases
    3. slices       no slice of validation with enough pairs loses more than `max_slice_loss`
    4. latency      candidate / champion, in one run, is not above `max_latency_ratio` for certain

Intervals: paired bootstrap (`sam3.eval.bootstrap`). Every rule is a sentence in the decision, whether it holds or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sam3.eval.bootstrap import PairedGain, paired_gain
from sam3.eval.cgf1 import CgF1
from sam3.eval.compare import check_same_pairs
from sam3_agent.loop_settings import Promotion
from sam3_agent.promotion.latency import LatencyRatio
from sam3_agent.promotion.slices import Slice, judge


@dataclass(frozen=True)
class Trial:
    """Both models on one set of pairs.

    Attributes:
        groups: (P,) key of the group that each pair of the champion is resampled with; None draws pairs alone.
        presence_shift: largest difference between the two distribution functions of presence, in [0, 1]; None: unknown.
    """

    name: str
    champion: CgF1
    candidate: CgF1
    groups: Sequence[Hashable] | None = None
    presence_shift: float | None = None

    def gain(self, rules: Promotion) -> PairedGain:
        """The paired gain in cgF1.

        Raises:
            BadInput: the two were not measured on the same pairs.
        """
        return paired_gain(
            self.champion, self.aligned(), groups=self.groups, resamples=rules.resamples, seed=rules.seed,
            confidence=rules.confidence,
        )  # fmt: skip

    def aligned(self) -> CgF1:
        """The candidate's pairs in the champion's order."""
        check_same_pairs(self.champion, self.candidate, ("champion", "candidate"))
        by_id = {pair.image_id: pair for pair in self.candidate.pairs}
        ordered = tuple(by_id[pair.image_id] for pair in self.champion.pairs)
        return CgF1(self.candidate.iou, ordered, self.candidate.warnings)


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes champion, and why; `reasons` has a sentence a rule."""

    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    gains: Mapping[str, PairedGain]
    figures: Mapping[str, tuple[float, float]]  # set -> cgF1 of champion and candidate
    slices: tuple[Slice, ...]
    latency: LatencyRatio | None
    presence_shift: float | None  # on validation: what a canary has to expect of a candidate that finds more

    def to_json(self) -> dict[str, Any]:
        """Plain values, as reports/promotion.json has them."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "cgF1": {name: {"champion": old, "candidate": new} for name, (old, new) in self.figures.items()},
            "gains": {name: asdict(gain) for name, gain in self.gains.items()},
            "slices": [asdict(one) | {"loss": one.loss} for one in self.slices],
            "latency": asdict(self.latency) if self.latency else None,
            "presence_shift": self.presence_shift,
        }


def decide(
    validation: Trial,
    rules: Promotion,
    *,
    slices: Mapping[str, frozenset[int]],
    hard: Trial | None = None,
    latency: LatencyRatio | None = None,
) -> Decision:
    """Hold the candidate against the champion; see the rules at the top.

    Raises:
        BadInput: the two were not measured on the same pairs.
    """
    trials = [validation, *([hard] if hard else [])]
    gains = {trial.name: trial.gain(rules) for trial in trials}
    judged = judge(slices, validation.champion, validation.aligned())
    checks = [
        _not_worse(validation, gains[validation.name], rules),
        _better(trials, gains),
        _no_slice_lost(judged, rules),
    ]
    if latency:
        checks.append(_not_slower(latency, rules))
    notes = [] if hard else ["no hard cases were given: the decision rests on validation alone."]
    notes += [] if latency else ["latency was not compared."]
    small = [one for one in judged if one.pairs < rules.min_slice_pairs and one.loss > rules.max_slice_loss]
    notes += [f"{_told(one)}; {one.pairs} pairs are too few to decide." for one in small]
    return Decision(
        passed=all(fine for fine, _ in checks),
        reasons=tuple(said for _, said in checks),
        notes=(*notes, *validation.candidate.warnings),
        gains=gains,
        figures={trial.name: (trial.champion.cgf1, trial.candidate.cgf1) for trial in trials},
        slices=tuple(judged),
        latency=latency,
        presence_shift=validation.presence_shift,
    )


def _not_worse(trial: Trial, gain: PairedGain, rules: Promotion) -> tuple[bool, str]:
    fine = gain.gain.low > -rules.margin
    verdict = "not worse" if fine else "may be worse"
    return fine, (
        f"{trial.name}: cgF1 {trial.champion.cgf1:.3f} -> {trial.candidate.cgf1:.3f}, gain {gain.gain.low:+.3f} to "
        f"{gain.gain.high:+.3f} ({gain.confidence:.0%}): {verdict}; it must stay above {-rules.margin:+.3f}."
    )


def _better(trials: Sequence[Trial], gains: Mapping[str, PairedGain]) -> tuple[bool, str]:
    better = [trial.name for trial in trials if gains[trial.name].outside_noise]
    if better:
        return True, f"better beyond chance on {' and '.join(better)}."
    seen = "; ".join(f"{name} {gain.gain.low:+.3f} to {gain.gain.high:+.3f}" for name, gain in gains.items())
    return False, f"no gain beyond chance ({seen})."


def _no_slice_lost(judged: Sequence[Slice], rules: Promotion) -> tuple[bool, str]:
    counted = [one for one in judged if one.pairs >= rules.min_slice_pairs]
    lost = [one for one in counted if one.loss > rules.max_slice_loss + 1e-12]
    if lost:
        return False, f"slices worse by more than {rules.max_slice_loss:.3f}: {'; '.join(map(_told, lost))}."
    return True, f"none of {len(counted)} slices is worse by more than {rules.max_slice_loss:.3f}."


def _told(one: Slice) -> str:
    return f"{one.name} ({one.figure} {one.champion:.3f} -> {one.candidate:.3f})"


def _not_slower(latency: LatencyRatio, rules: Promotion) -> tuple[bool, str]:
    fine = latency.low <= rules.max_latency_ratio
    sure = "" if fine == (latency.high <= rules.max_latency_ratio) else ", though it cannot be ruled out"
    return fine, (
        f"time per picture is {latency.ratio:.2f} times the champion's ({latency.low:.2f} to {latency.high:.2f} over "
        f"{latency.pictures} pictures): {'no regression' if fine else 'a regression'} beyond "
        f"{rules.max_latency_ratio:g}{sure}."
    )
