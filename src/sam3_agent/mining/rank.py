"""Which of the pictures that were looked at go to a person: the most expected gain, no two alike, within the budget.

Candidates stream by and only the best few thousand are held, whatever the size of the inbox. Among them near copies
are dropped (difference hash), the rest is clustered by what the image encoder sees, and pictures are taken greedily:
each one that is taken makes the next of its cluster worth less. Most of a batch are pictures in which the model sees the
concept, rightly or not: there is something to correct in them. The others, in which something may be missed, have a part
that grows with how common the concept is: a batch of positives alone would teach that it is everywhere, but where it is
rare, what the model sees is often wrong, and a picture without it next to never holds a surprise.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from math import log1p
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam3_agent.etl.likeness import near_pairs
from sam3_agent.mining.flag import reasons, stability
from sam3_agent.mining.settings import MineSettings

RANK = itemgetter(0, 1)
Key = tuple[int, float]
COMPLAINT, FLAGGED, OTHER = 2, 1, 0  # tiers: each is exhausted before the next one is touched
HELD = 20  # candidates in memory for each picture of the budget
AGAIN = 0.6  # what a picture is worth, of its value, for each that was taken from its cluster before
WEIGHT = {"presence": 0.7, "mask": 0.5, "mirror": 0.5, "box": 0.3, "versions": 0.8, "thumbs-down": 0.95}
SOUND = 0.3  # how often an instance that nothing speaks against is wrong all the same


def value(row: dict[str, Any]) -> float:
    """Expected value of a label: how many mistakes of the model it is expected to correct, 0 or more.

    The chance that the answer about the whole picture is wrong, and for each instance that the model sees the chance that
    this one is: a picture of five doubtful birds teaches more than a picture of one.
    """
    picture = {
        "presence": 1 - 2 * abs(row["presence"] - 0.5),
        "mirror": 1 - row["mirror_agreement"],
        "versions": row["versions"] or 0.0,
        "thumbs-down": float(bool(row.get("feedback"))),
    }
    each = [{"mask": 1 - stability(one), "box": 1 - one["box_iou"]} for one in row["instances"]]
    return wrong(picture) + sum(wrong(doubts, SOUND) for doubts in each)


def wrong(doubts: dict[str, float], anyway: float = 0.0) -> float:
    """The chance of a mistake, as a noisy-or: 1 - (1 - anyway) prod(1 - weight * doubt), each doubt in 0..1.

    `WEIGHT` says how often a full doubt means a mistake.
    """
    right = 1 - anyway
    for name, doubt in doubts.items():
        right *= 1 - WEIGHT[name] * min(1.0, max(0.0, doubt))
    return 1 - right


class Candidates(NamedTuple):
    """The rows worth considering, best first; how many there were in all, and in how many the model sees the concept."""

    rows: list[dict[str, Any]]
    looked_at: int
    seen_in: int


def candidates(rows: Iterable[dict[str, Any]], settings: MineSettings) -> Candidates:
    """The rows worth considering: the best of both sides, with the concept and without, as the model sees it.

    Each gets `value` and `reasons`. With "random" every row counts and the order is that of a hash of seed and content:
    the same for everybody, and independent of the model.
    """
    sides = (Best(max(HELD * settings.budget // 2, 100)), Best(max(HELD * settings.budget // 2, 100)))
    looked_at = seen_in = 0
    for row in rows:
        looked_at, seen_in = looked_at + 1, seen_in + shown(row)
        why, worth = reasons(row, settings), value(row)
        if settings.strategy == "value" and not why and not settings.fill:
            continue
        row = {**row, "value": round(worth, 4), "reasons": why}
        drawn = settings.strategy == "random"
        sides[shown(row)].offer((0, _drawn(row["sha256"], settings.seed)) if drawn else (tier(row), worth), row)
    best = [row for _, _, row in sorted([*sides[0].heap, *sides[1].heap], key=RANK, reverse=True)]
    return Candidates(best, looked_at, seen_in)


class Best:
    """The `most` rows with the highest key, equal pictures once."""

    def __init__(self, most: int) -> None:
        self.most, self.heap = most, list[tuple[Key, str, dict[str, Any]]]()
        self._held = set[str]()

    def offer(self, key: Key, row: dict[str, Any]) -> None:
        """Keep the row if it is among the best so far."""
        item = (key, row["sha256"], row)
        if row["sha256"] in self._held:
            return
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, item)
        elif item[:2] > self.heap[0][:2]:
            self._held.discard(heapq.heappushpop(self.heap, item)[1])
        else:
            return
        self._held.add(row["sha256"])


def shown(row: dict[str, Any]) -> bool:
    """Whether the model believes that the concept is in the picture."""
    return bool(row["presence"] >= 0.5)


def tier(row: dict[str, Any]) -> int:
    """What somebody complained about, what is flagged, what only fills a batch."""
    return COMPLAINT if row.get("feedback") else FLAGGED if row["reasons"] else OTHER


def choose(
    rows: Sequence[dict[str, Any]], known: Iterable[int], settings: MineSettings, seen_share: float = 0.5
) -> list[dict[str, Any]]:
    """At most `budget` of the candidates, no two near copies of each other or of a picture handed out before.

    Args:
        rows: best first. known: difference hashes of what was handed out before. seen_share: part of the pictures
            left in which the model sees the concept; half of that is the part of a batch in which it does not.
    """
    distinct = without_copies(rows, list(known))
    if settings.strategy == "random" or len(distinct) <= settings.budget:
        return list(distinct[: settings.budget])
    chosen: list[dict[str, Any]] = []
    for level in (COMPLAINT, FLAGGED, OTHER):
        rest = [row for row in distinct if tier(row) == level]
        chosen += _from_both_sides(rest, min(len(rest), settings.budget - len(chosen)), seen_share, settings.seed)
    return chosen


def _from_both_sides(rows: Sequence[dict[str, Any]], count: int, seen_share: float, seed: int) -> list[dict[str, Any]]:
    """`count` of the rows, with the concept and without, each side spread over its clusters."""
    without, seen = ([row for row in rows if shown(row) is side] for side in (False, True))
    share = min(len(without), max(round(count * seen_share / 2), count - len(seen)))
    return _spread(seen, count - share, seed) + _spread(without, share, seed)


def without_copies(rows: Sequence[dict[str, Any]], known: Sequence[int]) -> list[dict[str, Any]]:
    """Rows that are near copies neither of an earlier row nor of a known hash; flat pictures are never copies."""
    hashes = [*known, *(row["dhash"] for row in rows if row["dhash"] is not None)]
    owners = [*([-1] * len(known)), *(at for at, row in enumerate(rows) if row["dhash"] is not None)]
    near: dict[int, set[int]] = {}
    for first, others in near_pairs(np.array(hashes, np.uint64)):
        for second in others:
            near.setdefault(max(owners[first], owners[second]), set()).add(min(owners[first], owners[second]))
    dropped: set[int] = set()
    for at in range(len(rows)):
        if any(other == -1 or other not in dropped for other in near.get(at, ())):
            dropped.add(at)
    return [row for at, row in enumerate(rows) if at not in dropped]


def _spread(rows: Sequence[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Greedy choice of `count` rows by value, a cluster's next one worth less each time.

    By its logarithm: the thirtieth bird of a flock teaches less than the first, and flocks do not fill a batch.
    """
    if len(rows) <= count or not count:
        return list(rows[:count])
    groups = clusters(np.array([row["vector"] for row in rows], np.float32), min(count, max(2, len(rows) // 4)), seed)
    queues: dict[int, list[int]] = {}
    for at, group in enumerate(groups.tolist()):
        queues.setdefault(group, []).append(at)
    taken: list[int] = []
    gone = dict.fromkeys(queues, 0)
    while len(taken) < count:
        best = max(
            (group for group in queues if gone[group] < len(queues[group])),
            key=lambda group: (log1p(rows[queues[group][gone[group]]]["value"]) * AGAIN ** gone[group], -group),
        )
        taken.append(queues[best][gone[best]])
        gone[best] += 1
    return [{**rows[at], "cluster": int(groups[at])} for at in taken]


def clusters(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Cluster number of each vector, (N,)."""
    from sklearn.cluster import KMeans

    count = min(count, len(np.unique(vectors, axis=0)))
    if count < 2:
        return np.zeros(len(vectors), np.int64)
    return np.asarray(KMeans(count, n_init=2, random_state=seed).fit_predict(vectors), np.int64)


def _drawn(sha256: str, seed: int) -> float:
    """A number in [0, 1) that depends on content and seed only."""
    return int(hashlib.sha256(f"{seed} {sha256}".encode()).hexdigest()[:13], 16) / 16**13
