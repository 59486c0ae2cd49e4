"""Conversations in a database: SQLite by default, Postgres by URL. Each belongs to one key and to nobody else.

Tables: `conversations` (owner, state, when last used), `pictures` (as they are looked at, PNG; clips as they came) and `turns` (question,
reply, and what people thought of it). Pictures are written once; a turn is one short transaction.

    store = SessionStore("sqlite:///sessions.db")
    number = store.create(owner="ann")
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import (
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sam3.errors import BadInput, Unavailable
from sam3_agent.execution.media import Medium, Picture
from sam3_agent.monitoring.answered import Answered, of_turn

DEFAULT_URL = "sqlite:///sessions.db"
WEEK = 7 * 86_400.0

_tables = MetaData()
CONVERSATIONS = Table(
    "conversations",
    _tables,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False, index=True),
    Column("used", Float, nullable=False, index=True),
    Column("state", Text, nullable=False),
)
PICTURES = Table(
    "pictures",
    _tables,
    Column("conversation", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("height", Integer),  # of the original, where it was larger
    Column("width", Integer),
)
TURNS = Table(
    "turns",
    _tables,
    Column("id", String(64), primary_key=True),
    Column("conversation", String(64), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("query", Text, nullable=False),
    Column("reply", Text, nullable=False),
)
FEEDBACK = Table(
    "feedback",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("owner", String(128), nullable=False),
    Column("reply", String(64), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("content", Text, nullable=False),
)


@dataclass(frozen=True)
class Kept:
    """A conversation as it was kept."""

    state: dict[str, Any] | None
    media: list[Medium]


class SessionStore:
    """Conversations of many owners.

    Args:
        url: of the database, as SQLAlchemy writes them ("postgresql+psycopg://user@host/name").
        ttl: seconds after its last use that a conversation is forgotten.
        clock: seconds since 1970; tests put their own here.

    Raises:
        Unavailable: the database cannot be reached; so do all methods, when it is full or locked.
    """

    def __init__(self, url: str = DEFAULT_URL, *, ttl: float = WEEK, clock: Callable[[], float] = time.time) -> None:
        self.ttl, self._clock = ttl, clock
        try:
            self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _tune)
            _tables.create_all(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            shown = url.partition("@")[2] or url  # no password in a message
            raise Unavailable(f"{shown}: the database of the conversations cannot be used ({_line(error)}).") from error

    def create(self, owner: str) -> str:
        """A new conversation's id: 128 random bits."""
        number = secrets.token_urlsafe(16)
        with self._begin() as db:
            db.execute(insert(CONVERSATIONS).values(id=number, owner=owner, used=self._clock(), state=""))
        return number

    def load(self, number: str, owner: str) -> Kept:
        """A conversation of this owner.

        Raises:
            BadInput: there is none, it has expired, or it is somebody else's: nobody can tell which.
        """
        with self._begin() as db:
            self._owned(db, number, owner)
            row = db.execute(select(CONVERSATIONS.c.state).where(CONVERSATIONS.c.id == number)).one()
            rows = list(
                db.execute(select(PICTURES).where(PICTURES.c.conversation == number).order_by(PICTURES.c.number))
            )
        media = [_medium(r.content, (r.height, r.width) if r.height else None) for r in rows]
        return Kept(json.loads(row.state) if row.state else None, media)

    def stamp(self, number: str, owner: str) -> float:
        """When a conversation was last saved: whoever holds a copy of it can tell whether it is the latest.

        Raises:
            BadInput: as `load`.
        """
        with self._begin() as db:
            return self._owned(db, number, owner)

    def save(
        self, number: str, owner: str, state: dict[str, Any], new: dict[int, Medium], turn: dict[str, Any] | None = None
    ) -> float:
        """Keep a conversation after a turn; its new stamp.

        Args:
            state: from `sessions.state.saved`. new: pictures that arrived, by number.
            turn: `id`, `query` and `reply` (JSON-ready).
        """
        now = self._clock()
        with self._begin() as db:
            self._owned(db, number, owner)
            for at, medium in new.items():
                original = medium.frames[0].original or (None, None)
                db.execute(
                    insert(PICTURES).values(
                        conversation=number, number=at, content=_content(medium), height=original[0], width=original[1]
                    )
                )
            values = {"state": json.dumps(state), "used": now}
            db.execute(update(CONVERSATIONS).where(CONVERSATIONS.c.id == number).values(**values))
            if turn is not None:
                row = {"id": turn["id"], "query": turn["query"], "reply": json.dumps(turn["reply"])}
                db.execute(insert(TURNS).values(conversation=number, at=now, **row))
        return now

    def turns(self, number: str, owner: str, limit: int = 200) -> list[dict[str, Any]]:
        """What was asked and answered, oldest first. Raises like `load`."""
        with self._begin() as db:
            self._owned(db, number, owner)
            chosen = select(TURNS).where(TURNS.c.conversation == number).order_by(TURNS.c.at.desc()).limit(limit)
            rows = list(db.execute(chosen))
        return [{"id": r.id, "query": r.query, "reply": json.loads(r.reply)} for r in reversed(rows)]

    def forget(self, number: str, owner: str) -> None:
        """Delete a conversation. Raises like `load`."""
        with self._begin() as db:
            self._owned(db, number, owner)
            _delete(db, [number])

    def sweep(self) -> int:
        """Delete what has expired; how many that were."""
        with self._begin() as db:
            old = select(CONVERSATIONS.c.id).where(CONVERSATIONS.c.used < self._clock() - self.ttl).limit(1000)
            numbers = [row.id for row in db.execute(old)]
            _delete(db, numbers)
        return len(numbers)

    def note(self, owner: str, reply: str, verdict: str, content: dict[str, Any]) -> int:
        """Keep what somebody thought of a reply; its number."""
        row = {"owner": owner, "reply": reply, "verdict": verdict, "content": json.dumps(content)}
        with self._begin() as db:
            key: Any = db.execute(insert(FEEDBACK).values(at=self._clock(), **row)).inserted_primary_key
        return int(key[0])

    def owns_turn(self, owner: str, turn: str) -> bool:
        """Whether a reply was given to this owner."""
        both = TURNS.c.conversation == CONVERSATIONS.c.id
        asked = select(func.count()).select_from(TURNS.join(CONVERSATIONS, both))
        with self._begin() as db:
            return bool(db.execute(asked.where(TURNS.c.id == turn, CONVERSATIONS.c.owner == owner)).scalar())

    def answered(self, owner: str, turn: str) -> Answered | None:
        """What a stored turn of this owner was about; None when it is not kept."""
        both = TURNS.c.conversation == CONVERSATIONS.c.id
        chosen = select(TURNS.c.query, TURNS.c.reply).select_from(TURNS.join(CONVERSATIONS, both))
        with self._begin() as db:
            row = db.execute(chosen.where(TURNS.c.id == turn, CONVERSATIONS.c.owner == owner)).first()
        return None if row is None else of_turn(row.query, json.loads(row.reply))

    def feedback(self, limit: int = 1000) -> list[dict[str, Any]]:
        """What people thought, newest first."""
        with self._begin() as db:
            rows = list(db.execute(select(FEEDBACK).order_by(FEEDBACK.c.id.desc()).limit(limit)))
        return [
            {"id": r.id, "owner": r.owner, "reply": r.reply, "at": r.at, "verdict": r.verdict, **json.loads(r.content)}
            for r in rows
        ]

    def ready(self) -> bool:
        """Whether the database answers."""
        try:
            with self._engine.begin() as db:
                db.execute(select(1))
        except SQLAlchemyError:
            return False
        return True

    def close(self) -> None:
        """End the connections."""
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[Any]:
        """One transaction; when the database is full, locked or away, nothing of it is kept."""
        try:
            with self._engine.begin() as db:
                yield db
        except SQLAlchemyError as error:
            # the driver's words only: SQLAlchemy repeats what was to be written, which may be somebody's picture
            reason = _line(getattr(error, "orig", None) or error)
            raise Unavailable(
                f"the database of the conversations cannot be used ({reason}). Try again later.", field="session"
            ) from error

    def _owned(self, db: Any, number: str, owner: str) -> float:
        chosen = select(CONVERSATIONS.c.used).where(CONVERSATIONS.c.id == number, CONVERSATIONS.c.owner == owner)
        used = db.execute(chosen).scalar()
        if used is None or used < self._clock() - self.ttl:
            raise BadInput("session: no such conversation, or it has expired. Start a new one.", field="session")
        return float(used)


