"""Files for a conversation: `POST /v1/sessions/{id}/media` takes a picture or clip, `GET .../frames` shows a clip's frames.

What is uploaded belongs to the conversation, and so to one key; the next question is about it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, UploadFile

from sam3.errors import BadInput
from sam3_agent.service.clip_answers import about, shown
from sam3_agent.service.errors import RESPONSES
from sam3_agent.service.pictures import is_clip
from sam3_agent.service.state import Documented, Owner, TheService
from sam3_agent.service.talk import SessionId
from sam3_agent.service.track import bounded
from sam3_agent.service.waiting import Watch, while_there

router = APIRouter(tags=["sessions"], dependencies=[Documented], responses=RESPONSES)
MOST_SHOWN = 60  # frames in one answer


@router.post("/v1/sessions/{session}/media", status_code=201)
async def upload(
    session: SessionId, file: UploadFile, request: Request, service: TheService, owner: Owner
) -> dict[str, Any]:
    """A picture or clip for the next question."""
    await service.run(lambda: service.store.stamp(session, owner))  # whose conversation it is, before any decoding
    data = await bounded(file, service.settings.max_clip)
    clip, watch = is_clip(data), Watch(service.settings.clip_seconds)

    def work() -> dict[str, Any]:
        medium = service.pictures.load(data, watch.check)
        return {"media": service.talks.give(session, owner, medium), **about(medium)}

    return await while_there(request, watch, service.run(work, clip=clip))  # type: ignore[no-any-return]


@router.get("/v1/sessions/{session}/media/{number}/frames")
async def frames(
    session: SessionId,
    number: Annotated[int, Path(ge=0, le=1000)],
    service: TheService,
    owner: Owner,
    first: Annotated[int, Query(ge=0, le=100_000)] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 24,
) -> dict[str, Any]:
    """Frames of a clip as they are looked at: base64 JPEG, with their seconds."""

    def work() -> dict[str, Any]:
        medium = service.talks.medium(session, owner, number)
        if medium is None or not medium.is_clip:
            raise BadInput(f"media {number}: this conversation has no such clip.", field="session")
        return {"media": number, **about(medium), "shown": shown(medium, first, count)}

    return await service.run(work)  # type: ignore[no-any-return]
