"""The loop of a live stream: newest frame -> tracker -> events, numbers, viewers; again.

    with Stream(Capture(source), tracker) as stream:
        stream.run(seconds=60)

Nothing queues: while the tracker works the capture overwrites, and viewers take the newest post when they can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from sam3_agent.video.frames import Frame, FrameResult, Tracker
from sam3_agent.video.live.board import Board
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.events import EventFile, Events
from sam3_agent.video.live.metrics import StreamMetrics
from sam3_agent.video.results import as_row

Shown = Callable[[Frame, FrameResult], None]


class Stream:
    """One camera, one tracker.

    Args:
        capture: not started yet. tracker: follows things.
        phrases: what is followed, for the counts.
        log: where events are written down.
        shown: called with every frame after it was shown; a window, a test.
    """

    def __init__(
        self,
        capture: Capture,
        tracker: Tracker,
        phrases: list[str],
        *,
        log: EventFile | None = None,
        shown: Shown | None = None,
    ) -> None:
        self.capture, self.tracker, self.phrases, self.log, self.shown = capture, tracker, phrases, log, shown
        self.board, self.events, self.metrics = Board(), Events(), StreamMetrics(capture)
        self.stop = threading.Event()
        self._age, self._last = 0.0, -1

    def __enter__(self) -> Stream:
        self.capture.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self.board.close()
        self.capture.__exit__(kind, error, trace)
        if self.log is not None:
            self.log.close()

    def run(self, seconds: float | None = None, frames: int | None = None) -> int:
        """Until the source ends, `stop` is set, or enough has passed; returns the number of frames shown."""
        deadline = None if seconds is None else time.monotonic() + seconds
        count = 0
        while not self.stop.is_set() and (deadline is None or time.monotonic() < deadline):
            frame = self.capture.newest(self._last, timeout=0.5)
            if frame is None:
                if not self.capture.running:
                    break
                continue
            self._last = frame.number
            self._one(frame)
            count += 1
            if frames is not None and count >= frames:
                break
        return count

    def _one(self, frame: Frame) -> None:
        result = self.tracker.update(frame)
        happened = self.events.watch(result)
        if self.log is not None:
            self.log.add(happened)
        for event in happened:
            self.metrics.events.labels(event["event"]).inc()
        counts = self.events.counts
        caption = ", ".join(f"{counts.get(phrase, 0)} {phrase}" for phrase in self.phrases)
        self.board.put(frame, result, as_row(result, masks=False), caption)
        self._age = self.metrics.showed(frame, result)
        self.metrics.counted(counts, self.phrases)
        if self.shown is not None:
            self.shown(frame, result)

    def now(self) -> dict[str, Any]:
        """What goes with every result."""
        counts = self.events.counts
        return {
            "counts": {phrase: counts.get(phrase, 0) for phrase in self.phrases},
            "fps": round(self.metrics.fps, 2),
            "age": round(self._age, 4),
        }

    def health(self) -> dict[str, Any]:
        """How the stream stands."""
        trouble = self.capture.trouble
        return {
            "state": self.capture.state,
            "trouble": str(trouble) if trouble else None,
            **self.now(),
            **vars(self.capture.counts),
        }