def _delete(db: Any, numbers: list[str]) -> None:
    for table, column in ((TURNS, TURNS.c.conversation), (PICTURES, PICTURES.c.conversation)):
        db.execute(delete(table).where(column.in_(numbers)))
    db.execute(delete(CONVERSATIONS).where(CONVERSATIONS.c.id.in_(numbers)))


def _tune(connection: Any, _record: Any) -> None:
    """SQLite with readers beside the writer, and patience with a busy file."""
    cursor = connection.cursor()
    for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA busy_timeout=10000"):
        cursor.execute(line)
    cursor.close()


def _content(medium: Medium) -> bytes:
    """The pixels without loss: the same picture must have the same hash when it comes back. Of a clip its file."""
    import cv2

    if medium.is_clip:
        if not medium.file:
            raise BadInput("the clip cannot be kept: its file is not at hand. Send it again.", field="media")
        return medium.file

    done, data = cv2.imencode(".png", medium.pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise BadInput("the picture cannot be kept.", field="media")
    return bytes(data)


def _medium(content: bytes, original: tuple[int, int] | None) -> Medium:
    import cv2

    from sam3_agent.video.safety import VideoLimits, is_container

    if is_container(content[:16]):
        from sam3_agent.video.clip import clip_of

        return clip_of(content, VideoLimits()).lean()  # it was within the limits when it came

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BadInput("session: a picture of it cannot be read any more. Start a new one.", field="session")
    return Medium((Picture.of(np.ascontiguousarray(pixels[..., ::-1], np.uint8), original),), is_clip=False)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:160]
