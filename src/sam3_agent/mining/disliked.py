"""Pictures about which somebody gave the agent a thumb down: taken from the database of conversations.

    disliked_pictures("sqlite:///sessions.db", Path("outputs/mine/disliked"))   # files, and who said what

Pictures are written as they were looked at, without loss, named by their content: the same one is one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam3.errors import Unavailable
from sam3.files import atomic_write

BAD = ("down", "wrong")


def disliked_pictures(url: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the pictures of every disliked reply that is still kept.

    Returns:
        SHA-256 of a file `<sha256>.png` in `folder` -> what was said, oldest first: reply, verdict, note, query, model.

    Raises:
        Unavailable: the database cannot be read.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for data, said in _disliked(url):
        digest = hashlib.sha256(data).hexdigest()
        path = folder / f"{digest}.png"
        if not path.is_file():
            with atomic_write(path, "wb") as stream:
                stream.write(data)
        found.setdefault(digest, []).append(said)
    return found


def _disliked(url: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Bytes of each picture that a disliked reply is about, and what was said."""
    from sqlalchemy import create_engine, select
    from sqlalchemy.exc import SQLAlchemyError

    from sam3_agent.sessions.store import FEEDBACK, PICTURES, TURNS

    asked = (
        select(FEEDBACK.c.verdict, FEEDBACK.c.content, TURNS.c.id, TURNS.c.conversation, TURNS.c.query, TURNS.c.reply)
        .join(TURNS, TURNS.c.id == FEEDBACK.c.reply)
        .where(FEEDBACK.c.verdict.in_(BAD))
        .order_by(FEEDBACK.c.id)
    )
    try:
        engine = create_engine(url)
        with engine.connect() as db:
            for row in db.execute(asked).all():
                content, reply = json.loads(row.content), json.loads(row.reply)
                said = {
                    "reply": row.id,
                    "verdict": row.verdict,
                    "note": content.get("note", ""),
                    "query": row.query,
                    "model": (reply.get("explain") or {}).get("model"),
                }
                about = select(PICTURES.c.content).where(
                    PICTURES.c.conversation == row.conversation, PICTURES.c.number.in_(_numbers(content, reply))
                )
                for (data,) in db.execute(about):
                    if bytes(data[:4]) == b"\x89PNG":  # of a clip its file is kept; a clip is no picture to correct
                        yield bytes(data), {key: value for key, value in said.items() if value}
        engine.dispose()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        shown = url.partition("@")[2] or url  # no password in a message
        raise Unavailable(f"{shown}: feedback cannot be read ({str(error).splitlines()[0][:160]}).") from error


def _numbers(content: dict[str, Any], reply: dict[str, Any]) -> list[int]:
    """The pictures that somebody means: the one they name, else all that the reply looked at."""
    if content.get("media") is not None:
        return [int(content["media"])]
    return [int(result["media"]) for result in reply.get("results", ())] or [0]
