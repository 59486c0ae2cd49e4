"""`WS /v1/stream`: ask and hear what happens as it happens.

The client sends `{"query", "images": [...], "session", "threshold", "masks"}` (and first `{"key"}` where keys are needed
and its headers hold none); it hears `found` (plan, counts, boxes), `said`, `masks` for each picture, `done`, or `error`.
Without `session` the connection is one conversation.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sam3.errors import Sam3AgentError
from sam3_agent.service.chat import events
from sam3_agent.service.errors import Refused, body_of
from sam3_agent.service.forms import LONGEST_QUERY, Id, Masks, Threshold, sound
from sam3_agent.service.live import Asked, Turn
from sam3_agent.service.state import Service

router = APIRouter()


class Question(BaseModel):
    """One message of the client."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(max_length=LONGEST_QUERY)]
    images: list[str] = []
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
            first = await socket.receive_json()
            owner = service.keys.owner(str(first.get("key", "")) if isinstance(first, dict) else None)
        turns: list[Turn] = []
        while True:
            await _turn(socket, service, owner, turns)
    except WebSocketDisconnect:
        return
    except Refused as error:  # no key
        await socket.send_json({"event": "error", **body_of(error)})
        await socket.close(1008)


async def _turn(socket: WebSocket, service: Service, owner: str, turns: list[Turn]) -> None:
    """One question; what is wrong with it is said, and the connection goes on."""
    request_id = socket.scope["state"]["request_id"]
    try:
        asked = _asked(await _heard(socket), owner, turns, service.settings.max_pictures)
        masks: Masks = asked[1]
        service.limits.spend(owner)
        with service.limits.running(owner):
            async for event in events(service, asked[0], masks, request_id):
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


def _asked(question: Question, owner: str, turns: list[Turn], most: int) -> tuple[Asked, Masks]:
    earlier = [] if question.session else list(turns)
    if len(question.images) + sum(len(sources) for _, sources in earlier) > most:
        raise Refused(400, "too_many_pictures", f"At most {most} pictures in a conversation.", field="images")
    asked = Asked(
        owner, sound(question.query), tuple(question.images), question.session, earlier, question.threshold,
        question.double_check,
    )  # fmt: skip
    return asked, question.masks
