"""A run that was stopped goes on: what a new tracker learns from the record of the old one.

The light tracker is set up from the last lines alone. Others (SAM 3's memory, a server) hold what cannot be written down: they see
the last second of frames again, and their numbers are matched to those in the record by where things are.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult, Tracker
from sam3_agent.video.results import Record, from_row

RECENT = 10  # frames that teach a resumed filter how things move
REPLAYED = 25  # frames that a tracker with a memory of its own sees again
SAME = 0.5  # mask overlap from which two numbers mean one thing


class Known:
    """What the end of a record says.

    Attributes:
        recent: the last frames' results, newest last. highest: track number so far.
        looked: number and time of the detector's last look.
    """

    def __init__(self, record: Record) -> None:
        shape = (int(record.header["height"]), int(record.header["width"]))
        last: deque[dict[str, Any]] = deque(maxlen=REPLAYED)
        self.highest, self.looked = 0, (0, 0.0)
        for row in record.rows():
            last.append(row)
            self.highest = max([self.highest, *(track["id"] for track in row["tracks"])])
            self.looked = (row["frame"], row["time"]) if row["detected"] else self.looked
        self.recent = [from_row(row, shape) for row in last]

    @property
    def last(self) -> FrameResult:
        """The last frame's result."""
        return self.recent[-1]


def resumed(tracker: Tracker, known: Known, frames: Iterable[Frame]) -> Tracker:
    """A tracker that goes on after `known`.

    Args:
        tracker: a new one. frames: those of `known.recent`, decoded again.
    """
    if isinstance(tracker, CarryTracker):
        before = next((frame for frame in frames if frame.number == known.last.number), None)
        earlier = known.recent[-RECENT - 1 : -1]
        tracker.resume(known.last, known.highest, earlier, before=before, looked=known.looked)
        return tracker
    renumbered = Renumbered(tracker, known.highest)
    seen = None
    for frame in frames:
        if frame.number > known.last.number:
            break
        seen = tracker.update(frame)
    if seen is not None:
        renumbered.match(seen.seen, known.last.seen)
    return renumbered


class Renumbered:
    """A tracker whose numbers are given those of an earlier run; new things go on above them."""

    def __init__(self, inner: Tracker, highest: int) -> None:
        self.inner = inner
        self._numbers: dict[int, int] = {}
        self._next = itertools.count(highest + 1)

    def match(self, now: TrackedDetections, before: TrackedDetections) -> None:
        """Both of the same frame: things of one name in one place are one thing."""
        pairs = [
            (_overlap(now.masks[a], before.masks[b]), a, b)
            for a in range(len(now))
            for b in range(len(before))
            if now.labels[a] == before.labels[b]
        ]
        free = set(range(len(before)))
        for overlap, a, b in sorted(pairs, reverse=True):
            number = int(now.track_ids[a])
            if overlap >= SAME and b in free and number not in self._numbers:
                self._numbers[number] = int(before.track_ids[b])
                free.discard(b)

    def update(self, frame: Frame) -> FrameResult:
        """The next frame."""
        result = self.inner.update(frame)
        ids = [self._number(int(number)) for number in result.seen.track_ids]
        return replace(result, seen=replace(result.seen, track_ids=np.array(ids, int)))

    def close(self) -> None:
        """End the inner tracker, if it has an end."""
        if hasattr(self.inner, "close"):
            self.inner.close()

    def _number(self, number: int) -> int:
        if number not in self._numbers:
            self._numbers[number] = next(self._next)
        return self._numbers[number]


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.count_nonzero(one & other)) / max(int(np.count_nonzero(one | other)), 1)
