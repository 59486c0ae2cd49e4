"""What an answer was about, kept until somebody rates it: query, plan, picture hashes, model version, what was seen.

The service keeps the newest answers in memory; a rating (`POST /v1/feedback`) takes its answer along into the database.
Queries of people who rate nothing are not stored by this.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam3_agent.reply import Reply

REMEMBERED = 20_000


@dataclass(frozen=True)
class Answered:
    """An answer, as ratings remember it.

    Attributes:
        plan: the typed plan; None where nothing was understood.
        model: engine, version and weights that answered.
        pictures: content hashes (hex) of the pictures that were looked at.
        presence, counts: of each result.
    """

    query: str
    plan: dict[str, Any] | None
    model: str
    pictures: tuple[str, ...]
    presence: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, query: str, reply: Reply) -> Answered:
        """The answer that a reply is."""
        numbers = [result.media for result in reply.results] or list(range(len(reply.media)))
        looked = [reply.media[at].frames[0].key.hex() for at in numbers if at < len(reply.media)]
        return cls(
            query=query,
            plan=reply.plan.model_dump(mode="json") if reply.plan else None,
            model=reply.making.model,
            pictures=tuple(dict.fromkeys(looked)),
            presence=tuple(round(float(result.seen.presence), 4) for result in reply.results),
            counts=tuple(len(result.seen) for result in reply.results),
        )

    def to_json(self) -> dict[str, Any]:
        """What is stored beside the rating."""
        return asdict(self)


class Answers:
    """The newest answers by the id of the reply. Any thread may call."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Answered] = OrderedDict()

    def keep(self, number: str, query: str, reply: Reply) -> None:
        """Remember a reply."""
        answered = Answered.of(query, reply)
        with self._lock:
            self._kept[number] = answered
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def about(self, number: str) -> Answered | None:
        """What a reply was about; None when it is no longer remembered."""
        with self._lock:
            return self._kept.get(number)


def of_turn(query: str, reply: dict[str, Any]) -> Answered:
    """The answer behind a stored turn: what is left of it after a restart (no picture hashes)."""
    results = reply.get("results") or []
    return Answered(
        query=query,
        plan=reply.get("plan"),
        model=str((reply.get("explain") or {}).get("model") or ""),
        pictures=(),
        presence=tuple(float(row.get("presence", 0.0)) for row in results),
        counts=tuple(int(row.get("count", 0)) for row in results),
    )
