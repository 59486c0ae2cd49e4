"""`POST /v1/track`: a clip, and a question about it (`query`) or things to follow through every frame (`things`).

A query is answered as in a conversation: from up to 240 frames, small ones, picked evenly. Things are followed through every
frame at its own size, and the lines are those of `sam3-agent track`. Either way a line of JSON comes as each frame is done.
"""

from __future__ import annotations

import json
import math
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from sam3.errors import BadInput, Sam3AgentError
from sam3_agent.service.chat import answered
from sam3_agent.service.errors import RESPONSES, Refused, body_of
from sam3_agent.service.events import Tell, events, told
from sam3_agent.service.forms import TrackRequest, sound
from sam3_agent.service.live import Asked
from sam3_agent.service.pictures import Source, is_clip
from sam3_agent.service.reports import track_report
from sam3_agent.service.state import Documented, Owner, Service, TheService
from sam3_agent.service.waiting import Watch

router = APIRouter(tags=["clips"], dependencies=[Documented], responses=RESPONSES)
MOST_ROWS = 1000  # frames of an answer that comes as one document
NDJSON = "application/x-ndjson"


def _body() -> dict[str, Any]:
    """The two ways to send it, for the OpenAPI document."""
    form = TrackRequest.model_json_schema()
    upload = {**form, "required": ["video"]}
    file = {"type": "string", "format": "binary", "description": "mp4, mov, avi or mkv"}
    upload["properties"] = {**form["properties"], "video": file}
    content = {"application/json": {"schema": form}, "multipart/form-data": {"schema": upload}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/track",
    openapi_extra=_body(),
    responses={
        200: {"content": {NDJSON: {}, "application/json": {}}, "description": "Events, one a line, or the reply."}
    },
)
async def track(request: Request, service: TheService, owner: Owner) -> Response:
    """Follow things through a clip, or ask about it. Frames come as they are done, unless `stream` is false."""
    form, video = await _read(request, service.settings.max_clip)
    if bool(form.query.strip()) == bool(form.things):
        raise BadInput("query: ask about the clip, or name things to follow; one of the two.", field="query")
    if not is_clip(video):
        service.pictures.clip(video)  # says what was expected
    return await (_asked if form.query.strip() else _followed)(form, video, request, service, owner)


async def _asked(form: TrackRequest, video: Source, request: Request, service: Service, owner: str) -> Response:
    """A question, answered as in a conversation."""
    asked = Asked(owner, sound(form.query), (video,), form.session, (), form.threshold)
    if not form.stream:
        reply = await answered(service, asked, request)
        service.metrics.answered(reply)
        return JSONResponse(track_report(reply, asked.number, form.masks))
    return await _lines(events(service, asked, form.masks, request.state.request_id))


async def _followed(form: TrackRequest, video: Source, request: Request, service: Service, owner: str) -> Response:
    """Every frame, as `sam3-agent track` does it."""
    if form.session:
        raise BadInput("session: goes with a query. Things are followed without one.", field="things")

    def work(tell: Tell, watch: Watch) -> None:
        follow(service, form, video, tell, watch)

    happening = told(service, work, clip=True, request_id=request.state.request_id)
    if form.stream:
        return await _lines(happening)
    rows: list[Any] = []
    whole: dict[str, Any] = {}
    try:
        async for event in happening:
            if isinstance(event, Sam3AgentError):
                raise event
            content = {name: value for name, value in event.items() if name != "event"}
            if event["event"] == "frame":
                rows.append(content)
            else:
                whole |= content
            if len(rows) > MOST_ROWS:
                raise BadInput(f"stream: over {MOST_ROWS} frames; ask for a stream, or a part.", field="stream")
            if await request.is_disconnected():
                raise Refused(499, "client_gone", "The client hung up.")
    finally:
        await happening.aclose()  # type: ignore[attr-defined]
    return JSONResponse({**whole, "frames": rows})


