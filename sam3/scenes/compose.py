"""Compose a picture from cut-outs and a background, with the exact visible mask of every object.

The one compositor of the house: pretraining draws 10^5 to 10^6 small scenes with it, the barnyard its
folders of "photographs". Everything random comes from the `rng` handed in, so a seed is a scene. Geometry
comes first and decides who hides whom; only then is anything painted.
Try it: `python -m sam3.scenes.compose scene.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.scenes.pack import Cutout, Pack
from sam3.scenes.photometry import Photometry, object_colour, take_photograph
from sam3.types import BoolArray, FloatArray, UInt8Array

OPAQUE = 128  # alpha from which a pixel belongs to the object
PLACES_TRIED = 5
BORDER = cv2.BORDER_CONSTANT


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """What may happen to a scene. Lengths are shares of the picture's geometric mean side.

    Attributes:
        scale: range of an object's longest side, drawn evenly on a log scale.
        rotation: degrees, at most this much either way.
        flip: chance that an object is mirrored.
        overlap: chance that an object takes the first place drawn instead of the emptiest of five.
        overhang: how much of an object's half side may lie beyond the border.
        min_visible: an object that shows less of itself than this share is left out.
        min_pixels: ... or fewer pixels than this.
        shadow: strength of the soft shadow under objects, 0 for none.
        photometry: light, colour, blur, noise, JPEG; None leaves every pixel as it is.
    """

    scale: tuple[float, float] = (0.12, 0.6)
    rotation: float = 25.0
    flip: float = 0.5
    overlap: float = 0.35
    overhang: float = 0.35
    min_visible: float = 0.25
    min_pixels: int = 32
    shadow: float = 0.0
    photometry: Photometry | None = field(default_factory=Photometry)


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One object of a scene, as far as it can be seen.

    Attributes:
        mask: (H, W) bool, the visible part; masks of a scene never overlap.
        box: (4,) float32 xyxy in pixels, tight on the mask; x2 and y2 are exclusive.
        visible_share: visible pixels over the pixels of the whole object, in (0, 1].
        size_rank: 0 for the object with the largest visible area.
    """

    cutout: Cutout
    mask: BoolArray
    box: FloatArray
    visible_share: float
    size_rank: int


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture, (H, W, 3) uint8 RGB, and its objects from back to front."""

    image: UInt8Array
    objects: list[SceneObject]


@dataclass(slots=True, eq=False)
class _Placed:
    """A warped cut-out and where it lies; `patch` covers only the part inside the picture."""

    cutout: Cutout
    patch: NDArray[Any]  # (h, w, 4) uint8, premultiplied
    hit: BoolArray  # (h, w)
    window: tuple[slice, slice]
    area: float  # opaque pixels of the whole object, inside the picture or not


def compose(
    rng: np.random.Generator,
    cutouts: Sequence[Cutout],
    background: UInt8Array,
    size: tuple[int, int],
    options: ComposeOptions,
) -> Scene:
    """Put every cut-out once on the background.

    Args:
        rng: the only source of chance; the same state gives the same scene.
        cutouts: from back to front; repeat one for several instances of it.
        background: (H, W, 3) uint8 RGB of any size; a crop of it is used.
        size: (width, height) of the scene in pixels.
        options: see `ComposeOptions`.

    Returns:
        The scene. Objects hidden or pushed out too far are missing from picture and list alike.
    """
    image = crop_background(rng, background, size)
    placed: list[_Placed] = []
    for cutout in cutouts:
        spot = _place(rng, cutout, size, options, [p.window for p in placed])
        if spot is not None:
            placed.append(spot)
    placed, owner = _settle(placed, size, options)
    for spot in placed:
        _paint(rng, image, spot, options)
    if options.photometry is not None:
        image = take_photograph(rng, image, options.photometry)
    return Scene(image, _objects(placed, owner))


def crop_background(rng: np.random.Generator, background: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """A random window of the background with the scene's shape, perhaps mirrored; a fresh (H, W, 3) array."""
    width, height = size
    rows, columns = background.shape[:2]
    zoom = rng.uniform(0.55, 1.0) * min(columns / width, rows / height)
    w, h = max(1, int(width * zoom)), max(1, int(height * zoom))
    x, y = int(rng.integers(0, columns - w + 1)), int(rng.integers(0, rows - h + 1))
    how = cv2.INTER_AREA if zoom > 1.5 else cv2.INTER_LINEAR
    view = cv2.resize(background[y : y + h, x : x + w], size, interpolation=how)
    return np.asarray(cv2.flip(view, 1) if rng.random() < 0.5 else view, np.uint8)


def _place(
    rng: np.random.Generator,
    cutout: Cutout,
    size: tuple[int, int],
    options: ComposeOptions,
    taken: list[tuple[slice, slice]],
) -> _Placed | None:
    """Scale, turn and move a cut-out; None when it misses the picture."""
    source: NDArray[Any] = cutout.premultiplied
    low, high = np.log(options.scale)
    longest = float(np.exp(rng.uniform(low, high))) * (size[0] * size[1]) ** 0.5
    scale = longest / max(source.shape[:2])
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation))
    mirror = -1.0 if rng.random() < options.flip else 1.0
    if scale < 0.6:  # averaging first: a bilinear warp would skip pixels
        shrunk = (max(2, round(source.shape[1] * scale)), max(2, round(source.shape[0] * scale)))
        source, scale = cv2.resize(source, shrunk, interpolation=cv2.INTER_AREA), 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.diag([mirror, 1.0])
    rows, columns = source.shape[:2]
    half = np.abs(linear) @ np.array([columns, rows]) / 2
    centre = _centre(rng, half, size, options, taken)
    left, top = np.maximum(np.floor(centre - half), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + half), size).astype(int)
    if right - left < 2 or bottom - top < 2:
        return None
    offset = centre - linear @ np.array([columns / 2, rows / 2]) - (left, top) + linear.sum(1) / 2 - 0.5
    matrix = np.column_stack([linear, offset])
    patch = cv2.warpAffine(source, matrix, (int(right - left), int(bottom - top)), borderMode=BORDER)
    area = float((source[..., 3] >= OPAQUE).sum()) * scale**2
    window = (slice(int(top), int(bottom)), slice(int(left), int(right)))
    return _Placed(cutout, patch, patch[..., 3] >= OPAQUE, window, area)


