"""What every engine's decoder says about a batch of pairs, before thresholds; and how that becomes `Detections`.

    answer = engine.answer(embeddings, prompts)      # all queries: what the parity gate compares
    found = answer.detections(threshold=0.5)         # what callers see

Masks are drawn only for the queries that pass the threshold, all pairs of a batch in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sam3.engines.prompts import paired
from sam3.pixels import from_model, sigmoid
from sam3.types import Detections, FloatArray, Prompt

E = TypeVar("E")
Draw = Callable[[Sequence[int], Sequence[NDArray[np.int64]]], list[FloatArray]]


@dataclass
class Answer:
    """The decoder's last layer for P pairs.

    Attributes:
        logits: float32 (P, Q). boxes: float32 (P, Q, 4) xyxy in [0, 1]. presence: float32 (P,) logits.
        draw: from pairs and their query indexes (n,) to mask logits (n, h, w), one array a pair.
        sizes: (H, W) of each pair's original image.
        warnings: per pair.
    """

    logits: FloatArray
    boxes: FloatArray
    presence: FloatArray
    draw: Draw
    sizes: Sequence[tuple[int, int]]
    warnings: Sequence[tuple[str, ...]]

    def detections(self, threshold: float | Sequence[float]) -> list[Detections]:
        """Instances with scores of at least `threshold`, which is one for all pairs or one for each."""
        least = [threshold] * len(self.logits) if isinstance(threshold, (int, float)) else list(threshold)
        scores = sigmoid(self.logits.astype(np.float64)) * sigmoid(self.presence.astype(np.float64))[:, None]
        kept = [np.flatnonzero(row >= low) for row, low in zip(scores.astype(np.float32), least, strict=True)]
        pairs = [at for at, queries in enumerate(kept) if len(queries)]
        drawn = dict(zip(pairs, self.draw(pairs, [kept[at] for at in pairs]), strict=True)) if pairs else {}
        return [
            from_model(
                self.logits[at],
                self.boxes[at],
                float(self.presence[at]),
                # `from_model` asks for the same queries, best first
                lambda order, at=at: drawn[at][np.searchsorted(kept[at], order)],  # type: ignore[misc]
                self.sizes[at],
                threshold=least[at],
                warnings=tuple(self.warnings[at]),
            )
            for at in range(len(kept))
        ]

    def masks(self) -> FloatArray:
        """Mask logits of every query, (P, Q, h, w)."""
        pairs, queries = self.logits.shape
        return np.stack(self.draw(range(pairs), [np.arange(queries)] * pairs))


def ground_in_batches(
    answer: Callable[[Sequence[E], Sequence[Prompt]], Answer],
    embeddings: Sequence[E],
    prompts: Sequence[Prompt],
    batch: int,
    threshold: float,
) -> list[Detections]:
    """embeddings[i] with prompts[i], `batch` pairs at a time; `answer` is the engine's own."""
    groups = paired(embeddings, prompts, batch)
    return [found for held, asked in groups for found in answer(held, asked).detections(threshold)]


def distinct(embeddings: Sequence[E]) -> tuple[list[E], NDArray[np.int32]]:
    """The images behind a batch of pairs, each once, and the row of each pair's image."""
    rows: dict[int, int] = {}
    for item in embeddings:
        rows.setdefault(id(item), len(rows))
    first = {id(item): item for item in embeddings}
    return [first[key] for key in rows], np.array([rows[id(item)] for item in embeddings], np.int32)
