"""The engine as a conversation uses it: every picture encoded once, all phrases of a plan grounded in one batch.

`Eyes` keeps embeddings and pools by content hash, least recently used first to go. Called by `answers.py` and, for
the rare second look of a fallback rule, by `select.py`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sam3.types import Engine, Prompt
from sam3_agent.execution.media import Picture
from sam3_agent.execution.pool import Pool

MAX_PICTURES = 512  # embeddings kept per conversation


class Eyes:
    """What a conversation has seen so far.

    Args:
        engine: see `sam3.types.Engine`.
        threshold: detections with a lower score are not believed.
    """

    def __init__(self, engine: Engine, threshold: float = 0.5) -> None:
        self.engine = engine
        self.threshold = threshold
        self.seconds: dict[str, float] = {"encode": 0.0, "ground": 0.0}
        self._embeddings: OrderedDict[bytes, Any] = OrderedDict()
        self._pools: dict[bytes, Pool] = {}

    def encode(self, pictures: Sequence[Picture]) -> None:
        """Embed the pictures that have not been seen, in one call."""
        new = list({p.key: p for p in pictures if p.key not in self._embeddings}.values())
        if not new:
            return
        start = time.perf_counter()
        embeddings = self.engine.encode([picture.pixels for picture in new])
        self.seconds["encode"] += time.perf_counter() - start
        for picture, embedding in zip(new, embeddings, strict=True):
            height, width = picture.pixels.shape[:2]
            self._embeddings[picture.key] = embedding
            self._pools.setdefault(picture.key, Pool(height, width))
        self._forget(keep={picture.key for picture in pictures})

    def look(self, pictures: Sequence[Picture], phrases: Sequence[str]) -> None:
        """Ground every phrase in every picture, as one batch; what is known already is not asked again."""
        self.encode(pictures)
        pairs = [
            (picture.key, phrase)
            for picture in {p.key: p for p in pictures}.values()
            for phrase in dict.fromkeys(phrases)
            if phrase not in self._pools[picture.key].found
        ]
        if not pairs:
            return
        start = time.perf_counter()
        found = self.engine.ground(
            [self._embeddings[key] for key, _ in pairs], [Prompt(text=text) for _, text in pairs]
        )
        self.seconds["ground"] += time.perf_counter() - start
        for (key, phrase), detections in zip(pairs, found, strict=True):
            self._pools[key].add(phrase, detections, self.threshold)

    def pool(self, picture: Picture) -> Pool:
        """The things known in a picture that has been looked at."""
        self._embeddings.move_to_end(picture.key)
        return self._pools[picture.key]

    def _forget(self, keep: set[bytes]) -> None:
        while len(self._embeddings) > MAX_PICTURES:
            oldest = next((key for key in self._embeddings if key not in keep), None)
            if oldest is None:
                return
            del self._embeddings[oldest], self._pools[oldest]
