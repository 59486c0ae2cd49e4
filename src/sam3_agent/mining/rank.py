"""Which of the pictures that were looked at go to a person: the most expected gain, no two alike, within the budget.

Candidates stream by and only the best few thousand are held, whatever the size of the inbox. Among them near copies
are dropped (difference hash), the rest is clustered by what the image encoder sees, and pictures are taken greedily:
each one that is taken makes the next of its cluster worth less. Half of a batch are pictures in which the model sees the
concept and half others, as far as there are: doubts about masks exist only where it sees something, and a batch of
positives alone teaches that it is everywhere.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_agent.etl.likeness import near_pairs
from sam3_agent.mining.flag import box_quality, quality, reasons
from sam3_agent.mining.settings import MineSettings

RANK = itemgetter(0, 1)
HELD = 20  # candidates in memory for each picture of the budget
AGAIN = 0.6  # what a picture is worth, of its value, for each that was taken from its cluster before
WEIGHT = {"presence": 0.7, "mask": 0.5, "mirror": 0.5, "box": 0.3, "versions": 0.8, "thumbs-down": 0.95}


def value(row: dict[str, Any]) -> float:
    """Expected value of a label: the chance that the model's answer is wrong, as a noisy-or of the signals.

    1 - prod(1 - weight * doubt), each doubt in 0..1; `WEIGHT` says how often a full doubt means a mistake.
    """
    doubts = {
        "presence": 1 - 2 * abs(row["presence"] - 0.5),
        "mask": 1 - quality(row),
        "mirror": 1 - row["mirror_agreement"],
        "box": 1 - box_quality(row),
        "versions": row["versions"] or 0.0,
        "thumbs-down": float(bool(row.get("feedback"))),
    }
    right = 1.0
    for name, doubt in doubts.items():
        right *= 1 - WEIGHT[name] * min(1.0, max(0.0, doubt))
    return 1 - right


def candidates(rows: Iterable[dict[str, Any]], settings: MineSettings) -> tuple[list[dict[str, Any]], int]:
    """The rows worth considering, best first, and how many there were.

    Each gets `value`, `reasons` and `rank_key`. With "random" every row counts and the order is that of a hash of
    seed and content: the same for everybody, and independent of the model.
    """
    sides = (Best(max(HELD * settings.budget // 2, 100)), Best(max(HELD * settings.budget // 2, 100)))
    seen = 0
    for row in rows:
        seen += 1
        why, worth = reasons(row, settings), value(row)
        if settings.strategy == "value" and not why and not settings.fill:
            continue
        key = _drawn(row["sha256"], settings.seed) if settings.strategy == "random" else worth + bool(why)
        sides[shown(row)].offer(key, {**row, "value": round(worth, 4), "reasons": why})
    return [row for _, _, row in sorted([*sides[0].heap, *sides[1].heap], key=RANK, reverse=True)], seen


class Best:
    """The `most` rows with the highest key, equal pictures once."""

    def __init__(self, most: int) -> None:
        self.most, self.heap = most, list[tuple[float, str, dict[str, Any]]]()
        self._held = set[str]()

    def offer(self, key: float, row: dict[str, Any]) -> None:
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


def choose(rows: Sequence[dict[str, Any]], known: Iterable[int], settings: MineSettings) -> list[dict[str, Any]]:
    """At most `budget` of the candidates, no two near copies of each other or of a picture handed out before.

    Args:
        rows: best first. known: difference hashes of what was handed out before.
    """
    distinct = without_copies(rows, list(known))
    if settings.strategy == "random" or len(distinct) <= settings.budget:
        return list(distinct[: settings.budget])
    sides = [[row for row in distinct if shown(row) is side] for side in (False, True)]
    share = min(len(sides[False]), max(settings.budget // 2, settings.budget - len(sides[True])))
    return _best(sides[True], settings.budget - share, settings.seed) + _best(sides[False], share, settings.seed)


def _best(rows: Sequence[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Flagged rows, spread over clusters, then others (candidates only with `fill`)."""
    flagged = [row for row in rows if row["reasons"]]
    chosen = _spread(flagged, min(count, len(flagged)), seed)
    rest = [row for row in rows if not row["reasons"]]
    return chosen + _spread(rest, min(count - len(chosen), len(rest)), seed)


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
    """Greedy choice of `count` rows by value, a cluster's next one worth less each time."""
    if len(rows) <= count:
        return list(rows)
    groups = clusters(np.array([row["vector"] for row in rows], np.float32), min(count, max(2, len(rows) // 4)), seed)
    queues: dict[int, list[int]] = {}
    for at, group in enumerate(groups.tolist()):
        queues.setdefault(group, []).append(at)
    taken: list[int] = []
    gone = dict.fromkeys(queues, 0)
    while len(taken) < count:
        best = max(
            (group for group in queues if gone[group] < len(queues[group])),
            key=lambda group: (rows[queues[group][gone[group]]]["value"] * AGAIN ** gone[group], -group),
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