def _centre(
    rng: np.random.Generator,
    half: NDArray[np.float64],
    size: tuple[int, int],
    options: ComposeOptions,
    taken: list[tuple[slice, slice]],
) -> NDArray[np.float64]:
    """Where an object's middle goes: (2,) xy pixels."""
    margin = np.minimum(half * (1 - options.overhang), np.array(size) / 2)
    places = rng.uniform(margin, np.array(size) - margin + 1e-6, size=(PLACES_TRIED, 2))
    if not taken or rng.random() < options.overlap:
        return places[0]
    boxes = np.array([(c.start, r.start, c.stop, r.stop) for r, c in taken], dtype=np.float64)
    low = np.maximum((places - half)[:, None], boxes[None, :, :2])
    high = np.minimum((places + half)[:, None], boxes[None, :, 2:])
    return places[np.clip(high - low, 0, None).prod(-1).sum(1).argmin()]


def _settle(
    placed: list[_Placed], size: tuple[int, int], options: ComposeOptions
) -> tuple[list[_Placed], NDArray[np.uint8]]:
    """Leave out who is hidden too much, worst first, as leaving one out uncovers others.

    Returns:
        Who stays, and (H, W) uint8: 0 for background, else 1 + the index of the object on top.
    """
    while True:
        owner = np.zeros(size[::-1], np.uint8)
        for number, spot in enumerate(placed, start=1):
            owner[spot.window][spot.hit] = number
        seen = np.bincount(owner.ravel(), minlength=len(placed) + 1)[1:]
        shares = [pixels / max(spot.area, 1.0) for pixels, spot in zip(seen, placed, strict=True)]
        bad = [n for n, share in enumerate(shares) if share < options.min_visible or seen[n] < options.min_pixels]
        if not bad:
            return placed, owner
        placed = [spot for n, spot in enumerate(placed) if n != min(bad, key=lambda n: shares[n])]


def _paint(rng: np.random.Generator, image: UInt8Array, spot: _Placed, options: ComposeOptions) -> None:
    """Blend one object into the picture, in place."""
    patch = spot.patch
    if options.photometry is not None:
        patch = cv2.transform(patch, object_colour(rng, options.photometry))
    if options.shadow > 0:
        _cast_shadow(image, spot, options.shadow)
    view = image[spot.window]
    clear = cv2.cvtColor(255 - spot.patch[..., 3], cv2.COLOR_GRAY2RGB)
    view[:] = cv2.add(cv2.multiply(view, clear, scale=1 / 255), np.ascontiguousarray(patch[..., :3]))


def _cast_shadow(image: UInt8Array, spot: _Placed, strength: float) -> None:
    """Darken the ground softly below the object; the object itself is painted over it."""
    rows, columns = spot.window
    reach = max(2, (rows.stop - rows.start) // 10)
    window = (
        slice(max(0, rows.start - reach), min(image.shape[0], rows.stop + 2 * reach)),
        slice(max(0, columns.start - reach), min(image.shape[1], columns.stop + reach)),
    )
    shade: NDArray[Any] = np.zeros(image[window].shape[:2], np.uint8)
    y, x = rows.start - window[0].start + reach // 2, columns.start - window[1].start
    cast = shade[y : y + spot.patch.shape[0], x : x + spot.patch.shape[1]]
    cast[:] = spot.patch[: cast.shape[0], : cast.shape[1], 3]
    shade = cv2.blur(cv2.blur(shade, (2 * reach + 1, reach + 1)), (reach + 1, reach + 1))
    keep = cv2.cvtColor(255 - cv2.convertScaleAbs(shade, alpha=strength), cv2.COLOR_GRAY2RGB)
    image[window] = cv2.multiply(image[window], keep, scale=1 / 255)


def _objects(placed: list[_Placed], owner: NDArray[np.uint8]) -> list[SceneObject]:
    areas = np.bincount(owner.ravel(), minlength=len(placed) + 1)[1:]
    ranks = np.argsort(np.argsort(-areas, kind="stable"), kind="stable")
    found = []
    for number, spot in enumerate(placed, start=1):
        mask = owner == number
        part = mask[spot.window]
        ys, xs = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        top, left = spot.window[0].start, spot.window[1].start
        box = np.array([left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1], np.float32)
        share = min(1.0, float(areas[number - 1] / max(spot.area, 1.0)))
        found.append(SceneObject(spot.cutout, mask, box, share, int(ranks[number - 1])))
    return found


if __name__ == "__main__":
    import sys

    pack, chance = Pack.load(), np.random.default_rng()
    picks = [pack.cutouts[i] for i in chance.integers(0, len(pack.cutouts), 6)]
    behind = pack.backgrounds[int(chance.integers(0, len(pack.backgrounds)))].rgb
    drawn = compose(chance, picks, behind, (480, 360), ComposeOptions(shadow=0.4))
    cv2.imwrite(sys.argv[1], cv2.cvtColor(drawn.image, cv2.COLOR_RGB2BGR))
    print(", ".join(f"{o.cutout.concept} ({o.visible_share:.0%} visible)" for o in drawn.objects))
