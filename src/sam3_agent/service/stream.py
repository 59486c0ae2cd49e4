"""`WS /v1/stream`: ask and hear what happens as it happens.

The client sends `{"query", "images": [...], "session", "threshold", "masks"}` (and first `{"key"}` where keys are needed
and its headers hold none); it hears `found` (plan, counts, boxes), `said`, `masks` for each picture, `done`, or `error`; of clips (`videos`) a `frame` as each is done.
A connection that asks nothing for a while is closed; so is one that does not say who it is.
Without `session` the connection is one conversation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sam3.errors import Sam3AgentError
from sam3_agent.service.errors import Refused, body_of
from sam3_agent.service.events import events
from sam3_agent.service.forms import LONGEST_QUERY, Id, Masks, Threshold, sound
from sam3_agent.service.live import Asked, Turn
from sam3_agent.service.settings import ServiceSettings
from sam3_agent.service.state import Service

router = APIRouter()
KEY_SECONDS = 10.0  # that a client has to say who it is


class Question(BaseModel):
    """One message of the client."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(max_length=LONGEST_QUERY)]
    images: list[str] = []
    videos: list[str] = []
    session: Id | None = None
    threshold: Threshold = None
    double_check: bool | None = None
    masks: Masks = "rle"


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """A conversation over one connection."""
    service: Service = socket.app.state.service
    await socket.accept()
    try:
        owner = socket.scope["state"]["owner"]
        if owner is None:
            owner = service.keys.owner(await _key(socket))
        turns: list[Turn] = []
        with service.limits.holding(owner):
            while True:
                await _turn(socket, service, owner, turns)
    except WebSocketDisconnect:
        return
    except TimeoutError:
        await socket.close(1000, "idle")
    except Refused as error:  # no key, or too many connections
        await socket.send_json({"event": "error", **body_of(error)})
        await socket.close(1008 if error.status == 401 else 1013)


async def _key(socket: WebSocket) -> str | None:
    """The key of the first message, which must come soon."""
    try:
        first = await asyncio.wait_for(socket.receive_json(), KEY_SECONDS)
    except (ValueError, KeyError):  # not JSON, or not text
        return None
    return str(first.get("key", "")) if isinstance(first, dict) else None


async def _turn(socket: WebSocket, service: Service, owner: str, turns: list[Turn]) -> None:
    """One question; what is wrong with it is said, and the connection goes on."""
    request_id = socket.scope["state"]["request_id"]
    try:
        heard = await asyncio.wait_for(_heard(socket), service.settings.socket_idle)
        asked = _asked(heard, owner, turns, service.settings)
        masks: Masks = asked[1]
        service.limits.spend(owner)
        with service.limits.running(owner):
            async with aclosing(events(service, asked[0], masks, request_id)) as happening:  # type: ignore[type-var]
                async for event in happening:
                    if isinstance(event, Sam3AgentError):
                        raise event
                    await socket.send_json(event)
        if not asked[0].session:
            turns.append((asked[0].query, asked[0].pictures))
            del turns[:-100]
    except Sam3AgentError as error:
        await socket.send_json({"event": "error", **body_of(error, request_id)})


async def _heard(socket: WebSocket) -> Question:
    try:
        return Question.model_validate_json(await socket.receive_text())
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(422, "invalid_request", f"{where or 'message'}: {first['msg']}", field=where or None) from error
    except KeyError as error:  # a binary message
        raise Refused(422, "invalid_request", "Send JSON as text.") from error


def _asked(question: Question, owner: str, turns: list[Turn], limits: ServiceSettings) -> tuple[Asked, Masks]:
    earlier, most = [] if question.session else list(turns), limits.max_pictures
    sent = (*question.images, *question.videos)
    if len(sent) + sum(len(sources) for _, sources in earlier) > most:
        raise Refused(400, "too_many_pictures", f"At most {most} pictures in a conversation.", field="images")
    carried = sum(len(source) for source in (*sent, *(one for _, sources in earlier for one in sources)))
    if carried > limits.max_body:
        raise Refused(
            413, "too_large", "This connection carries too much. Use a session, or send less.", field="images"
        )
    asked = Asked(
        owner, sound(question.query), sent, question.session, earlier, question.threshold,
        question.double_check,
    )  # fmt: skip
    return asked, question.masks
