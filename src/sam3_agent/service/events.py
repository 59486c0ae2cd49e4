"""What happens to a question, as it happens, for whoever streams it: chat, WebSocket, `/v1/track`.

frame: one of a clip's, as it is done. found: plan, counts and boxes (once per plan). said: the reply without masks.
masks: one picture's, or some frames of a clip. done: the end. An error is the last thing there is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Any

import structlog

from sam3.errors import Sam3AgentError
from sam3_agent.execution.outcome import Outcome
from sam3_agent.reply import Reply
from sam3_agent.service.answers import found_of, medium_of, result_of, to_api
from sam3_agent.service.clip_answers import news_of, pieces_of
from sam3_agent.service.errors import Refused, no_room
from sam3_agent.service.forms import Masks
from sam3_agent.service.live import Asked
from sam3_agent.service.state import Service
from sam3_agent.service.waiting import LOOKS, Watch
from sam3_agent.understanding.plan import Plan

WAITING = 64  # events that a slow reader may leave waiting before the work waits for it
Tell = Callable[[dict[str, Any]], None]
log = structlog.get_logger(__name__)


def events(service: Service, asked: Asked, masks: Masks, request_id: str) -> AsyncIterator[Any]:
    """Dictionaries with `event`, and at most one error at the end."""
    clip = service.talks.about_clip(asked)

    def work(tell: Tell, watch: Watch) -> None:
        watch.told = lambda news: tell(news_of(news, masks))

        def found(plan: Plan, outcome: Outcome) -> None:
            tell({"event": "found", **found_of(plan, outcome)})

        reply = service.talks.ask(asked, found, watch if clip else None)
        service.metrics.answered(reply)
        tell({"event": "said", **to_api(reply, asked.number, "none")})
        if masks != "none":
            _send_masks(reply, masks, tell)
        tell({"event": "done", "id": asked.number})

    return told(service, work, clip=clip, request_id=request_id)


def _send_masks(reply: Reply, masks: Masks, tell: Tell) -> None:
    for result in reply.results:
        medium = medium_of(reply, result)
        if result.frames is None:
            tell({"event": "masks", "result": result_of(result, masks, medium)})
            continue
        for piece in pieces_of(result, medium, masks):
            tell({"event": "masks", "media": result.media, "frames": piece})


async def told(
    service: Service, work: Callable[[Tell, Watch], None], *, clip: bool, request_id: str
) -> AsyncIterator[Any]:
    """Everything that `work` tells, in its order; the last is its "done" event or an error.

    Args:
        work: runs in a thread of the crew. When nobody listens any more, telling and `watch.check` end it.
    """
    loop, queue, over = asyncio.get_running_loop(), asyncio.Queue[Any](WAITING), threading.Event()
    watch = Watch(service.settings.clip_seconds)

    def tell(event: dict[str, Any]) -> None:
        waiting = asyncio.run_coroutine_threadsafe(queue.put(event), loop)
        while not over.is_set():
            try:
                waiting.result(LOOKS)
                return
            except NotYet:
                continue
        waiting.cancel()
        watch.check()

    async def watched() -> None:
        try:
            await service.run(lambda: work(tell, watch), clip=clip)
        except Sam3AgentError as error:
            await queue.put(error)
        except Exception as error:
            if refused := no_room(error):
                await queue.put(refused)
                return
            log.exception("failed while streaming")
            said = f"Something went wrong here. Say this when you report it: {request_id}"
            await queue.put(Refused(500, "internal", said))

    task = asyncio.create_task(watched())
    try:
        while True:
            event = await queue.get()
            yield event
            if isinstance(event, Sam3AgentError) or event["event"] == "done":
                return
    finally:
        over.set()
        watch.gone.set()
        while not queue.empty():  # whoever waits to put something down may
            with suppress(asyncio.QueueEmpty):
                queue.get_nowait()
        await asyncio.wait([task], timeout=0)
