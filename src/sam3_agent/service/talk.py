"""Conversations by id: `/v1/sessions`. Created here, asked through chat or WebSocket, private to their key."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import Response

from sam3.errors import BadInput
from sam3_agent.service.answers import to_api
from sam3_agent.service.clip_answers import about, jpeg
from sam3_agent.service.errors import RESPONSES
from sam3_agent.service.forms import ApiReply, ExemplarRequest
from sam3_agent.service.state import Documented, Owner, TheService

router = APIRouter(tags=["sessions"], dependencies=[Documented], responses=RESPONSES)
SessionId = Annotated[str, Path(pattern=r"^[\w-]{1,64}$")]


@router.post("/v1/sessions", status_code=201)
async def create(service: TheService, owner: Owner) -> dict[str, Any]:
    """A new conversation."""
    number = await service.run(lambda: service.talks.create(owner))
    return {"id": number, "expires_in": int(service.store.ttl)}


@router.get("/v1/sessions/{session}")
async def read(session: SessionId, service: TheService, owner: Owner) -> dict[str, Any]:
    """What was asked and answered, and the pictures."""

    def work() -> dict[str, Any]:
        turns = service.store.turns(session, owner)
        media = service.talks.media(session, owner)
        shown = [{"media": at, **about(one)} for at, one in enumerate(media)]
        return {"id": session, "media": shown, "turns": turns}

    return await service.run(work)  # type: ignore[no-any-return]


@router.delete("/v1/sessions/{session}", status_code=204)
async def forget(session: SessionId, service: TheService, owner: Owner) -> Response:
    """Delete a conversation with its pictures."""
    await service.run(lambda: service.talks.forget(session, owner))
    return Response(status_code=204)


@router.get("/v1/sessions/{session}/media/{number}", response_class=Response)
async def picture(
    session: SessionId, number: Annotated[int, Path(ge=0, le=1000)], service: TheService, owner: Owner
) -> Response:
    """A picture of the conversation as it is looked at (of a clip the first frame), JPEG."""

    def work() -> bytes:
        medium = service.talks.medium(session, owner, number)
        if medium is None:
            raise BadInput(f"picture {number}: this conversation has no such picture.", field="session")
        return jpeg(medium.pixels, quality=92)

    data = await service.run(work)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


@router.post("/v1/sessions/{session}/exemplars", response_model=ApiReply)
async def point_out(session: SessionId, form: ExemplarRequest, service: TheService, owner: Owner) -> dict[str, Any]:
    """A thing that was missed: what looks like the box is added to what was asked for last."""
    number = f"chatcmpl-{uuid.uuid4().hex}"

    def work() -> dict[str, Any]:
        reply = service.talks.point_out(session, owner, form.media, form.box, number)
        service.metrics.answered(reply)
        return to_api(reply, number, form.masks)

    return await service.run(work)  # type: ignore[no-any-return]
