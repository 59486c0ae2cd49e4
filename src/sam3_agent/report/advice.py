"""What to do next, derived from the figures of a run by rules.

Each rule looks at one thing and has one thing to say, with the figure that made it speak and, where there is
one, the command to type. The gravest first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sam3_agent.finished_run import FinishedRun

FEW_INDIVIDUALS = 25
WIDE_INTERVAL = 0.15
BAD_ECE = 0.1
CONFIG = "the training config (train.config in params.yaml)"
AGAIN = "dvc repro"
CURE = {
    "missed": "Label more pictures like the missed ones: small, hidden, and unusual individuals first.",
    "false alarm": "Add pictures that show what was mistaken for it as negatives, or raise loss.focal_loss_weight.",
    "bleeding": "Check that outlines are tight (boxes as outlines teach bleeding), then raise loss.dice_loss_weight.",
    "fragmentation": "Add pictures where it is partly hidden, outlined as one object; raise loss.mask_loss_weight.",
    "ghosting": "Raise loss.focal_loss_weight so that second finds on one object cost more.",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do.

    Attributes:
        do: an order in a few words.
        because: the figures behind it.
        command: what to type, "" when it is not a command.
    """

    do: str
    because: str
    command: str = ""


def next_steps(run: FinishedRun, limit: int = 6) -> list[Advice]:
    """What the figures of a run advise, the gravest first; never empty."""
    found = [advice for rule in RULES if (advice := rule(run)) is not None]
    return found[:limit]


def _negatives(run: FinishedRun) -> Advice | None:
    if run.negatives.passed:
        return None
    weight = run.training.config.get("loss", {}).get("focal_loss_weight")
    how = f" Set loss.focal_loss_weight: {2 * weight:g} in {CONFIG}." if weight else ""
    return Advice("Teach it to say no", run.negatives.advice + how, AGAIN)


def _still_rising(run: FinishedRun) -> Advice | None:
    curve = run.training.curve("val/cgf1")
    if len(curve) < 3 or curve.values[-1] < curve.values.max() or curve.values[-1] - curve.values[-2] < 0.01:
        return None
    epochs = run.training.config.get("train", {}).get("max_epochs")
    how = f" Set train.max_epochs: {2 * epochs} in {CONFIG}." if isinstance(epochs, int) else ""
    rise = f"cgF1 on validation was still rising at the end ({curve.values[-2]:.3f} to {curve.values[-1]:.3f})."
    return Advice("Train longer", rise + how, AGAIN)


def _no_gain(run: FinishedRun) -> Advice | None:
    gain = run.decision.gain
    if gain.low > 0:
        return None
    return Advice(
        "Do not trust the gain yet",
        f"Its interval ({gain.low:+.3f} to {gain.high:+.3f}) includes zero: chance alone could explain it. "
        "More labelled validation pictures from new sources make it narrower.",
    )


def _common_mistake(run: FinishedRun) -> Advice | None:
    errors = run.candidate.errors
    if not errors:
        return None
    kind = max(errors, key=lambda name: errors[name])
    share = errors[kind] / sum(errors.values())
    return Advice(
        f"Work on the most frequent mistake: {kind}",
        f"{errors[kind]} of {sum(errors.values())} mistakes ({share:.0%}). {CURE.get(kind, '')}",
    )


def _threshold(run: FinishedRun) -> Advice | None:
    best, used = run.candidate.best, run.candidate.cgf1.value
    if best.cgf1 - used < 0.02:
        return None
    return Advice(
        f"Set the score threshold to {best.threshold:g} where the answer matters",
        f"cgF1 is {best.cgf1:.3f} there and {used:.3f} at {run.candidate.score_threshold:g}: scores are not calibrated.",
    )


def _calibration(run: FinishedRun) -> Advice | None:
    calibration = run.candidate.calibration
    if calibration is None or calibration.ece < BAD_ECE:
        return None
    return Advice(
        "Do not read presence as a probability",
        f"It is off by {calibration.ece:.2f} on average. More negatives and a longer training bring it closer.",
    )


def _few_individuals(run: FinishedRun) -> Advice | None:
    counted = run.data.split.get("distinct_individuals")
    if not counted:
        return None
    train, val = (sum(counted[side].values()) for side in ("train", "val"))
    if train >= FEW_INDIVIDUALS:
        return None
    return Advice(
        "Collect more individuals, not more pictures of the same",
        f"Training has seen {train} distinct ones and validation asks about {val} others; "
        "each new one teaches more than another picture of an old one.",
    )


def _wide(run: FinishedRun) -> Advice | None:
    spread = run.candidate.cgf1
    if spread.high - spread.low < WIDE_INTERVAL:
        return None
    return Advice(
        "Enlarge the validation side",
        f"cgF1 is known only to lie between {spread.low:.2f} and {spread.high:.2f}: small improvements cannot be seen.",
    )


def _labels(run: FinishedRun) -> Advice | None:
    lost = sum(run.data.etl.get("excluded", {}).values())
    if not lost:
        return None
    rules = ", ".join(run.data.etl["excluded"])
    return Advice(
        "Win back excluded pictures",
        f"{lost} of {run.data.etl['pictures']} pictures were left out ({rules}); "
        "reports/etl_issues.csv names file and line of each.",
    )


def _training_said(run: FinishedRun) -> Advice | None:
    if not run.training.warnings:
        return None
    first, more = run.training.warnings[0], len(run.training.warnings) - 1
    return Advice("Look at what training warned of", first + (f" And {more} more." if more else ""))


def _ship(run: FinishedRun) -> Advice | None:
    if not run.decision.passed:
        return None
    return Advice(
        "Export it and try it on your own pictures",
        "The gate is passed; the exported graphs answer without PyTorch.",
        f'sam3-agent segment "{run.concept}" picture.jpg',
    )


def _measure_again(run: FinishedRun) -> Advice | None:
    if run.decision.passed:
        return None
    return Advice("Then run the pipeline again", "It repeats only the stages that a change reaches.", AGAIN)


RULES: tuple[Callable[[FinishedRun], Advice | None], ...] = (
    _negatives,
    _no_gain,
    _ship,
    _still_rising,
    _common_mistake,
    _few_individuals,
    _wide,
    _threshold,
    _calibration,
    _labels,
    _training_said,
    _measure_again,
)
