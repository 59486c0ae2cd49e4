"""The newest pictures that people asked about, from the service's database; clips are left out."""

from __future__ import annotations

from functools import partial

from sam3.errors import Unavailable
from sam3.types import UInt8Array
from sam3_agent.monitoring.sample import Load


def newest_pictures(url: str, most: int) -> list[tuple[str, Load]]:
    """Name and loader of at most `most` pictures of the conversations used last.

    Raises:
        Unavailable: the database cannot be read.
    """
    from sqlalchemy import create_engine, inspect, select
    from sqlalchemy.exc import SQLAlchemyError

    from sam3_agent.sessions.store import CONVERSATIONS, PICTURES

    asked = (
        select(PICTURES.c.conversation, PICTURES.c.number, PICTURES.c.content)
        .join(CONVERSATIONS, CONVERSATIONS.c.id == PICTURES.c.conversation)
        .order_by(CONVERSATIONS.c.used.desc(), PICTURES.c.number)
        .limit(most)
    )
    try:
        engine = create_engine(url)
        with engine.connect() as db:
            rows = list(db.execute(asked)) if inspect(engine).has_table(PICTURES.name) else []
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        shown = url.partition("@")[2] or url  # no password in a message
        raise Unavailable(f"{shown}: pictures cannot be read ({str(error).splitlines()[0][:160]}).") from error
    stills = [row for row in rows if bytes(row.content[:4]) == b"\x89PNG"]  # of a clip its file is kept
    return [(f"{row.conversation}/{row.number}", partial(_decoded, bytes(row.content))) for row in stills]


def _decoded(data: bytes) -> UInt8Array:
    from sam3.decoding import decode

    return decode(data, "a picture of a conversation")
