"""Phrases that were encoded: the dictionary in which an engine keeps its words, within a budget of bytes.

Engines keep every phrase for ever, which a stranger with a dictionary could fill. `lend` puts this in its place: what
was used longest ago goes first, and the ONNX engine's plain arrays also go to Redis, when there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np

from sam3_agent.cache.budget import Budget
from sam3_agent.cache.keys import fingerprint
from sam3_agent.cache.redis_store import RedisStore

Word = tuple[Any, tuple[str, ...]]  # features, warnings


class TextCache(MutableMapping[str, Word]):
    """Phrase -> what the engine keeps of it.

    Args:
        max_bytes: held in this process. version: of the weights. redis: for plain arrays; may be None.
    """

    def __init__(self, max_bytes: int, version: str, redis: RedisStore | None = None) -> None:
        self.held: Budget[str, Word] = Budget(max_bytes)
        self.version, self.redis = version, redis

    def __getitem__(self, phrase: str) -> Word:
        """What is kept; KeyError where nothing is."""
        word = self.held.get(phrase)
        if word is None and self.redis is not None:
            data = self.redis.get(self._key(phrase))
            word = _unpacked(data) if data is not None else None
            if word is not None:
                self.held.put(phrase, word, _size(word))
        if word is None:
            raise KeyError(phrase)
        return word

    def __contains__(self, phrase: object) -> bool:
        """Whether it is kept, here or in Redis."""
        try:
            self[str(phrase)]
        except KeyError:
            return False
        return True

    def __setitem__(self, phrase: str, word: Word) -> None:
        """Keep a phrase."""
        self.held.put(phrase, word, _size(word))
        if self.redis is not None and isinstance(word[0], np.ndarray) and not word[1]:
            self.redis.put(self._key(phrase), _packed(word[0]))

    def __delitem__(self, phrase: str) -> None:
        """Forget a phrase."""
        self.held.pop(phrase)

    def __iter__(self) -> Iterator[str]:
        """The phrases held here."""
        return iter(list(self.held._items))

    def __len__(self) -> int:
        return len(self.held)

    def _key(self, phrase: str) -> str:
        return fingerprint("text", phrase=phrase, version=self.version)


def lend(engine: Any, max_bytes: int, version: str, redis: RedisStore | None = None) -> TextCache | None:
    """Put a bounded dictionary in the place of the engine's own; None where it has none."""
    if not isinstance(getattr(engine, "_words", None), dict):
        return None
    plain = redis if getattr(engine, "name", "") == "onnx" else None
    engine._words = TextCache(max_bytes, version, plain)
    return engine._words  # type: ignore[no-any-return]


def _size(word: Word) -> int:
    features = word[0]
    if isinstance(features, np.ndarray):
        return int(features.nbytes)
    return (
        sum(int(getattr(value, "nbytes", 0)) for value in getattr(features, "__dict__", {}).values()) or 20_000
    )  # of an engine whose words do not say how large they are


def _packed(features: np.ndarray[Any, Any]) -> bytes:
    from safetensors.numpy import save

    return bytes(save({"features": np.ascontiguousarray(features)}))


def _unpacked(data: bytes) -> Word | None:
    from safetensors.numpy import load

    try:
        return load(data)["features"], ()
    except Exception:  # the file reader raises its own private kinds; whatever it is, it is no phrase
        return None
