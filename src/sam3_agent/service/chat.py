"""`POST /v1/chat/completions`: OpenAI's chat, so that any of its clients can ask about pictures.

The answer's words are the message; everything else (plan, boxes, masks, timings) is in the extra field `sam3`. A stream
brings the boxes and counts first, then the words, then the masks picture by picture.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from sam3.errors import Sam3AgentError
from sam3_agent.execution.outcome import Outcome
from sam3_agent.reply import Reply
from sam3_agent.service.answers import found_of, to_api
from sam3_agent.service.errors import RESPONSES, Refused, body_of
from sam3_agent.service.forms import LONGEST_QUERY, ChatRequest, Masks
from sam3_agent.service.live import Asked
from sam3_agent.service.state import Documented, Owner, Service, TheService
from sam3_agent.understanding.plan import Plan

router = APIRouter(tags=["chat"], dependencies=[Documented], responses=RESPONSES)
log = structlog.get_logger(__name__)


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
    reply = await service.run(lambda: service.talks.ask(asked))
    service.metrics.answered(reply)
    return JSONResponse(_completion(reply, form, asked.number))


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


async def events(service: Service, asked: Asked, masks: Masks, request_id: str) -> AsyncIterator[Any]:
    """What happens to a question, as it happens: dictionaries with `event`, and at most one error at the end.

    found: plan, counts and boxes (once per plan). said: the reply without masks. masks: one picture's. done: the end.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

    def tell(event: Any) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event)

    def found(plan: Plan, outcome: Outcome) -> None:
        tell({"event": "found", **found_of(plan, outcome)})

    def work() -> None:
        reply = service.talks.ask(asked, found)
        service.metrics.answered(reply)
        tell({"event": "said", **to_api(reply, asked.number, "none")})
        for at in range(len(reply.results) if masks != "none" else 0):
            one = Reply(reply.status, reply.text, results=reply.results[at : at + 1])
            tell({"event": "masks", "result": to_api(one, asked.number, masks)["results"][0]})
        tell({"event": "done", "id": asked.number})

    async def watched() -> None:
        try:
            await service.run(work)
        except Sam3AgentError as error:
            queue.put_nowait(error)
        except Exception:
            log.exception("failed while streaming")
            said = f"Something went wrong here. Say this when you report it: {request_id}"
            queue.put_nowait(Refused(500, "internal", said))

    task = asyncio.create_task(watched())
    try:
        while True:
            event = await queue.get()
            yield event
            if isinstance(event, Sam3AgentError) or event["event"] == "done":
                return
    finally:
        await asyncio.wait([task], timeout=0)


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
