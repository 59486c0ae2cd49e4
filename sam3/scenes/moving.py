"""Cut-outs that move over a photograph, frame by frame, with the exact visible mask of every one.

What a tracker is judged by: things pass in front of each other, leave and come in, turn and grow, and the camera shakes.
A scene is drawn from the `rng` alone and any frame can be asked for. Try it: `python -m sam3.scenes.moving scene.gif`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.scenes.compose import OPAQUE, crop_background
from sam3.scenes.pack import Cutout
from sam3.types import BoolArray, UInt8Array

ROOM = 48  # pixels of background beyond each border, for the camera to shake in


@dataclass(frozen=True, slots=True)
class MovingOptions:
    """What may happen.

    Attributes:
        size: (width, height) of frames in pixels. frames: how many. rate: a second.
        scale: range of a thing's longest side, as a share of the picture's mean side.
        speed: range of pixels a frame. turn: degrees a frame at most. growth: share a frame at most.
        shake: pixels that the camera wanders about (standard deviation), slowly and in jerks.
        late: share of things that come in after the start.
        min_pixels: a thing that shows fewer is not counted as there.
    """

    size: tuple[int, int] = (640, 480)
    frames: int = 150
    rate: float = 25.0
    scale: tuple[float, float] = (0.16, 0.32)
    speed: tuple[float, float] = (1.0, 4.5)
    turn: float = 0.5
    growth: float = 0.002
    shake: float = 4.0
    late: float = 0.4
    min_pixels: int = 120


@dataclass(frozen=True, eq=False)
class MovingFrame:
    """A picture, uint8 RGB (H, W, 3); thing -> its visible mask, bool (H, W); thing -> visible share of it."""

    image: UInt8Array
    masks: dict[int, BoolArray]
    shares: dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """A thing's way: centre at `middle` in frame `at`, `velocity` pixels a frame, swaying."""

    patch: NDArray[np.uint8]
    at: float
    middle: NDArray[np.float64]
    velocity: NDArray[np.float64]
    sway: NDArray[np.float64]
    phase: float
    turn: float
    growth: float