def follow(service: Service, form: TrackRequest, video: Source, tell: Tell, watch: Watch) -> None:
    """Tell `clip` (what it is), `frame` for every frame, and `done` with the tracks."""
    from sam3_agent.video.reading import facts, read_frames
    from sam3_agent.video.results import as_row
    from sam3_agent.video.sources import source_of
    from sam3_agent.video.track import phrases_of

    limits, phrases = service.settings.clip_limits, phrases_of([sound(thing) for thing in form.things])
    data = service.pictures.clip(video)
    with tempfile.TemporaryDirectory(prefix="sam3-clip-") as folder:
        path = Path(folder) / "the clip"
        path.write_bytes(data)
        try:
            source = source_of(path, hosts=())
            known = facts(source, limits)
            about = {name: getattr(known, name) for name in ("width", "height", "rate", "frames", "seconds")}
            tell({"event": "clip", **about, "phrases": phrases})
            end = math.inf if form.end is None else form.end
            tracker, spans = _tracker(service, form, phrases, known.rate), Spans()
            try:
                for frame in read_frames(source, start=form.start, end=end, limits=limits, wanted=_while(watch)):
                    row = as_row(tracker.update(frame), masks=form.masks in ("rle", "both"))
                    spans.add(row)
                    tell({"event": "frame", **row})
            finally:
                if hasattr(tracker, "close"):
                    tracker.close()
        except BadInput as error:
            raise BadInput(str(error).replace(str(path), path.name), field=error.field) from error
    tell({"event": "done", "id": f"track-{uuid.uuid4().hex}", "done": spans.frames, **spans.report(phrases)})


def _while(watch: Watch) -> Any:
    def wanted(_time: float) -> bool:
        watch.check()
        return True

    return wanted


def _tracker(service: Service, form: TrackRequest, phrases: list[str], rate: float) -> Any:
    """The light tracker on the agent's engine, or the server's own."""
    threshold = max(form.threshold if form.threshold is not None else service.agent.threshold, service.agent.floor)
    address = getattr(service.agent.engine, "address", None)
    if service.settings.clip_tracker == "triton" and address:
        from sam3_agent.video.served import ServedTracker

        return ServedTracker(address, phrases, threshold=threshold)
    from sam3_agent.video.cadence import Cadence
    from sam3_agent.video.carry import CarryTracker

    return CarryTracker(service.agent.engine, phrases, Cadence(seconds=form.every), rate=rate, birth=threshold)


class Spans:
    """When each track was seen."""

    def __init__(self) -> None:
        self.frames, self._seen = 0, {}  # type: ignore[var-annotated]

    def add(self, row: dict[str, Any]) -> None:
        """A frame's row."""
        self.frames += 1
        for one in row["tracks"]:
            span = self._seen.setdefault(
                one["id"], {"id": one["id"], "label": one["label"], "score": 0.0, "first": row["time"], "frames": 0}
            )
            span |= {"last": row["time"], "frames": span["frames"] + 1, "score": max(span["score"], one["score"])}

    def report(self, phrases: list[str]) -> dict[str, Any]:
        """Tracks in order of appearance, and how many of each thing."""
        tracks = [self._seen[number] for number in sorted(self._seen)]
        return {"tracks": tracks, "counts": {p: sum(one["label"] == p for one in tracks) for p in phrases}}


# --- what comes in and goes out -----------------------------------------------------------------------------------------


async def _read(request: Request, most: int) -> tuple[TrackRequest, Source]:
    """The request, and the clip as text or bytes.

    Raises:
        Refused: 422, a field is missing or wrong; 413, the clip is too large.
    """
    video: Source = ""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=32, max_part_size=100_000) as sent:
            fields: dict[str, Any] = {name: value for name, value in sent.items() if isinstance(value, str)}
            if "things" in sent:
                fields["things"] = [one for one in sent.getlist("things") if isinstance(one, str)]
            file = sent.get("video")
            if isinstance(file, UploadFile):
                video = await bounded(file, most)
        form = _checked(fields)
    else:
        form = _checked(await request.body())
    video = video or form.video
    if not video:
        raise Refused(422, "invalid_request", "video: Field required", field="video")
    return form, video


def _checked(sent: bytes | dict[str, Any]) -> TrackRequest:
    try:
        return TrackRequest.model_validate_json(sent) if isinstance(sent, bytes) else TrackRequest.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(422, "invalid_request", f"{where or 'body'}: {first['msg']}", field=where or None) from error


async def bounded(file: UploadFile, most: int) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        Refused: 413, too large; 422, empty.
    """
    data = await file.read(most + 1)
    if len(data) > most:
        raise Refused(413, "too_large", f"the file is over {most / 1e6:g} MB. Cut it.", field="video")
    if not data:
        raise Refused(422, "invalid_request", "the file is empty.", field="video")
    return bytes(data)


async def _lines(happening: AsyncIterator[Any]) -> Response:
    """Lines of JSON; what goes wrong before the first one has its own status."""
    first = await anext(happening)
    if isinstance(first, Sam3AgentError):
        raise first

    async def written() -> AsyncIterator[str]:
        try:
            yield line(first)
            async for event in happening:
                yield line(event)
        finally:
            await happening.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(written(), media_type=NDJSON)


def line(event: Any) -> str:
    """One event, or the error that ends the stream."""
    content = {"event": "error", **body_of(event)} if isinstance(event, Sam3AgentError) else event
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
