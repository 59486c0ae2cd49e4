"""Threads that answer. So many at once, so many waiting, and whoever would wait too long is sent away with a 503."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from sam3_agent.service.errors import Refused

T = TypeVar("T")


class Workers:
    """A bounded crew.

    Args:
        threads: that work at the same time. queue: requests that may wait. patience: seconds that they wait.
    """

    def __init__(self, threads: int, queue: int, patience: float) -> None:
        self.threads, self.queue, self.patience = threads, queue, patience
        self.busy = self.waiting = 0
        self.draining = False
        self._free = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="answer")

    async def run(self, work: Callable[[], T]) -> T:
        """Carry out `work` in a thread.

        Raises:
            Refused: 503, too many are waiting already, or it took too long to get a turn.
        """
        if self.draining:
            raise Refused(503, "shutting_down", "Shutting down. Try again in a few seconds.", retry_after=5)
        if self.busy + self.waiting >= self.threads + self.queue:
            raise Refused(503, "overloaded", f"{self.waiting} requests are waiting. Try again soon.", retry_after=2)
        self.waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), self.patience)
        except TimeoutError:
            raise Refused(
                503, "overloaded", f"No turn within {self.patience:g} s. Try again later.", retry_after=5
            ) from None
        finally:
            self.waiting -= 1
        self.busy += 1
        context = copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._pool, context.run, work)
        future.add_done_callback(self._done)  # a caller that hangs up does not free a thread that goes on working
        return await asyncio.shield(future)

    def _done(self, _future: object) -> None:
        self.busy -= 1
        self._free.release()
        if isinstance(_future, asyncio.Future) and not _future.cancelled():
            _future.exception()  # looked at, so that a hung-up caller leaves no "never retrieved" behind

    def close(self) -> None:
        """Wait for what is under way."""
        self.draining = True
        self._pool.shutdown(wait=True)
