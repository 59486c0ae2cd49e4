"""The most recent values, bounded by bytes: what keeps embeddings between requests.

seen: Recent[Embedding] = Recent(256_000_000)
seen.put("key", embedding, embedding.nbytes)
seen.get("key")                                  # None when it was never there or had to make room
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """A least-recently-used store of at most `limit` bytes; safe between threads.

    Attributes:
        hits, misses: how `get` has ended so far.
        held: bytes in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held, self.hits, self.misses = limit, 0, 0, 0
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> V | None:
        """The value under `key`, which is then the most recent; None if there is none."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                self.misses += 1
                return None
            self._values.move_to_end(key)
            self.hits += 1
            return found[0]

    def put(self, key: str, value: V, size: int) -> None:
        """Keep `value` of `size` bytes; the oldest make room. One that is larger than the whole is not kept."""
        with self._lock:
            if key in self._values:
                self.held -= self._values.pop(key)[1]
            if size > self.limit:
                return
            self._values[key] = (value, size)
            self.held += size
            while self.held > self.limit:
                _, (_, freed) = self._values.popitem(last=False)
                self.held -= freed

    def __len__(self) -> int:
        return len(self._values)
