"""`sam3-agent ab-report`: which of two model versions do people like better, and do the ratings suffice to say so?

Versions are assigned by picture (`deploy --canary 0.5`), so the picture is the unit: ratings of one picture are
averaged before anything is tested. The difference of the shares of good ratings has a bootstrap interval, its p-value
is a permutation test (both scipy's). How many units are needed follows from the smallest difference that matters, the
error rate and the power (normal approximation: Fleiss, "Statistical Methods for Rates and Proportions", chapter 4);
before that many are there nothing is called better, however the figures look, since who looks often sees anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from sam3.errors import BadInput
from sam3.files import write_json
from sam3_agent.loop_settings import FILE, Monitoring, load_loop
from sam3_agent.monitoring.ratings import Rating, read_ratings
from sam3_agent.sessions.store import DEFAULT_URL

Outcome = Literal["a", "b", "no difference", "not enough data"]


@dataclass(frozen=True)
class Arm:
    """One version: its rated units, ratings, and the mean share of good ones over units."""

    model: str
    units: int
    ratings: int
    good: float


@dataclass(frozen=True)
class Comparison:
    """Two versions under people's eyes.

    Attributes:
        difference: good share of b minus that of a; low, high: its interval.
        needed: units of each arm that a difference of `min_difference` asks for.
        mixed: units that were rated under both versions; left out.
        balance: p-value of the split of units against the share that was assigned; None without one.
    """

    outcome: Outcome
    a: Arm
    b: Arm
    difference: float
    low: float
    high: float
    chance: float
    needed: int
    mixed: int
    balance: float | None
    text: str


def compare_versions(
    ratings: Sequence[Rating], a: str, b: str, settings: Monitoring, share: float | None = None
) -> Comparison:
    """Hold two versions against each other.

    Args:
        a, b: what the model of a rating contains, e.g. "version 3".
        share: of the units that were assigned to b, if known.

    Raises:
        BadInput: a and b do not tell ratings apart.
    """
    sides = _by_unit(ratings, a, b)
    mixed = sides[0].keys() & sides[1].keys()
    x, y = (np.array([np.mean(found) for unit, found in side.items() if unit not in mixed]) for side in sides)
    counts = [sum(len(found) for unit, found in side.items() if unit not in mixed) for side in sides]
    arms = [
        Arm(name, len(units), count, float(units.mean()) if len(units) else 0.0)
        for name, units, count in zip((a, b), (x, y), counts, strict=True)
    ]
    needed = _needed(x, y, settings)
    difference, low, high, chance = _difference(x, y, settings.alpha)
    balance = _balance(len(x), len(y), share)
    outcome = _outcome(min(len(x), len(y)) >= needed, low, high, chance, settings)
    text = _words(outcome, arms[0], arms[1], difference, low, high, needed, balance, settings)
    return Comparison(outcome, arms[0], arms[1], difference, low, high, chance, needed, len(mixed), balance, text)


def _by_unit(ratings: Sequence[Rating], a: str, b: str) -> tuple[dict[str, list[bool]], dict[str, list[bool]]]:
    first: dict[str, list[bool]] = defaultdict(list)
    second: dict[str, list[bool]] = defaultdict(list)
    for rating in ratings:
        in_a, in_b = _says(rating.model, a), _says(rating.model, b)
        if in_a and in_b:
            if " and " in rating.model:  # pictures of both sides in one answer: nobody can tell whose merit it was
                continue
            raise BadInput(
                f"{rating.model!r} is both {a!r} and {b!r}. Name them in full, as in 'version 12'.", field="b"
            )
        if in_a or in_b:
            (first if in_a else second)[rating.unit].append(rating.good)
    return first, second


def _says(model: str, name: str) -> bool:
    """Whether a model's words contain a name, whole words only: "version 1" is not in "version 12"."""
    return f" {name} ".casefold() in f" {model} ".casefold()


