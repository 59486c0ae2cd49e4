"""The engine as a conversation uses it: every picture encoded once, all phrases of a plan grounded in one batch.

`Eyes` keeps the pools of one conversation by content hash, least recently used first to go; embeddings are in the
agent's cache, which all conversations share. Called by `answers.py` and, for the rare second look of a fallback rule,
by `select.py`.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from sam3.types import Detections, Engine, Prompt
from sam3_agent.cache.embeddings import EmbeddingCache
from sam3_agent.execution.media import Picture
from sam3_agent.execution.pool import Pool

POOL_BYTES = 96_000_000  # masks kept between the turns of a conversation
EMBEDDING_BYTES = 512_000_000  # of a cache that nobody else shares
_anonymous = itertools.count()


def version_of(engine: Engine) -> str:
    """What identifies an engine's answers: its kind, its weights, and the score below which it says nothing."""
    sha256 = getattr(engine, "sha256", None) or getattr(getattr(engine, "checkpoint", None), "sha256", None)
    if not sha256:  # an engine that does not say whose weights it runs shares nothing with any other
        if not hasattr(engine, "_sam3_agent_version"):
            try:
                engine._sam3_agent_version = f"unnamed {next(_anonymous)}"  # type: ignore[attr-defined]
            except AttributeError:
                return f"unnamed {next(_anonymous)}"
        return str(engine._sam3_agent_version)  # type: ignore[attr-defined]
    return f"{name_of(engine)} {sha256} {getattr(engine, 'threshold', None)}"


def version_for(engine: Engine, pictures: Sequence[Picture]) -> str:
    """What identifies an engine's answers about these pictures; while a version is tried, they may differ by picture."""
    asked = getattr(engine, "version_for", None)
    named = sorted({asked(picture.pixels) for picture in pictures}) if asked and pictures else [""]
    if not all(named):
        return version_of(engine)
    return f"{name_of(engine)} {' and '.join(named)} {getattr(engine, 'threshold', None)}"


def name_of(engine: Engine) -> str:
    """ "torch", "onnx", ..., or the class of an engine without a name."""
    return str(getattr(engine, "name", type(engine).__name__))


class Eyes:
    """What a conversation has seen so far.

    Args:
        engine: see `sam3.types.Engine`.
        threshold: detections with a lower score are not believed.
        embeddings: shared with other conversations; an own one when None.
    """

    def __init__(self, engine: Engine, threshold: float = 0.5, embeddings: EmbeddingCache | None = None) -> None:
        self.engine = engine
        self.threshold = threshold
        self.seconds: dict[str, float] = {"encode": 0.0, "ground": 0.0}
        self.watching: Any = None  # told of each frame of a clip, see `sam3_agent.video.clip`
        self.done: Counter[str] = Counter()  # pictures encoded and reused, pairs grounded
        self._embeddings = embeddings or EmbeddingCache(EMBEDDING_BYTES)
        self._name, self._version = name_of(engine), version_of(engine)
        self._in_use: dict[bytes, Any] = {}
        self._pools: OrderedDict[bytes, Pool] = OrderedDict()

    def encode(self, pictures: Sequence[Picture]) -> list[Any]:
        """One embedding a picture; those that have not been seen are encoded in one call."""
        new = list({p.key: p for p in pictures if p.key not in self._in_use}.values())
        if new:
            start, encoded = time.perf_counter(), 0

            def encode_at(positions: list[int]) -> Sequence[Any]:
                nonlocal encoded
                encoded += len(positions)
                return self.engine.encode([new[at].pixels for at in positions])

            fetched = self._embeddings.fetch(self._name, self._version, [p.key for p in new], encode_at)
            self._in_use |= {picture.key: one for picture, one in zip(new, fetched, strict=True)}
            self.seconds["encode"] += time.perf_counter() - start
            self.done.update(encoded=encoded, reused=len(new) - encoded)
        return [self._in_use[picture.key] for picture in pictures]

    def look(self, pictures: Sequence[Picture], phrases: Sequence[str]) -> None:
        """Ground every phrase in every picture, as one batch; what is known already is not asked again."""
        distinct = {p.key: p for p in pictures}
        for picture in distinct.values():
            height, width = picture.pixels.shape[:2]
            self._pools.setdefault(picture.key, Pool(height, width, picture.scale))
        pairs = [
            (picture, phrase)
            for picture in distinct.values()
            for phrase in dict.fromkeys(phrases)
            if phrase not in self._pools[picture.key].found
        ]
        if not pairs:
            return
        found = self.ground([picture for picture, _ in pairs], [Prompt(text=text) for _, text in pairs])
        for (picture, phrase), detections in zip(pairs, found, strict=True):
            self._pools[picture.key].add(phrase, detections, self.threshold)

    def knows(self, picture: Picture, phrase: str) -> bool:
        """Whether a phrase was looked for in a picture."""
        return picture.key in self._pools and phrase in self._pools[picture.key].found

    def know(self, picture: Picture, phrase: str, found: Detections) -> None:
        """Take in what somebody else saw: a tracker, in a clip."""
        height, width = picture.pixels.shape[:2]
        pool = self._pools.setdefault(picture.key, Pool(height, width, picture.scale))
        if phrase not in pool.found:
            pool.add(phrase, found, self.threshold)

    def ground(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise, past the pools; encodes what it must."""
        distinct = list({picture.key: picture for picture in pictures}.values())
        held = dict(zip([p.key for p in distinct], self.encode(distinct), strict=True))
        start = time.perf_counter()
        found = self.engine.ground([held[picture.key] for picture in pictures], list(prompts))
        self.seconds["ground"] += time.perf_counter() - start
        self.done["grounded"] += len(prompts)
        return found

    def pool(self, picture: Picture) -> Pool:
        """The things known in a picture that has been looked at."""
        self._pools.move_to_end(picture.key)
        return self._pools[picture.key]

    def rest(self) -> None:
        """End of a turn: let go of embeddings (the cache has them) and of the pools that are over the budget."""
        self._in_use.clear()
        held = self.nbytes
        while held > POOL_BYTES and self._pools:
            _, pool = self._pools.popitem(last=False)
            held -= pool.nbytes

    @property
    def nbytes(self) -> int:
        """Memory that the pools' masks hold."""
        return sum(pool.nbytes for pool in self._pools.values())


def mirrored(picture: Picture) -> Picture:
    """The picture, left and right exchanged."""
    return Picture.of(np.ascontiguousarray(picture.pixels[:, ::-1]), picture.original)
