"""How much one key may ask for: so many requests a minute, so many at once. What is over is told when to come back."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sam3_agent.service.errors import Refused

MOST_KEYS = 10_000  # buckets kept; the one unused longest goes first


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    running: int = 0
    sockets: int = 0


class Limits:
    """Token buckets by key. Used from the event loop only.

    Args:
        per_minute: tokens that come back. burst: tokens that a key can save up. at_once: requests at the same time.
        sockets, sockets_each: WebSockets open at the same time, in all and of one key.
    """

    def __init__(
        self,
        per_minute: float,
        burst: int,
        at_once: int,
        *,
        sockets: int = 512,
        sockets_each: int = 32,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_sockets, self.sockets_each, self.sockets = sockets, sockets_each, 0
        self.rate, self.burst, self.at_once, self._clock = per_minute / 60, burst, at_once, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def spend(self, owner: str) -> None:
        """One request.

        Raises:
            Refused: 429 with the seconds until the next one may come.
        """
        bucket = self._bucket(owner)
        if bucket.tokens < 1:
            wait = (1 - bucket.tokens) / self.rate
            raise Refused(429, "rate_limited", f"Too many requests. Try again in {wait:.1f} s.", retry_after=wait)
        bucket.tokens -= 1

    @contextmanager
    def running(self, owner: str) -> Iterator[None]:
        """A request under way.

        Raises:
            Refused: 429, too many at once.
        """
        bucket = self._bucket(owner)
        if bucket.running >= self.at_once:
            raise Refused(429, "too_many_at_once", f"{self.at_once} requests are running. Wait for one.", retry_after=1)
        bucket.running += 1
        try:
            yield
        finally:
            bucket.running -= 1

    @contextmanager
    def connected(self) -> Iterator[None]:
        """A WebSocket, whoever it belongs to.

        Raises:
            Refused: 503, too many are open.
        """
        if self.sockets >= self.most_sockets:
            raise Refused(503, "too_many_sockets", f"{self.sockets} connections are open. Come back.", retry_after=10)
        self.sockets += 1
        try:
            yield
        finally:
            self.sockets -= 1

    @contextmanager
    def holding(self, owner: str) -> Iterator[None]:
        """A WebSocket of this key.

        Raises:
            Refused: 429, the key has too many.
        """
        bucket = self._bucket(owner)
        if bucket.sockets >= self.sockets_each:
            said = f"{self.sockets_each} connections of this key are open. Close one."
            raise Refused(429, "too_many_sockets", said, retry_after=10)
        bucket.sockets += 1
        try:
            yield
        finally:
            bucket.sockets -= 1

    def _bucket(self, owner: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = _Bucket(float(self.burst), now)
            idle = (name for name, one in self._buckets.items() if not (one.running or one.sockets) and name != owner)
            while len(self._buckets) > MOST_KEYS and (oldest := next(idle, None)) is not None:
                del self._buckets[oldest]
                idle = (n for n, one in self._buckets.items() if not (one.running or one.sockets) and n != owner)
        self._buckets.move_to_end(owner)
        bucket.tokens = min(float(self.burst), bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        return bucket
