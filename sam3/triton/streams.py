"""The state of video streams: which object is which from frame to frame, bounded in every direction.

A track goes on with the detection of its phrase that overlaps it most, or, after a gap, with one that looks like it:
the cosine of what the image encoder says under the two masks. Numbers start at 1 and are never given twice in a
stream. At most `MAX_STREAMS` streams of at most `MAX_TRACKS` tracks; a track not seen for `MAX_HIDDEN` frames ends.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sam3.types import BoolArray, Detections, FloatArray, Prompt

MAX_STREAMS = 64
MAX_TRACKS = 256
MAX_HIDDEN = 30  # frames
IDLE_SECONDS = 60.0
SAME_BOX = 0.3  # IoU with the last frame's box from which it is the same object
SAME_LOOK = 0.85  # cosine from which an object that was away is the same


@dataclass(eq=False)
class Track:
    """One object: its phrase, last box (xyxy pixels), its look, and when it was last seen (frame)."""

    number: int
    phrase: int
    box: FloatArray
    look: FloatArray
    seen: int


@dataclass(eq=False)
class Stream:
    """One video.

    Attributes:
        prompts: what is followed, from the first frame on.
        frame: number of the last frame.
        given: the last track number given.
    """

    prompts: tuple[Prompt, ...] = ()
    frame: int = -1
    tracks: list[Track] = field(default_factory=list)
    given: int = 0
    touched: float = field(default_factory=time.monotonic)

    def follow(self, found: Sequence[Detections], level: np.ndarray[Any, Any]) -> list[int]:
        """Track numbers of a new frame's detections, phrase after phrase.

        Args:
            found: one per phrase.
            level: (1, d, h, w) float32, the coarsest level of the frame's embedding.
        """
        self.frame += 1
        self.touched = time.monotonic()
        numbers: list[int] = []
        for phrase, item in enumerate(found):
            looks = [look_of(level[0], mask) for mask in item.masks]
            numbers += self._assign(phrase, item, looks)
        self.tracks = [track for track in self.tracks if self.frame - track.seen <= MAX_HIDDEN]
        self.tracks = sorted(self.tracks, key=lambda track: track.seen)[-MAX_TRACKS:]
        return numbers

    def _assign(self, phrase: int, item: Detections, looks: Sequence[FloatArray]) -> list[int]:
        candidates = [track for track in self.tracks if track.phrase == phrase]
        scored = [
            (score, at, track)
            for at in range(len(item))
            for track in candidates
            if (score := self._likeness(track, item.boxes[at], looks[at])) is not None
        ]
        taken: dict[int, Track] = {}
        for _, at, track in sorted(scored, key=lambda row: -row[0]):
            if at not in taken and track not in taken.values():
                taken[at] = track
        for at in range(len(item)):
            if at not in taken:
                self.given += 1
                taken[at] = Track(self.given, phrase, item.boxes[at], looks[at], self.frame)
                self.tracks.append(taken[at])
            track = taken[at]
            track.box, track.seen = item.boxes[at], self.frame
            track.look = unit(0.8 * track.look + 0.2 * looks[at])
        return [taken[at].number for at in range(len(item))]

    def _likeness(self, track: Track, box: FloatArray, look: FloatArray) -> float | None:
        """How well a detection goes on with a track; None if it cannot. Overlap counts before looks."""
        alike = float(track.look @ look)
        overlap = iou(track.box, box)
        if overlap >= SAME_BOX:
            return 1.0 + overlap + 0.5 * alike
        near = _gap(track.box, box) <= 1.0 + 0.25 * (self.frame - track.seen)
        return alike if near and alike >= SAME_LOOK else None


class Streams:
    """Open streams by correlation id; the least recently used make room."""

    def __init__(self, limit: int = MAX_STREAMS, idle: float = IDLE_SECONDS) -> None:
        self.limit, self.idle = limit, idle
        self._open: OrderedDict[str, Stream] = OrderedDict()

    def start(self, key: str, prompts: tuple[Prompt, ...]) -> Stream:
        """A new stream, in place of one of the same id; abandoned ones are forgotten."""
        now = time.monotonic()
        for name in [name for name, item in self._open.items() if now - item.touched > self.idle]:
            del self._open[name]
        self._open.pop(key, None)
        self._open[key] = Stream(prompts)
        while len(self._open) > self.limit:
            self._open.popitem(last=False)
        return self._open[key]

    def get(self, key: str) -> Stream | None:
        """An open stream, which is then the most recent."""
        if key in self._open:
            self._open.move_to_end(key)
        return self._open.get(key)

    def end(self, key: str) -> None:
        """Forget a stream."""
        self._open.pop(key, None)

    def __len__(self) -> int:
        return len(self._open)


def look_of(level: FloatArray, mask: BoolArray) -> FloatArray:
    """Unit mean of feature map (d, h, w) under a mask (H, W), which is sampled at the map's cells."""
    height, width = level.shape[1:]
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    inside = mask[np.ix_(rows, columns)]
    if not inside.any():  # smaller than a cell: the cell of its centre
        y, x = np.argwhere(mask).mean(0) if mask.any() else (0.0, 0.0)
        inside[int(y * height / mask.shape[0]), int(x * width / mask.shape[1])] = True
    return unit(level[:, inside].mean(1))


def unit(vector: FloatArray) -> FloatArray:
    """A vector at length 1; zeros stay zeros."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


def iou(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two xyxy boxes, in [0, 1]."""
    side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    overlap = float(side.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - overlap
    return overlap / union if union > 0 else 0.0


def _gap(a: FloatArray, b: FloatArray) -> float:
    """Distance of two boxes' centres, in lengths of the larger."""
    scale = max(float((a[2:] - a[:2]).max()), float((b[2:] - b[:2]).max()), 1.0)
    return float(np.linalg.norm((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2)) / scale
