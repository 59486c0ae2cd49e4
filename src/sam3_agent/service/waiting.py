"""Somebody waits for news of a clip: work on it goes on while they do, and no longer than the house allows.

A clip takes seconds or minutes. Whoever hangs up must not keep a thread busy, and nobody may keep one for ever.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from sam3_agent.service.errors import Refused
from sam3_agent.video.clip import FrameSeen

LOOKS = 0.5  # seconds from one look at the connection to the next


class Watch:
    """One answer's listener. `check` is called from the working thread, again and again.

    Args:
        seconds: that the work may take, counted from its first step.
        told: hears of every frame.
    """

    def __init__(self, seconds: float, told: Callable[[FrameSeen], None] | None = None) -> None:
        self.seconds, self.told = seconds, told
        self.gone = threading.Event()
        self._until: float | None = None

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Refused: nobody listens any more, or time is up.
        """
        if self.gone.is_set():
            raise Refused(499, "client_gone", "The client hung up.")
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        if now > self._until:
            said = f"The clip was not done within {self.seconds:g} s. Send a shorter one, or ask about a part of it."
            raise Refused(503, "too_slow", said, field="video", retry_after=30)

    def __call__(self, news: FrameSeen) -> None:
        """A frame is done."""
        self.check()
        if self.told is not None:
            self.told(news)


async def while_there(request: Request, watch: Watch, work: Awaitable[Any]) -> Any:
    """The outcome of `work`, which is told to stop when the client hangs up."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOKS)
            if not task.done() and await request.is_disconnected():
                watch.gone.set()
        return await task
    finally:
        watch.gone.set()
