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


class Limits:
    """Token buckets by key. Used from the event loop only.

    Args:
        per_minute: tokens that come back. burst: tokens that a key can save up. at_once: requests at the same time.
    """

    def __init__(
        self, per_minute: float, burst: int, at_once: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
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

    def _bucket(self, owner: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = _Bucket(float(self.burst), now)
            while len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(owner)
        bucket.tokens = min(float(self.burst), bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        return bucket
