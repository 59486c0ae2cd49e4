"""Stage one picture of a farm: who stands in it, and outlines true to what can be seen.

Between `farms` (who may) and `labels` (how it is written down). A scene whose outlines cannot follow the
masks is staged again, so labels are as good as a careful annotator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.scenes.compose import ComposeOptions, Scene, SceneObject, compose
from sam3.scenes.pack import Cutout
from sam3.scenes.photometry import Photometry
from sam3.types import BoolArray, FloatArray, UInt8Array
from sam3_agent.barnyard.farms import Farm

NATURAL = ComposeOptions(
    scale=(0.14, 0.6),
    rotation=10.0,
    overlap=0.3,
    overhang=0.25,
    min_pixels=150,
    shadow=0.45,
    photometry=Photometry(object_hue=4.0, light=0.2, gamma=0.15, blur=0.2, noise=0.3),
)
INSTANCES = (0.45, 0.27, 0.15, 0.08, 0.05)  # chances of one to five
PHOTO_SHARE = 0.8  # photographs are drawn this often where a farm has both
FINE = 4  # outlines are traced on a grid this much finer than the pixels
MIN_IOU = 0.955  # of an outline with its mask
ATTEMPTS = 30  # to show what was asked
FAITHFUL_ATTEMPTS = 6  # of those, to get every outline right: some objects have no single outline


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A visible object and the polygon an annotator would draw around it.

    Attributes:
        outline: (K, 2) float32 xy pixels, x in [0, W], y in [0, H].
        fidelity: IoU of the filled outline with the mask.
    """

    thing: SceneObject
    outline: FloatArray
    fidelity: float


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A staged picture, (H, W, 3) uint8 RGB, upright, with everybody in it."""

    image: UInt8Array
    shown: list[Subject]  # the concept
    near: list[Subject]  # same kind, not the concept

    @property
    def fidelity(self) -> float:
        """IoU of the worst outline of the concept with its mask; 1 for a negative."""
        return min((subject.fidelity for subject in self.shown), default=1.0)


def stage(
    rng: np.random.Generator, farm: Farm, size: tuple[int, int], *, positive: bool, with_near: bool = False
) -> Picture:
    """Draw a picture of the farm.

    Args:
        size: (width, height), pixels.
        positive: whether the concept is in it.
        with_near: insist on a near miss, for a label that calls it by an ambiguous name.

    Returns:
        The first of a few tries that shows what was asked with faithful outlines; for objects like bicycles,
        which no single outline follows, the most faithful of them.
    """
    near, individuals = set(farm.near), set(farm.individuals)
    tries: list[Picture] = []
    for _ in range(ATTEMPTS):
        cast = _cast(rng, farm, positive=positive, with_near=with_near and bool(farm.near))
        behind = farm.backgrounds[int(rng.integers(len(farm.backgrounds)))].rgb
        scene = compose(rng, cast, behind, size, NATURAL)
        picture = Picture(scene.image, _subjects(scene, individuals), _subjects(scene, near))
        if bool(picture.shown) != positive or (with_near and farm.near and not picture.near):
            continue
        tries.append(picture)
        if picture.fidelity >= MIN_IOU or len(tries) == FAITHFUL_ATTEMPTS:
            break
    if not tries:  # every draw was hidden or too small, which 30 times over does not happen by chance
        raise RuntimeError(f"{farm.name}: no scene shows what was asked")
    return max(tries, key=lambda picture: picture.fidelity)


def outline(mask: BoolArray) -> tuple[FloatArray, float]:
    """The polygon around the largest part of a mask, and its IoU with the whole mask.

    Args:
        mask: (H, W) bool with at least one pixel.

    Returns:
        (K, 2) float32 xy on pixel edges, K >= 3, and the IoU in [0, 1].
    """
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corner = np.array([xs[0], ys[0]])
    part = np.ascontiguousarray(mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1], dtype=np.uint8)
    fine = cv2.copyMakeBorder(np.kron(part, np.ones((FINE, FINE), np.uint8)), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    rings, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring = max(rings, key=cv2.contourArea)
    points, iou = ring[:, 0], 0.0
    for tolerance in (0.8, 0.4, 0.2):
        points = cv2.approxPolyDP(ring, tolerance * FINE, True)[:, 0]
        if len(points) >= 3 and (iou := _iou(points, fine)) >= MIN_IOU:
            break
    xy = (points - 0.5) / FINE + corner  # minus the border of one, plus half a fine pixel to its centre
    return np.clip(xy, corner, corner + part.shape[::-1]).astype(np.float32), iou


def _iou(points: NDArray[Any], fine: NDArray[Any]) -> float:
    filled: NDArray[Any] = np.zeros_like(fine)
    cv2.fillPoly(filled, [points], 1)
    return float((filled & fine).sum() / max(1, (filled | fine).sum()))


def _subjects(scene: Scene, cutouts: set[Cutout]) -> list[Subject]:
    return [Subject(thing, *outline(thing.mask)) for thing in scene.objects if thing.cutout in cutouts]


def _cast(rng: np.random.Generator, farm: Farm, *, positive: bool, with_near: bool) -> list[Cutout]:
    """Who stands in the picture, from back to front."""
    if positive:
        number = 1 + int(rng.choice(len(INSTANCES), p=INSTANCES))
        counts = (number, *rng.choice(3, 3, p=(0.5, 0.35, 0.15)))
    else:
        counts = (
            0,
            1 + int(rng.integers(3)) if rng.random() < 0.85 else 0,
            *rng.choice(3, 2, p=(0.4, 0.4, 0.2)),
        )
    pools = (farm.individuals, farm.near, farm.others, farm.clutter)
    counts = tuple(max(n, 1) if with_near and pool is farm.near else n for n, pool in zip(counts, pools, strict=True))
    cast = [_pick(rng, pool) for n, pool in zip(counts, pools, strict=True) if pool for _ in range(int(n))]
    return [cast[at] for at in rng.permutation(len(cast))]


def _pick(rng: np.random.Generator, pool: Sequence[Cutout]) -> Cutout:
    photos = [c for c in pool if c.is_photo]
    drawings = [c for c in pool if not c.is_photo]
    tier = photos if photos and (not drawings or rng.random() < PHOTO_SHARE) else drawings
    return tier[int(rng.integers(len(tier)))]
