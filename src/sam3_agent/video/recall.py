"""Things that went out of sight, and whether a newcomer is one of them.

ByteTrack recognises what comes back where its box was expected. A thing that goes behind another shrinks from one side
before it is gone and grows from the other when it returns, and its box is expected in the wrong place. Here the whole thing goes on
in mind: its middle moves as its visible part last moved (by optical flow, which hiding does not disturb), at the size it had
when it was whole. A newcomer that lies within, looks alike and is not larger is that thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam3.types import BoolArray, FloatArray, UInt8Array

WHOLE = 0.85  # share of the largest area seen lately from which a thing counts as wholly visible
SMOOTHING = 0.3
INSIDE = 0.6  # share of a newcomer's box that lies in the expected one
ROOM = 1.4  # the expected box is this much larger than the thing, for what prediction does not know
ALIKE = 0.12  # distance of mean colours, 0..1
LARGER = 1.5  # than the whole thing was, at most
MOST = 50  # things in mind


@dataclass(eq=False)
class Manner:
    """How a thing looks and moves.

    Attributes:
        middle: (2,) xy pixels of the whole thing. size: (2,) of its box. velocity: (2,) pixels a second.
        colour: (3,) mean RGB, 0..1. largest: pixels, fading. whole: whether all of it was seen last.
    """

    middle: FloatArray
    size: FloatArray
    colour: FloatArray
    largest: float
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    whole: bool = True

    @property
    def box(self) -> FloatArray:
        """(4,) xyxy of the whole thing, hidden parts included."""
        return np.concatenate([self.middle - self.size / 2, self.middle + self.size / 2])

    @classmethod
    def of(cls, box: FloatArray, mask: BoolArray, pixels: UInt8Array) -> Manner:
        """Of a thing seen for the first time."""
        area = float(np.count_nonzero(mask))
        return cls(
            np.asarray((box[:2] + box[2:]) / 2, np.float32), box[2:] - box[:2], mean_colour(pixels, mask, box), area
        )

    def moved(self, step: NDArray[np.floating], seconds: float) -> None:
        """The visible part has moved by `step` pixels in `seconds`; of a sliver beside what hides it that is not believed."""
        if not self.whole:
            self.middle = self.middle + self.velocity * seconds
            return
        self.middle = self.middle + np.asarray(step, np.float32)
        speed = np.asarray(step, np.float32) / max(seconds, 1e-3)
        self.velocity = self.velocity + SMOOTHING * (speed - self.velocity)

    def seen(self, box: FloatArray, mask: BoolArray, pixels: UInt8Array) -> None:
        """Detected again: a whole view says where the middle is, a partial one does not."""
        area = float(np.count_nonzero(mask))
        self.largest = max(area, 0.97 * self.largest)
        self.whole = area >= WHOLE * self.largest
        if self.whole:
            self.middle, self.size = np.asarray((box[:2] + box[2:]) / 2, np.float32), box[2:] - box[:2]
            self.colour = 0.7 * self.colour + 0.3 * mean_colour(pixels, mask, box)

    def scaled(self, factor: FloatArray) -> None:
        """The frames have another size."""
        self.middle, self.size, self.velocity = self.middle * factor, self.size * factor, self.velocity * factor
        self.largest *= float(factor.prod())


@dataclass
class Recall:
    """The things out of sight. `seconds`: how long one is kept in mind."""

    seconds: float
    _gone: dict[int, tuple[str, Manner, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._gone)

    def lost(self, number: int, phrase: str, manner: Manner, time: float) -> None:
        """A track went out of sight."""
        self._gone[number] = (phrase, manner, time)
        for old in [n for n, (_, _, since) in self._gone.items() if time - since > self.seconds]:
            del self._gone[old]
        while len(self._gone) > MOST:
            del self._gone[next(iter(self._gone))]

    def found(self, phrase: str, new: Manner, time: float, missed: Mapping[int, Manner]) -> int | None:
        """The number of the thing that a newcomer is, which is then no longer out of sight; None if it is none of them.

        Args:
            missed: things that should be in sight and were not found in this very look.
        """
        best: tuple[float, int] | None = None
        for number, (name, old, since) in [*self._gone.items(), *((n, (phrase, m, time)) for n, m in missed.items())]:
            passed = time - since
            if name != phrase or passed > self.seconds:
                continue
            shade = float(np.linalg.norm(new.colour - old.colour)) / 3**0.5
            expected = old.middle + old.velocity * passed
            inside = _inside(new, expected, old.size * ROOM)
            if inside < INSIDE or shade > ALIKE or new.largest > LARGER * old.largest:
                continue
            away = float(np.linalg.norm((new.middle - expected) / np.maximum(old.size, 1))) + shade
            if best is None or away < best[0]:
                best = (away, number)
        if best is None:
            return None
        self._gone.pop(best[1], None)
        return best[1]

    def forget(self, number: int) -> None:
        """It is in sight again."""
        self._gone.pop(number, None)


def mean_colour(pixels: UInt8Array, mask: BoolArray, box: FloatArray) -> FloatArray:
    """(3,) mean RGB under a mask, 0..1."""
    import cv2

    x0, y0, x1, y1 = (int(v) for v in np.clip(box, 0, [pixels.shape[1], pixels.shape[0]] * 2))
    if x1 <= x0 or y1 <= y0:
        return np.zeros(3, np.float32)
    inside = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8)
    return np.array(cv2.mean(np.ascontiguousarray(pixels[y0:y1, x0:x1]), inside)[:3], np.float32) / np.float32(255)


def _inside(new: Manner, middle: FloatArray, size: FloatArray) -> float:
    """The share of the newcomer's box that lies in the box of `size` around `middle`."""
    low = np.maximum(new.middle - new.size / 2, middle - size / 2)
    high = np.minimum(new.middle + new.size / 2, middle + size / 2)
    return float(np.clip(high - low, 0, None).prod() / max(float(new.size.prod()), 1.0))
