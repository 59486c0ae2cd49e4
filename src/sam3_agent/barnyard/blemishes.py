"""What real folders are like: a plan of names, suffixes, rotations and label forms for every picture.

Shares are dealt, not drawn: every form that is due at least once appears, however few pictures there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal, TypeVar

import numpy as np

K = TypeVar("K")
LabelForm = Literal[
    "yolo-polygons",
    "yolo-boxes",
    "labelme",
    "labelme-rectangle",
    "labelme-circle",
    "empty",
    "missing",
    "others",
]
POSITIVE_FORMS: Mapping[LabelForm, float] = {
    "yolo-polygons": 0.46,
    "labelme": 0.38,
    "yolo-boxes": 0.12,
    "labelme-rectangle": 0.02,
    "labelme-circle": 0.02,
}
NEGATIVE_FORMS: Mapping[LabelForm, float] = {"empty": 0.40, "missing": 0.35, "labelme": 0.15, "others": 0.10}
SUFFIXES = {".jpg": 0.72, ".JPG": 0.09, ".jpeg": 0.05, ".png": 0.07, ".PNG": 0.04, ".webp": 0.03}
JPEGS = {".jpg", ".jpeg"}
STEMS = {
    "IMG_{:04d}": 0.55,
    "DSC{:05d}": 0.2,
    "photo {:d}": 0.1,
    "yard-{:04d}": 0.09,
    "Bauernhof-Süd_{:04d}": 0.02,
    "ферма_{:04d}": 0.02,
    "農場_{:04d}": 0.02,
}
AMBIGUOUS_SHARE, ROTATED_SHARE = 0.015, 0.06
ORIENTATIONS = (6, 8, 3)  # EXIF: turn right, turn left, upside down


@dataclass(frozen=True, slots=True)
class Blemish:
    """How one picture is named, stored and labelled.

    Attributes:
        stem: file name without suffix; starts with the farm.
        orientation: EXIF orientation of the stored pixels; 1 is upright.
        form: of the label file.
        ambiguous: one of its near misses goes by an ambiguous class name.
    """

    farm: int
    positive: bool
    stem: str
    suffix: str
    orientation: int
    form: LabelForm
    ambiguous: bool


def plan_blemishes(
    rng: np.random.Generator, pictures: int, farm_names: list[str], positive: float = 0.5
) -> list[Blemish]:
    """A plan for `pictures` pictures, dealt evenly to the farms; `positive` is the share of each that shows the concept."""
    farms = [index % len(farm_names) for index in range(pictures)]
    share = Fraction(positive).limit_denominator(10_000)  # exact: 30 times 0.1 is 3
    sides = [
        ceil((at + 1) * share) > ceil(at * share) for at in (index // len(farm_names) for index in range(pictures))
    ]
    suffixes = deal(rng, pictures, SUFFIXES)
    stems = deal(rng, pictures, STEMS)
    forms: dict[bool, list[LabelForm]] = {
        True: deal(rng, sum(sides), POSITIVE_FORMS),
        False: deal(rng, pictures - sum(sides), NEGATIVE_FORMS),
    }
    turned = _some(rng, [i for i, suffix in enumerate(suffixes) if suffix.lower() in JPEGS], ROTATED_SHARE)
    vague = {i for side in (True, False) for i in _some(rng, _on(sides, side), AMBIGUOUS_SHARE)}
    plan = []
    for index in range(pictures):
        form = forms[sides[index]].pop()
        if index in vague:  # the ambiguous name needs a label with outlines to stand in
            form = "labelme"
        turn = ORIENTATIONS[turned.index(index) % len(ORIENTATIONS)] if index in turned else 1
        stem = f"{farm_names[farms[index]]}_{stems[index].format(index)}"
        plan.append(Blemish(farms[index], sides[index], stem, suffixes[index], turn, form, index in vague))
    return plan


def deal(rng: np.random.Generator, number: int, shares: Mapping[K, float]) -> list[K]:
    """`number` items in the given shares, shuffled; the rarest come first when there are too few for all."""
    cards: list[K] = []
    for item, share in sorted(shares.items(), key=lambda pair: pair[1]):
        cards += [item] * max(1, round(share * number))
    cards = (cards + [max(shares, key=lambda item: shares[item])] * number)[:number]
    return [cards[at] for at in rng.permutation(number)]


def _on(sides: list[bool], side: bool) -> list[int]:
    return [index for index, positive in enumerate(sides) if positive == side]


def _some(rng: np.random.Generator, among: list[int], share: float) -> list[int]:
    """A few of the indices, at least one when there are any."""
    number = min(len(among), max(1, round(share * len(among))))
    return sorted(int(index) for index in rng.permutation(among)[:number])
