"""Values in Redis, with a time to live. Redis being slow, full or dead costs speed only: no error ever leaves here.

After a failure Redis is left alone for a while, twice as long each time, so that a dead one does not slow every
question down. Try it: SAM3_CACHE_URL=redis://127.0.0.1:6379/0 sam3-agent serve
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds without a try after a failure
log = structlog.get_logger(__name__)


class RedisStore:
    """Bytes by key.

    Args:
        url: redis://, rediss:// or unix://.
        ttl: seconds that a value is kept.
        prefix: in front of every key, so that one Redis can serve several.
        timeout: seconds for one request.
        max_value: larger values are not sent.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: int = 86_400,
        prefix: str = "sam3-agent",
        timeout: float = 0.25,
        max_value: int = 64_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import redis

        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None, health_check_interval=0
        )
        self.ttl, self.prefix, self.max_value, self._clock = ttl, prefix, max_value, clock
        self._lock = threading.Lock()
        self._pause, self._silent_until = FIRST_PAUSE, 0.0
        self.failures = 0

    def get(self, key: str) -> bytes | None:
        """The value; None where there is none or Redis does not answer."""
        value = self._asked(lambda: self._redis.get(self._name(key)))
        return value if isinstance(value, bytes) else None

    def put(self, key: str, value: bytes) -> None:
        """Keep a value for `ttl` seconds, if Redis takes it."""
        if len(value) <= self.max_value:
            self._asked(lambda: self._redis.set(self._name(key), value, ex=self.ttl))

    def forget(self, key: str) -> None:
        """Remove a value."""
        self._asked(lambda: self._redis.delete(self._name(key)))

    def alive(self) -> bool:
        """Whether Redis answers now."""
        return bool(self._asked(lambda: self._redis.ping()))

    def close(self) -> None:
        """End the connections."""
        self._redis.close()

    def _name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _asked(self, request: Callable[[], Any]) -> Any:
        if self._clock() < self._silent_until:
            return None
        try:
            answer = request()
        except self._errors as error:
            with self._lock:
                self.failures += 1
                self._silent_until = self._clock() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            log.warning("redis left alone", error=type(error).__name__, seconds=round(self._pause / 2, 1))
            return None
        self._pause = FIRST_PAUSE
        return answer