def _difference(x: Any, y: Any, alpha: float) -> tuple[float, float, float, float]:
    from scipy.stats import bootstrap, permutation_test

    if min(len(x), len(y)) < 2:
        return (float(y.mean() - x.mean()) if len(x) and len(y) else 0.0), -1.0, 1.0, 1.0

    def gap(one: Any, two: Any, axis: int = -1) -> Any:
        return np.mean(two, axis=axis) - np.mean(one, axis=axis)

    seed, value = np.random.default_rng(0), float(gap(x, y))
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        low = high = value
    else:
        drawn = bootstrap((x, y), gap, confidence_level=1 - alpha, method="percentile", n_resamples=4000,
                          vectorized=True, batch=200, rng=seed)  # fmt: skip
        low, high = map(float, drawn.confidence_interval)
    tested = permutation_test((x, y), gap, n_resamples=4000, vectorized=True, batch=200, rng=seed)
    return value, low, high, float(tested.pvalue)


def _needed(x: Any, y: Any, settings: Monitoring) -> int:
    from scipy.stats import norm

    both = np.concatenate([x, y])
    share = (both.sum() + 1) / (len(both) + 2)  # never 0 or 1
    spread = max(float(both.var()) if len(both) > 1 else 0.25, 0.25 * share * (1 - share))
    reach = norm.isf(settings.alpha / 2) + norm.ppf(settings.power)
    return max(5, ceil(2 * spread * (reach / settings.min_difference) ** 2))


def _balance(a: int, b: int, share: float | None) -> float | None:
    from scipy.stats import binomtest

    return None if share is None or not a + b else float(binomtest(b, a + b, share).pvalue)


def _outcome(enough: bool, low: float, high: float, chance: float, settings: Monitoring) -> Outcome:
    if not enough:
        return "not enough data"
    if chance < settings.alpha and (low > 0 or high < 0):
        return "b" if low > 0 else "a"
    return "no difference"


def _words(
    outcome: Outcome, a: Arm, b: Arm, difference: float, low: float, high: float, needed: int,
    balance: float | None, settings: Monitoring,
) -> str:  # fmt: skip
    seen = (
        f"{a.model}: {a.good:.1%} good over {a.units} pictures; {b.model}: {b.good:.1%} over {b.units}; "
        f"difference {difference:+.1%} ({low:+.1%} to {high:+.1%})."
    )
    if outcome == "not enough data":
        verdict = (
            f"The data do not suffice: {needed} rated pictures of each are needed to tell a difference of "
            f"{settings.min_difference:.0%}; {max(0, needed - a.units)} and {max(0, needed - b.units)} are missing."
        )
    elif outcome == "no difference":
        verdict = f"The data suffice ({needed} each were needed), and neither is better beyond chance."
    else:
        verdict = f"{(b if outcome == 'b' else a).model} is better; the data suffice ({needed} each were needed)."
    skew = (
        ""
        if balance is None or balance >= 0.001
        else (" The split of rated pictures is not the one that was assigned: do not trust this before you know why.")
    )
    return f"{seen} {verdict}{skew}"


def ab_report(
    a: Annotated[str, typer.Option(help="A version as replies name it: 'version 3'.")],
    b: Annotated[str, typer.Option(help="The other one.")],
    sessions: Annotated[str, typer.Option(help="Database of the service.")] = DEFAULT_URL,
    share: Annotated[
        float | None, typer.Option(help="Share of the pictures assigned to b, to check the split.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Only ratings of the last days.")] = None,
    rules: Annotated[Path, typer.Option(help="What is to be found: the section monitoring.")] = FILE,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("reports/ab.json"),
) -> None:
    """Which of two versions people like better, and whether the ratings suffice to say so."""
    import time

    since = time.time() - days * 86_400 if days else 0.0
    found = compare_versions(read_ratings(sessions, since), a, b, load_loop(rules).monitoring, share)
    write_json(out, asdict(found))
    print(found.text)
