"""Ratings as they were stored, read back: who thought what of which version's answer to which question.

python -c "from sam3_agent.monitoring.ratings import read_ratings; print(read_ratings('sqlite:///sessions.db'))"
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from sam3.errors import Unavailable

GOOD = ("up",)


@dataclass(frozen=True)
class Rating:
    """One rating.

    Attributes:
        at: seconds since 1970. good: a thumb up.
        unit: what versions are assigned by: the first picture's hash, or the reply where that is not known.
    """

    id: int
    at: float
    owner: str
    reply: str
    good: bool
    query: str
    plan: dict[str, Any] | None
    model: str
    pictures: tuple[str, ...]

    @property
    def unit(self) -> str:
        """The unit of assignment."""
        return self.pictures[0] if self.pictures else self.reply


def read_ratings(url: str, since: float = 0.0) -> list[Rating]:
    """All ratings after a moment, oldest first; of several by one person about one reply the last counts.

    Raises:
        Unavailable: the database cannot be read.
    """
    from sqlalchemy import create_engine, inspect, select
    from sqlalchemy.exc import SQLAlchemyError

    from sam3_agent.sessions.store import FEEDBACK

    try:
        engine = create_engine(url)
        with engine.connect() as db:
            if not inspect(engine).has_table(FEEDBACK.name):
                return []
            rows = list(db.execute(select(FEEDBACK).where(FEEDBACK.c.at >= since).order_by(FEEDBACK.c.id)))
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        shown = url.partition("@")[2] or url  # no password in a message
        raise Unavailable(f"{shown}: ratings cannot be read ({str(error).splitlines()[0][:160]}).") from error
    last = {(row.owner, row.reply): row for row in rows}
    return [_rating(row) for row in sorted(last.values(), key=lambda row: row.id)]


def thumbs_down(url: str, hours: float, now: float | None = None) -> int:
    """How many replies were disliked in the last `hours`."""
    moment = time.time() if now is None else now
    return sum(not rating.good for rating in read_ratings(url, moment - hours * 3600))


def _rating(row: Any) -> Rating:
    content = json.loads(row.content)
    answered = content.get("answered") or {}
    return Rating(
        id=row.id,
        at=row.at,
        owner=row.owner,
        reply=row.reply,
        good=row.verdict in GOOD,
        query=answered.get("query", ""),
        plan=answered.get("plan"),
        model=answered.get("model", ""),
        pictures=tuple(answered.get("pictures", ())),
    )
