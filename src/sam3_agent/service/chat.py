"""`POST /v1/chat/completions`: OpenAI's chat, so that any of its clients can ask about pictures.

The answer's words are the message; everything else (plan, boxes, masks, timings) is in the extra field `sam3`. A stream
brings the boxes and counts first, then the words, then the masks picture by picture; of a clip, each frame as it is done.
Clips come as `video_url` parts.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from sam3.errors import Sam3AgentError
from sam3_agent.reply import Reply
from sam3_agent.service.answers import to_api
from sam3_agent.service.errors import RESPONSES, Refused, body_of
from sam3_agent.service.events import events
from sam3_agent.service.forms import LONGEST_QUERY, ChatRequest
from sam3_agent.service.live import Asked
from sam3_agent.service.state import Documented, Owner, Service, TheService
from sam3_agent.service.waiting import Watch, while_there

router = APIRouter(tags=["chat"], dependencies=[Documented], responses=RESPONSES)


@router.post("/v1/chat/completions")
async def chat_completions(form: ChatRequest, request: Request, service: TheService, owner: Owner) -> Response:
    """Ask about the pictures of a conversation."""
    check_model(form.model, service)
    asked = _asked(form, owner, service.settings.max_pictures)
    if form.stream:
        words = events(service, asked, form.masks, request.state.request_id)
        first = await anext(words)  # what goes wrong before the first word still gets its own status
        if isinstance(first, Sam3AgentError):
            raise first
        return StreamingResponse(_lines(first, words, form.model, asked.number), media_type="text/event-stream")
    reply = await answered(service, asked, request)
    service.metrics.answered(reply)
    return JSONResponse(_completion(reply, form, asked.number))


async def answered(service: Service, asked: Asked, request: Request) -> Reply:
    """The reply to one question; work on a clip ends when the client hangs up."""
    if not service.talks.about_clip(asked):
        return await service.run(lambda: service.talks.ask(asked))  # type: ignore[no-any-return]
    watch = Watch(service.settings.clip_seconds)
    work = service.run(lambda: service.talks.ask(asked, watch=watch), clip=True)
    return await while_there(request, watch, work)  # type: ignore[no-any-return]


def check_model(model: str, service: Service) -> None:
    """Only the model that is loaded can be asked for.

    Raises:
        Refused: 404 in OpenAI's words.
    """
    if model not in ("sam3-agent", service.settings.checkpoint):
        known = f"sam3-agent or {service.settings.checkpoint}"
        raise Refused(404, "model_not_found", f"model {model[:80]!r}: not served here. Use {known}.", field="model")


def _asked(form: ChatRequest, owner: str, most: int) -> Asked:
    turns = [message.turn() for message in form.messages if message.role == "user"]
    query, pictures = turns[-1]
    earlier = [] if form.session else turns[:-1]
    if any(len(words) > LONGEST_QUERY for words, _ in (turns[-1], *earlier)):
        raise Refused(400, "too_long", f"A question has at most {LONGEST_QUERY} characters.", field="messages")
    if len(pictures) + sum(len(sources) for _, sources in earlier) > most:
        raise Refused(400, "too_many_pictures", f"At most {most} pictures in a request.", field="messages")
    return Asked(owner, query, pictures, form.session, earlier, form.threshold, form.double_check)


def _completion(reply: Reply, form: ChatRequest, number: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    return {
        "id": number, "object": "chat.completion", "created": int(time.time()), "model": form.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _usage(form.messages[-1].turn()[0], reply.text),
        "sam3": to_api(reply, number, form.masks),
    }  # fmt: skip


def _usage(query: str, text: str) -> dict[str, int]:
    """Words, since there are no tokens here; clients expect the numbers."""
    asked, said = len(query.split()), len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


async def _lines(first: Any, rest: AsyncIterator[Any], model: str, number: str) -> AsyncIterator[str]:
    """Server-sent events in OpenAI's chunks."""
    head = {"id": number, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'choices': [choice], **more}, ensure_ascii=False)}\n\n"

    yield chunk({"role": "assistant", "content": ""}, sam3=first)
    if first["event"] == "said":
        yield chunk({"content": first["text"]})
    async for event in rest:
        if isinstance(event, Sam3AgentError):
            yield f"data: {json.dumps(body_of(event))}\n\n"
            return
        if event["event"] == "said":
            yield chunk({"content": event["text"]}, sam3=event)
        elif event["event"] == "done":
            yield chunk({}, "stop", sam3=event)
        else:
            yield chunk({}, sam3=event)
    yield "data: [DONE]\n\n"
