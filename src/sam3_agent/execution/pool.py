"""The things found in one picture, each once, whatever phrases found them.

Every detection becomes a `Thing`; one whose mask agrees with a known thing's is that thing. Unions, exclusions
("cars but not the red ones") and refinements over turns are then plain set operations on numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sam3.types import BoolArray, Detections, FloatArray

SAME_MASK_IOU = 0.7  # two masks of one thing: phrases segment it a little differently, neighbours overlap far less


@dataclass(eq=False)
class Thing:
    """One instance in one picture: its mask, its box (xyxy pixels), and the surest phrase that found it."""

    number: int
    mask: BoolArray
    box: tuple[float, float, float, float]
    score: float
    label: str
    area: int = 0
    scale: float = 1.0  # original pixels per pixel of the mask

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        self.x0, self.y0, self.x1, self.y1 = x0, y0, x1, y1
        self.cx, self.cy = (x0 + x1) / 2, (y0 + y1) / 2
        self.width, self.height = x1 - x0, y1 - y0
        self.length = max(self.width, self.height)
        self.area = int(np.count_nonzero(self.mask))


@dataclass
class Pool:
    """All things of one picture of `height` x `width` pixels, and which phrase found which.

    `scale`: original pixels per pixel, for a picture that is looked at smaller than it is.
    """

    height: int
    width: int
    scale: float = 1.0
    things: list[Thing] = field(default_factory=list)
    found: dict[str, tuple[int, ...]] = field(default_factory=dict)
    presence: dict[str, float] = field(default_factory=dict)

    def add(self, phrase: str, detections: Detections, threshold: float) -> None:
        """Take in what a phrase found with a score of at least `threshold`."""
        self.presence[phrase] = float(detections.presence)
        numbers: list[int] = []
        for box, score, mask in zip(detections.boxes, detections.scores, detections.masks, strict=True):
            if score < threshold:
                continue
            thing = self._known(mask, box) or self._new(mask, box, float(score), phrase)
            if thing.number not in numbers:
                numbers.append(thing.number)
        self.found[phrase] = tuple(numbers)

    def extend(self, phrase: str, key: str, detections: Detections, threshold: float) -> None:
        """Take in what an exemplar found as more of what `phrase` means; `key` says that it was done."""
        known = self.found.get(phrase, ())
        presence = self.presence.get(phrase, 0.0)
        self.add(phrase, detections, threshold)
        self.presence[phrase] = max(presence, float(detections.presence))
        self.found[key] = ()
        self.found[phrase] = tuple(dict.fromkeys((*known, *self.found[phrase])))

    @property
    def nbytes(self) -> int:
        """Memory that the masks hold."""
        return sum(thing.mask.nbytes for thing in self.things)

    def _new(self, mask: BoolArray, box: FloatArray, score: float, label: str) -> Thing:
        x0, y0, x1, y1 = (float(value) for value in box)
        thing = Thing(len(self.things), mask, (x0, y0, x1, y1), score, label, scale=self.scale)
        self.things.append(thing)
        return thing

    def _known(self, mask: BoolArray, box: FloatArray) -> Thing | None:
        """The thing that this mask shows, if it is in the pool."""
        for thing in self.things:
            if box_iou(thing.box, box) > 0.5 and mask_iou(thing, mask, box) >= SAME_MASK_IOU:
                return thing
        return None

    def detections(self, numbers: list[int] | tuple[int, ...], presence: float, labels: dict[int, str]) -> Detections:
        """Chosen things as `Detections`, with a label each."""
        if not numbers:
            return Detections.empty(self.height, self.width, presence)
        chosen = [self.things[number] for number in numbers]
        return Detections(
            boxes=np.array([thing.box for thing in chosen], np.float32),
            scores=np.array([thing.score for thing in chosen], np.float32),
            masks=np.stack([thing.mask for thing in chosen]),
            presence=presence,
            labels=[labels.get(thing.number, thing.label) for thing in chosen],
        )


def box_iou(first: tuple[float, ...] | FloatArray, second: tuple[float, ...] | FloatArray) -> float:
    """Intersection over union of two xyxy boxes."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = float(wide * high)
    both = float((first[2] - first[0]) * (first[3] - first[1]) + (second[2] - second[0]) * (second[3] - second[1]))
    return shared / max(both - shared, 1e-6)


def mask_iou(thing: Thing, mask: BoolArray, box: FloatArray) -> float:
    """Intersection over union of a thing's mask and another, computed only where the boxes meet."""
    x0, y0 = int(max(thing.x0, box[0])), int(max(thing.y0, box[1]))
    x1, y1 = int(np.ceil(min(thing.x1, box[2]))), int(np.ceil(min(thing.y1, box[3])))
    shared = int(np.count_nonzero(thing.mask[y0:y1, x0:x1] & mask[y0:y1, x0:x1]))
    left, top = max(int(box[0]) - 1, 0), max(int(box[1]) - 1, 0)
    area = int(np.count_nonzero(mask[top : int(box[3]) + 2, left : int(box[2]) + 2]))
    return shared / max(thing.area + area - shared, 1)
