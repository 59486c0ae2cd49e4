"""Fine-tuned against baseline on the same pairs: may the candidate replace what is in use?

The gate asks two things: cgF1 better by more than `min_relative_gain`, and more than `min_pass_rate` of the
negatives without a detection. The paired bootstrap says how far the gain is from chance.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sam3.errors import BadInput
from sam3.eval.bootstrap import PairedGain, paired_gain
from sam3.eval.cgf1 import CgF1
from sam3.eval.negatives import NegativesVerdict


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether a candidate passes, and why.

    Attributes:
        relative_gain: gain / |baseline cgF1|; None when the baseline is 0.
        reasons: one sentence a condition, whether it holds or not.
        notes: what does not decide but should be known.
    """

    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    baseline_cgf1: float
    candidate_cgf1: float
    relative_gain: float | None
    pass_rate: float
    paired: PairedGain

    def to_json(self) -> dict[str, Any]:
        """`{"gate": {"passed", "reasons", "notes"}, ...}`: what registration reads."""
        return {
            "gate": {"passed": self.passed, "reasons": list(self.reasons), "notes": list(self.notes)},
            "baseline_cgF1": self.baseline_cgf1,
            "candidate_cgF1": self.candidate_cgf1,
            "gain": asdict(self.paired.gain),
            "relative_gain": self.relative_gain,
            "probability_of_gain": self.paired.probability,
            "pass_rate": self.pass_rate,
            "resamples": self.paired.resamples,
            "confidence": self.paired.confidence,
        }


def check_same_pairs(baseline: CgF1, candidate: CgF1, names: tuple[str, str] = ("baseline", "candidate")) -> None:
    """Refuse to compare what was not measured on the same thing.

    Raises:
        BadInput: the pairs differ, or one of them has another number of annotations.
    """
    ours, theirs = ({p.image_id: p.annotations for p in score.pairs} for score in (baseline, candidate))
    alone = sorted(ours.keys() ^ theirs.keys())
    if alone:
        where = names[0] if alone[0] in ours else names[1]
        raise BadInput(
            f"{names[0]} and {names[1]} were measured on different pairs: {len(alone)} are in one only, e.g. "
            f"{alone[0]} in {where}. Evaluate both on the same file.",
            field="pairs",
        )
    changed = [image_id for image_id, count in ours.items() if theirs[image_id] != count]
    if changed:
        raise BadInput(
            f"the ground truth changed between {names[0]} and {names[1]}: pair {changed[0]} has "
            f"{ours[changed[0]]} and {theirs[changed[0]]} annotations. Evaluate both on the same file.",
            field="pairs",
        )


def decide(
    baseline: CgF1,
    candidate: CgF1,
    negatives: NegativesVerdict,
    *,
    min_relative_gain: float,
    min_pass_rate: float,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> GateDecision:
    """Hold a candidate against the baseline.

    Args:
        baseline, candidate: scored on the same pairs.
        negatives: the candidate's verdict on the holdout of negatives.
        groups: (P,) pairs with the same key are resampled together.

    Raises:
        BadInput: the two were not measured on the same pairs.
    """
    check_same_pairs(baseline, candidate)
    by_id = {pair.image_id: pair for pair in candidate.pairs}
    candidate = CgF1(candidate.iou, tuple(by_id[p.image_id] for p in baseline.pairs), candidate.warnings)
    paired = paired_gain(baseline, candidate, groups=groups, resamples=resamples, seed=seed)
    old, new = baseline.cgf1, candidate.cgf1
    relative = (new - old) / abs(old) if old else None
    gained = new - old > min_relative_gain * abs(old)
    clean = negatives.pass_rate > min_pass_rate
    return GateDecision(
        passed=gained and clean,
        reasons=(
            _gain_reason(old, new, relative, gained, min_relative_gain),
            _pass_rate_reason(negatives, min_pass_rate),
        ),
        notes=_notes(paired, candidate, negatives),
        baseline_cgf1=old,
        candidate_cgf1=new,
        relative_gain=relative,
        pass_rate=negatives.pass_rate,
        paired=paired,
    )


def _gain_reason(old: float, new: float, relative: float | None, gained: bool, wanted: float) -> str:
    change = "the baseline is 0, any gain counts" if relative is None else f"{relative:+.1%}"
    verdict = "enough" if gained else "not enough"
    return f"cgF1 went from {old:.3f} to {new:.3f} ({change}): {verdict}, more than {wanted:+.0%} is asked for."


def _pass_rate_reason(negatives: NegativesVerdict, wanted: float) -> str:
    verdict = "enough" if negatives.pass_rate > wanted else "not enough"
    return (
        f"{negatives.pass_rate:.1%} of {negatives.pairs} negatives have no detection: {verdict}, "
        f"more than {wanted:.0%} is asked for."
    )


def _notes(paired: PairedGain, candidate: CgF1, negatives: NegativesVerdict) -> tuple[str, ...]:
    gain = paired.gain
    spread = f"{paired.confidence:.0%} interval of the gain {gain.low:+.3f} to {gain.high:+.3f}"
    verdict = "outside chance" if paired.outside_noise else "chance alone could explain it"
    notes = [f"{spread}: {verdict}; better in {paired.probability:.1%} of {paired.resamples} resamples."]
    if not negatives.passed:
        notes.append(f"negatives: {negatives.advice}")
    return (*notes, *candidate.warnings)
