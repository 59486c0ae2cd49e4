"""Parts of a validation set that a better mean may hide: small things, crowds, upright pictures, one source.

A slice with positives and negatives is judged by cgF1, one of positives alone by pmF1, one of negatives alone by the
share of pairs without a detection. Used by `gate.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sam3.eval.cgf1 import CgF1
from sam3.files import read_json

SMALL = 0.02  # of the picture's area: the largest instance of a "small things" pair
Figure = Literal["cgF1", "pmF1", "clean negatives"]


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice under both models. `loss` is positive where the candidate is worse; figures in [0, 1] (cgF1: [-1, 1])."""

    name: str
    pairs: int
    figure: Figure
    champion: float
    candidate: float

    @property
    def loss(self) -> float:
        """How much the candidate loses."""
        return self.champion - self.candidate


def slices_of(truth: Path) -> dict[str, frozenset[int]]:
    """Slice -> ids of its pairs, from an SA-Co file.

    By phrase, source, shape of the picture, number of instances and size of the largest one; an image row may name
    others under `slices`. A slice that holds every pair is no slice and is left out.
    """
    data = read_json(truth)
    pixels = {row["id"]: row["height"] * row["width"] for row in data["images"]}
    sizes: dict[int, list[float]] = defaultdict(list)
    for row in data["annotations"]:
        area = float(row.get("area") or 0.0)  # SA-Co's areas are shares of the picture, COCO's are pixels
        sizes[int(row["image_id"])].append(area if area <= 1 else area / pixels[row["image_id"]])
    found: dict[str, set[int]] = defaultdict(set)
    for row in data["images"]:
        for name in _names(row, sizes[int(row["id"])]):
            found[name].add(int(row["id"]))
    return {name: frozenset(ids) for name, ids in sorted(found.items()) if len(ids) < len(data["images"])}


def judge(slices: Mapping[str, Iterable[int]], champion: CgF1, candidate: CgF1) -> list[Slice]:
    """Both models on every slice that has a pair, the largest loss first.

    Args:
        champion, candidate: scored on the same pairs in the same order.
    """
    at = {pair.image_id: index for index, pair in enumerate(champion.pairs)}
    annotated = np.array([pair.annotations > 0 for pair in champion.pairs])
    found = []
    for name, ids in slices.items():
        chosen = np.zeros(len(champion.pairs))
        chosen[[at[image_id] for image_id in ids if image_id in at]] = 1
        if not chosen.any():
            continue
        here = annotated[chosen > 0]
        figure: Figure = "clean negatives" if not here.any() else "pmF1" if here.all() else "cgF1"
        old, new = (_value(score, chosen, figure) for score in (champion, candidate))
        found.append(Slice(name, int(chosen.sum()), figure, old, new))
    return sorted(found, key=lambda one: -one.loss)


def _value(score: CgF1, chosen: np.ndarray[Any, Any], figure: Figure) -> float:
    if figure == "clean negatives":
        kept = [pair for pair, wanted in zip(score.pairs, chosen, strict=True) if wanted]
        return sum(not pair.detections for pair in kept) / len(kept)
    figures = score.rows.weighted(chosen[None]).figures()
    return float((figures.cgf1 if figure == "cgF1" else figures.pmf1)[0])


def _names(row: Mapping[str, Any], sizes: list[float]) -> Iterable[str]:
    yield f"phrase {row['text_input']}"
    if row.get("source"):
        yield f"source {row['source']}"
    yield "upright pictures" if row["height"] > row["width"] else "wide pictures"
    if sizes:
        yield "one instance" if len(sizes) == 1 else "two or three instances" if len(sizes) < 4 else "four or more"
        yield "small things" if max(sizes) < SMALL else "large things"
    else:
        yield "negatives"
    yield from (str(name) for name in row.get("slices", ()))
