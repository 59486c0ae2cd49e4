"""What a model sees in a set of pictures: presence, number of detections and a vector for each, made once and kept.

The training side and the side of today go through the same model and the same code, so that what differs is the
pictures. Kept as safetensors under the weights and the pictures' names; killed, it is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3.errors import BadInput
from sam3.files import atomic_write
from sam3.types import Engine, FloatArray, Prompt, UInt8Array

KEPT = Path("outputs/monitoring")
BATCH = 8
Load = Callable[[], UInt8Array]


@dataclass(frozen=True)
class Sample:
    """N pictures: presence (N,) in [0, 1], counts (N,), vectors (N, 64) of length 1."""

    presence: FloatArray
    counts: FloatArray
    vectors: FloatArray

    def __len__(self) -> int:
        return len(self.presence)


def look_at(pictures: Sequence[tuple[str, Load]], engine: Engine, concept: str) -> Sample:
    """Look for the concept in pictures.

    Args:
        pictures: name and how to load it. Those that cannot be read are left out.
    """
    from tqdm import tqdm

    from sam3_agent.mining.vectors import describe

    prompt = Prompt(concept)
    presence: list[float] = []
    counts: list[float] = []
    vectors: list[FloatArray] = []
    for group in _readable(tqdm(pictures, desc="looking", unit="picture", disable=None)):
        embeddings = engine.encode(group)
        for image, embedding, found in zip(
            group, embeddings, engine.ground(embeddings, [prompt] * len(group)), strict=True
        ):
            presence.append(float(found.presence))
            counts.append(float(len(found)))
            vectors.append(describe(embedding, image))
    stacked = np.stack(vectors) if vectors else np.zeros((0, 64))
    return Sample(np.array(presence, np.float32), np.array(counts, np.float32), np.asarray(stacked, np.float32))


def _readable(pictures: Iterator[tuple[str, Load]]) -> Iterator[list[UInt8Array]]:
    group: list[UInt8Array] = []
    for _, load in pictures:
        try:
            group.append(load())
        except BadInput:
            continue
        if len(group) == BATCH:
            yield group
            group = []
    if group:
        yield group


def kept_sample(
    pictures: Sequence[tuple[str, Load]], engine: Engine, concept: str, weights: str, folder: Path = KEPT
) -> Sample:
    """`look_at`, from an earlier look of the same weights at the same pictures if there is one."""
    from safetensors.numpy import load_file, save

    names = "\n".join(name for name, _ in pictures)
    mark = hashlib.sha256(f"{weights}\n{concept}\n{names}".encode()).hexdigest()[:24]
    place = folder / f"{mark}.safetensors"
    if place.is_file():
        held = load_file(place)
        return Sample(held["presence"], held["counts"], held["vectors"])
    sample = look_at(pictures, engine, concept)
    arrays = {"presence": sample.presence, "counts": sample.counts, "vectors": sample.vectors}
    with atomic_write(place, "wb") as stream:
        stream.write(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    return sample


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most `most` names, evenly over the sorted list."""
    ordered = sorted(names)
    if len(ordered) <= most:
        return ordered
    return [ordered[at] for at in np.unique(np.linspace(0, len(ordered) - 1, most).round().astype(int))]
