"""Which pairs to show: the ones that tell most about what changed, and the worst that are left.

Chosen by rule, never by hand, and always the same for the same run. The rule shows set-backs too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sam3_agent.finished_run import FinishedRun, Measured, PairRow

MEANING = {
    "missed": "nothing was found on the object",
    "false alarm": "found where there is nothing",
    "bleeding": "the mask spills out of its object",
    "fragmentation": "only parts of the object, or in pieces",
    "ghosting": "a second find on the same object",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One pair before and after. `story` is two or three words on what it shows."""

    before: PairRow
    after: PairRow
    story: str


def telling_changes(run: FinishedRun, limit: int = 6) -> list[Change]:
    """Pairs that show what fine-tuning changed: gains first, a false alarm that went, the worst set-back.

    Returns:
        At most `limit`, no pair twice.
    """
    both = [(run.baseline.pairs[i], after) for i, after in run.candidate.pairs.items() if i in run.baseline.pairs]
    positive = sorted((pair for pair in both if pair[1].annotations), key=lambda p: (p[0].f1 - p[1].f1, p[1].image_id))
    quiet = [p for p in both if p[0].kind == "FP" and p[1].kind == "TN"]
    loud = [p for p in both if p[0].kind == "TN" and p[1].kind == "FP"]
    worse = [p for p in reversed(positive) if p[1].f1 < p[0].f1 - 0.05]
    others = [Change(*p, _story(*p)) for p in (*quiet[:1], *loud[:1], *worse[:1])]
    gains = [Change(*p, _story(*p)) for p in positive if p[1].f1 > p[0].f1 + 0.02]
    return [*gains[: limit - len(others)], *others][:limit]


def _story(before: PairRow, after: PairRow) -> str:
    if not after.annotations:
        return "false alarm gone" if before.detections and not after.detections else "new false alarm"
    if after.f1 < before.f1:
        return "a set-back"
    return "now found" if not before.detections else "better outline"


def worst_pairs(measured: Measured, limit: int = 8) -> list[PairRow]:
    """The pairs with the gravest mistakes, every kind in turn so that no kind hides behind a frequent one.

    Returns:
        At most `limit`; within a kind the lowest F1 first. Empty when there are no mistakes.
    """
    by_kind: dict[str, list[PairRow]] = {}
    for row in sorted(measured.pairs.values(), key=_badness):
        if row.error != "ok":
            by_kind.setdefault(row.error, []).append(row)
    queues = sorted(by_kind.values(), key=len, reverse=True)
    picked = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return picked[:limit]


def there(row: PairRow) -> str:
    """ "2 there" or "nothing there"."""
    return f"{row.annotations} there" if row.annotations else "nothing there"


def found(row: PairRow) -> str:
    """ "2 found, presence 0.93"."""
    parts = [f"{row.detections} found" if row.detections else "nothing found"]
    return ", ".join([*parts, f"presence {row.presence:.2f}"] if row.presence is not None else parts)


def describe(row: PairRow) -> str:
    """One line on a pair: how much was there, how much was found, how well."""
    parts = [there(row), found(row)]
    return ", ".join([*parts, f"F1 {row.f1:.2f}"] if row.annotations else parts)


def mistakes_in_words(errors: dict[str, int]) -> str:
    """ "2 missed, 1 bleeding", the most frequent first; "no mistakes"."""
    ranked: Iterable[tuple[str, int]] = sorted(errors.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {kind}" for kind, count in ranked) or "no mistakes"


def _badness(row: PairRow) -> tuple[float, int, int]:
    return (row.f1, -sum(row.errors.values()), row.image_id)