class MovingScene:
    """A clip of things that move. Those later in the list are nearer to the camera.

    Args:
        rng: the only source of chance.
        cutouts: the things; repeat one for several of a kind.
        background: (H, W, 3) uint8 RGB of any size.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        cutouts: Sequence[Cutout],
        background: UInt8Array,
        options: MovingOptions | None = None,
    ) -> None:
        self.options = options or MovingOptions()
        self.cutouts = list(cutouts)
        width, height = self.options.size
        self._ground = crop_background(rng, background, (width + 2 * ROOM, height + 2 * ROOM))
        self._paths = [self._path(rng, cutout) for cutout in cutouts]
        steps = rng.normal(0, 1, (self.options.frames + 40, 2))
        slow = np.apply_along_axis(lambda s: np.convolve(s, np.ones(25) / 5, "same"), 0, steps)
        jerks = steps * (rng.random((len(steps), 1)) < 0.1)
        self._camera = np.clip(self.options.shake * (0.6 * slow + 0.5 * jerks), -ROOM + 2, ROOM - 2)

    def __len__(self) -> int:
        return self.options.frames

    def frame(self, number: int) -> MovingFrame:
        """The picture of one moment and what is to be seen in it."""
        width, height = self.options.size
        camera = self._camera[number]
        shift = np.array([[1, 0, camera[0] - ROOM], [0, 1, camera[1] - ROOM]])
        image = cv2.warpAffine(self._ground, shift, (width, height), flags=cv2.INTER_LINEAR)
        owner = np.zeros((height, width), np.uint8)
        areas = []
        for thing, path in enumerate(self._paths, start=1):
            patch, area = self._drawn(path, number, camera)
            alpha = patch[..., 3]
            areas.append(area)
            if alpha.any():
                clear = cv2.cvtColor(255 - alpha, cv2.COLOR_GRAY2RGB)
                image = cv2.add(cv2.multiply(image, clear, scale=1 / 255), np.ascontiguousarray(patch[..., :3]))
                owner[alpha >= OPAQUE] = thing
        masks, shares = {}, {}
        for thing, area in enumerate(areas, start=1):
            mask = owner == thing
            pixels = int(np.count_nonzero(mask))
            if pixels >= self.options.min_pixels:
                masks[thing], shares[thing] = mask, min(1.0, pixels / max(area, 1.0))
        return MovingFrame(np.asarray(image, np.uint8), masks, shares)

    def _drawn(self, path: _Path, number: int, camera: NDArray[np.float64]) -> tuple[NDArray[np.uint8], float]:
        """The thing alone on its frame, premultiplied RGBA, and the pixels of the whole of it."""
        passed = number - path.at
        centre = path.middle + path.velocity * passed + path.sway * np.sin(path.phase + passed / 9) + camera
        angle, size = np.deg2rad(path.turn * passed), float(np.exp(np.clip(path.growth * passed, -0.4, 0.4)))
        linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows, columns = path.patch.shape[:2]
        matrix = np.column_stack([linear, centre - linear @ np.array([columns / 2, rows / 2])])
        drawn = cv2.warpAffine(path.patch, matrix, self.options.size, flags=cv2.INTER_LINEAR)
        return np.asarray(drawn, np.uint8), float((path.patch[..., 3] >= OPAQUE).sum()) * size**2

    def _path(self, rng: np.random.Generator, cutout: Cutout) -> _Path:
        options, (width, height) = self.options, self.options.size
        longest = float(np.exp(rng.uniform(*np.log(options.scale)))) * (width * height) ** 0.5
        source = cutout.premultiplied
        scale = longest / max(source.shape[:2])
        shape = (max(8, round(source.shape[1] * scale)), max(8, round(source.shape[0] * scale)))
        patch = cv2.resize(source, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        way, pace = rng.uniform(0, 2 * np.pi), rng.uniform(*options.speed)
        velocity = pace * np.array([np.cos(way), 0.5 * np.sin(way)])
        late = rng.random() < options.late
        at = rng.uniform(0.3, 1.0) * options.frames if late else rng.uniform(0, 0.3) * options.frames
        middle = rng.uniform(0.15, 0.85, 2) * (width, height)
        return _Path(
            np.asarray(patch, np.uint8), at, middle, velocity, rng.uniform(-6, 6, 2), rng.uniform(0, 6),
            rng.uniform(-options.turn, options.turn), rng.uniform(-options.growth, options.growth),
        )  # fmt: skip


def moving_scene(seed: int, things: int = 6, options: MovingOptions | None = None, kinds: int = 2) -> MovingScene:
    """A scene of the pack's photographed cut-outs over one of its photographs.

    Args:
        seed: a seed is a scene. things: how many. kinds: of how many concepts.
    """
    from sam3.scenes.pack import Pack

    rng, pack = np.random.default_rng(seed), Pack.load()
    photos = [cutout for cutout in pack.select(photos=True) if min(cutout.rgba.shape[:2]) >= 48]
    concepts = list(dict.fromkeys(cutout.concept for cutout in photos))
    chosen = [concepts[i] for i in rng.choice(len(concepts), min(kinds, len(concepts)), replace=False)]
    among = [cutout for cutout in photos if cutout.concept in chosen]
    cutouts = [among[i] for i in rng.integers(0, len(among), things)]
    background = pack.backgrounds[int(rng.integers(0, len(pack.backgrounds)))].rgb
    return MovingScene(rng, cutouts, background, options)


if __name__ == "__main__":
    import sys

    from PIL import Image

    clip = moving_scene(int(sys.argv[2]) if len(sys.argv) > 2 else 0, options=MovingOptions(frames=75, size=(320, 240)))
    pictures = [Image.fromarray(clip.frame(number).image) for number in range(len(clip))]
    pictures[0].save(sys.argv[1], save_all=True, append_images=pictures[1:], duration=40, loop=0)
    print(", ".join(cutout.concept for cutout in clip.cutouts))
