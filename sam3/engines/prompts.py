"""Prompts as arrays: what every engine does before it grounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from sam3.errors import BadInput
from sam3.pixels import normalise_boxes
from sam3.types import Prompt

E = TypeVar("E")  # an engine's embedding
VISUAL = "visual"  # the published stand-in phrase when boxes alone say what is meant
PADDING = -10  # label of a padding box, as in transformers


def phrase_of(prompt: Prompt) -> str:
    """The words of a prompt.

    Raises:
        BadInput: neither words nor boxes.
    """
    if prompt.text and prompt.text.strip():
        return prompt.text.strip()
    if prompt.boxes is None or not len(prompt.boxes):
        raise BadInput("a prompt needs a phrase or at least one box.", field="prompt")
    return VISUAL


def paired(
    embeddings: Sequence[E], prompts: Sequence[Prompt], batch: int
) -> Iterator[tuple[Sequence[E], Sequence[Prompt]]]:
    """Embeddings with their prompts, `batch` pairs at a time.

    Raises:
        BadInput: not as many of the ones as of the others.
    """
    if len(embeddings) != len(prompts):
        raise BadInput(f"{len(embeddings)} embeddings for {len(prompts)} prompts: they go in pairs.", field="prompts")
    for start in range(0, len(prompts), batch):
        yield embeddings[start : start + batch], prompts[start : start + batch]


def pad_boxes(
    sizes: Sequence[tuple[int, int]], prompts: Sequence[Prompt]
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]]]:
    """Exemplar boxes of a batch, padded to the longest list.

    Returns:
        float32 (P, K, 4) cxcywh in [0, 1]; int64 (P, K) labels, -10 for padding; warnings per pair.
    """
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    warnings: list[tuple[str, ...]] = []
    for (height, width), prompt in zip(sizes, prompts, strict=True):
        boxes = np.zeros((0, 4), np.float32)
        said: tuple[str, ...] = ()
        if prompt.boxes is not None and len(prompt.boxes):
            boxes, said = normalise_boxes(prompt.boxes, height, width)
        labels = np.ones(len(boxes), np.int64) if prompt.box_labels is None else np.asarray(prompt.box_labels, np.int64)
        if labels.shape != (len(boxes),):
            raise BadInput(f"{len(labels)} box labels for {len(boxes)} boxes.", field="box_labels")
        rows.append((boxes, labels))
        warnings.append(said)
    most = max((len(boxes) for boxes, _ in rows), default=0)
    array = np.full((len(rows), most, 4), 0.5, np.float32)
    padded = np.full((len(rows), most), PADDING, np.int64)
    for at, (boxes, labels) in enumerate(rows):
        array[at, : len(boxes)], padded[at, : len(boxes)] = boxes, labels
    return array, padded, warnings
