"""Things in single frames -> tracks through a clip.

A track predicts where its thing will be (constant velocity) and takes the best of the things found there: near,
of like size and like colour. A thing that is hidden for a while keeps its track. No model does this; the engine
sees each frame for itself. Called by `answers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sam3.types import FloatArray, UInt8Array
from sam3_agent.execution.pool import Thing, box_iou

MAX_HIDDEN = 30  # frames after which a lost thing is not taken up again
REACH = 2.0  # how far from its prediction a thing may be, in lengths of its own size
COLOUR = 0.22  # mean colours farther apart than this (0..1) are not one thing after a gap


@dataclass
class Track:
    """One thing through time: frame number -> thing."""

    number: int
    things: dict[int, Thing] = field(default_factory=dict)
    colour: FloatArray = field(default_factory=lambda: np.zeros(3, np.float32))
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    last: int = -1

    def predicted(self, frame: int) -> tuple[float, float]:
        """The expected centre, pixels."""
        thing, ahead = self.things[self.last], frame - self.last
        return thing.cx + float(self.velocity[0]) * ahead, thing.cy + float(self.velocity[1]) * ahead

    def take(self, frame: int, thing: Thing, colour: FloatArray) -> None:
        """Go on with `thing`."""
        if self.last >= 0:
            before, passed = self.things[self.last], frame - self.last
            step = np.array([(thing.cx - before.cx) / passed, (thing.cy - before.cy) / passed], np.float32)
            self.velocity = step if len(self.things) == 1 else 0.5 * self.velocity + 0.5 * step
            self.colour = 0.7 * self.colour + 0.3 * colour
        else:
            self.colour = colour
        self.things[frame] = thing
        self.last = frame


def follow(frames: Sequence[Sequence[Thing]], pixels: Sequence[UInt8Array]) -> list[Track]:
    """Link the things of each frame into tracks, numbered in order of appearance from 1.

    Args:
        frames: the things found in each frame.
        pixels: uint8 RGB (H, W, 3) of each frame, for the colours.
    """
    tracks: list[Track] = []
    for number, (things, image) in enumerate(zip(frames, pixels, strict=True)):
        colours = [mean_colour(thing, image) for thing in things]
        free = set(range(len(things)))
        alive = [track for track in tracks if number - track.last <= MAX_HIDDEN]
        pairs = [
            (cost, at, track)
            for track in alive
            for at, thing in enumerate(things)
            if (cost := _cost(track, thing, colours[at], number, image.shape[:2])) is not None
        ]
        taken: set[int] = set()
        for _, at, track in sorted(pairs, key=lambda pair: pair[0]):
            if at in free and track.number not in taken:
                track.take(number, things[at], colours[at])
                free.discard(at)
                taken.add(track.number)
        for at in sorted(free):
            track = Track(len(tracks) + 1)
            track.take(number, things[at], colours[at])
            tracks.append(track)
    return tracks


def mean_colour(thing: Thing, image: UInt8Array) -> FloatArray:
    """The mean RGB under the mask, 0..1; taken on a grid of at most some hundred pixels of its box."""
    x0, y0, x1, y1 = int(max(thing.x0, 0)), int(max(thing.y0, 0)), int(np.ceil(thing.x1)), int(np.ceil(thing.y1))
    step = max(1, int(thing.length // 24))
    patch, mask = image[y0:y1:step, x0:x1:step], thing.mask[y0:y1:step, x0:x1:step]
    inside = patch[mask]
    return (inside.mean(axis=0) / 255).astype(np.float32) if len(inside) else np.zeros(3, np.float32)


def _cost(track: Track, thing: Thing, colour: FloatArray, frame: int, size: tuple[int, ...]) -> float | None:
    """How badly a thing fits a track; None if it cannot be the same."""
    before, passed = track.things[track.last], frame - track.last
    x, y = track.predicted(frame)
    scale = max(before.length, thing.length, 1.0)
    away = float(np.hypot(thing.cx - x, thing.cy - y)) / scale
    overlap = box_iou(before.box, thing.box) if passed == 1 else 0.0
    if away > REACH + 0.25 * (passed - 1) and overlap == 0:
        return None
    shade = float(np.linalg.norm(colour - track.colour)) / np.sqrt(3)
    if shade > COLOUR and (passed > 1 or overlap < 0.3):
        return None
    ratio = abs(float(np.log(max(thing.area, 1) / max(before.area, 1))))
    if ratio > np.log(4) and not (_at_border(thing, size) or _at_border(before, size)):
        return None
    gone = passed > 1 and not (0 <= x <= size[1] and 0 <= y <= size[0])
    if gone and away > 0.5:
        return None
    return away + 0.4 * ratio + 4.0 * shade - overlap + 0.1 * (passed - 1)


def _at_border(thing: Thing, size: tuple[int, ...]) -> bool:
    return thing.x0 <= 1 or thing.y0 <= 1 or thing.x1 >= size[1] - 1 or thing.y1 >= size[0] - 1
