"""A dictionary that holds at most so many bytes; what was used longest ago goes first. Safe to share between threads.

held = Budget[bytes, Picture](64_000_000)
held.put(key, picture, size=picture.pixels.nbytes)
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cache holds and how it has fared."""

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    evicted: int


class Budget(Generic[K, V]):
    """Least recently used first to go.

    Args:
        max_bytes: of all values together; a larger single value is not kept at all.
        ttl: seconds that a value is believed; None for ever.
        clock: seconds; tests put their own here.
    """

    def __init__(
        self, max_bytes: int, *, ttl: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_bytes, self.ttl, self._clock = max_bytes, ttl, clock
        self._items: OrderedDict[K, tuple[V, int, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = self._evicted = 0

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used; None where there is none."""
        with self._lock:
            item = self._items.get(key)
            if item is not None and self.ttl is not None and self._clock() - item[2] > self.ttl:
                self._drop(key)
                item = None
            if item is None:
                self._misses += 1
                return None
            self._hits += 1
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep `value` of `size` bytes, and forget what no longer fits."""
        with self._lock:
            if key in self._items:
                self._drop(key)
            if size > self.max_bytes:
                return
            self._items[key] = (value, size, self._clock())
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._items)))
                self._evicted += 1

    def resize(self, key: K, measure: Callable[[V], int]) -> None:
        """A value may have grown since it was put: count it again, and forget what no longer fits."""
        with self._lock:
            if key not in self._items:
                return
            value, before, at = self._items[key]
            size = measure(value)
            self._items[key] = (value, size, at)
            self._bytes += size - before
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._items)))
                self._evicted += 1

    def pop(self, key: K) -> V | None:
        """Forget a value, and return it."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._drop(key)
            return item[0]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()
            self._bytes = 0

    def usage(self) -> Usage:
        """Numbers for metrics."""
        with self._lock:
            return Usage(len(self._items), self._bytes, self.max_bytes, self._hits, self._misses, self._evicted)

    def __len__(self) -> int:
        return len(self._items)

    def _drop(self, key: K) -> None:
        self._bytes -= self._items.pop(key)[1]
