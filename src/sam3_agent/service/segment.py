"""`POST /v1/segment`: a thing, named or shown with boxes, outlined in one picture."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter

from sam3.errors import BadInput
from sam3.pixels import normalise_boxes
from sam3.types import Prompt
from sam3_agent.conversation import Agent, Session
from sam3_agent.execution.media import Medium
from sam3_agent.execution.outcome import Result
from sam3_agent.execution.seeing import Eyes, version_for
from sam3_agent.reply import Making, Reply
from sam3_agent.service.answers import to_api
from sam3_agent.service.errors import RESPONSES
from sam3_agent.service.forms import ApiReply, SegmentRequest, sound
from sam3_agent.service.pictures import is_clip
from sam3_agent.service.state import Documented, Owner, TheService

router = APIRouter(tags=["segment"], dependencies=[Documented], responses=RESPONSES)


@router.post("/v1/segment", response_model=ApiReply)
async def segment(form: SegmentRequest, service: TheService, owner: Owner) -> dict[str, Any]:
    """Outline every instance of a concept; `boxes` are examples of it (label 1) or of what it is not (label 0)."""
    if not form.concept and not form.boxes:
        raise BadInput("concept: name a thing, or show it with boxes.", field="concept")
    if form.box_labels is not None and len(form.box_labels) != len(form.boxes):
        raise BadInput(f"{len(form.box_labels)} box_labels for {len(form.boxes)} boxes.", field="box_labels")
    if is_clip(form.image):
        raise BadInput("image: a clip. Send it to /v1/track.", field="image")
    number = f"seg-{uuid.uuid4().hex}"

    def work() -> dict[str, Any]:
        picture = service.pictures.load(form.image)
        reply = by_example(service.agent, picture, form) if form.boxes else by_name(service.agent, picture, form)
        service.metrics.answered(reply)
        service.talks._remember(number, owner)
        service.talks.answers.keep(number, form.concept or "like the boxes", reply)
        return to_api(reply, number, form.masks)

    return await service.run(work)  # type: ignore[no-any-return]


def by_name(agent: Agent, picture: Medium, form: SegmentRequest) -> Reply:
    """What the words mean: "chicken", "the brown ones left of the barn"."""
    session = Session(agent)
    if form.threshold is not None:
        session.threshold = max(form.threshold, agent.floor)
    return session.ask(f"segment {sound(form.concept or '')}", [picture])


def by_example(agent: Agent, picture: Medium, form: SegmentRequest) -> Reply:
    """What looks like the boxes, which are in pixels of the picture as it was sent."""
    start, frame = time.perf_counter(), picture.frames[0]
    threshold = max(form.threshold if form.threshold is not None else agent.threshold, agent.floor)
    eyes = Eyes(agent.engine, threshold, agent.caches.embeddings)
    labels = np.array(form.box_labels if form.box_labels is not None else [1] * len(form.boxes), np.int64)
    boxes = np.array(form.boxes, np.float32) / frame.scale
    normalise_boxes(boxes, *frame.pixels.shape[:2])  # says which box is wrong
    words = sound(form.concept) if form.concept else None
    [found] = eyes.ground([frame], [Prompt(words, boxes, labels)])
    found = found.select(found.scores >= threshold)
    found.labels = [words or "like the example"] * len(found)
    status = "ok" if len(found) else "empty"
    text = f"Found {len(found)}." if len(found) else "I found nothing like that here."
    timings = {stage: 1000 * seconds for stage, seconds in eyes.seconds.items()}
    timings["total"] = 1000 * (time.perf_counter() - start)
    making = Making(version_for(agent.engine, [frame]), 1, 0, eyes.done["encoded"], eyes.done["reused"], 1)
    making.price_per_gpu_hour = agent.price_per_gpu_hour
    result = Result(0, found, original=frame.original)
    return Reply(status, text, None, [result], None, timings, media=[picture], making=making)  # type: ignore[arg-type]
