"""A thread that decodes and keeps only the newest frame, so that whoever is slow is late by one frame and never by more.

    with Capture(source) as capture:
        while (frame := capture.newest(after=number, timeout=1.0)) is not None or capture.running:
            ...

When the camera goes away it is tried again after half a second, then one, two, ... up to half a minute.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from sam3.errors import Sam3AgentError
from sam3.types import UInt8Array
from sam3_agent.video.frames import Frame
from sam3_agent.video.live.cameras import connect
from sam3_agent.video.sources import Source

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
STEADY = 5.0  # seconds of frames after which a camera counts as back for good
Connect = Callable[[Callable[[], None]], Iterator[UInt8Array]]


@dataclass
class Counts:
    """What a capture has done. `dropped`: decoded, and overwritten by a newer one before anybody took it."""

    decoded: int = 0
    dropped: int = 0
    damaged: int = 0
    connected: int = 0
    failed: int = 0


class Capture:
    """Frames of a live source, newest only. Use it as a context.

    Args:
        source: where frames come from.
        loop: a file begins again at its end.
        opened: how to connect; tests put their own here.
        first_wait: seconds before the first new try.
    """

    def __init__(
        self, source: Source, *, loop: bool = False, opened: Connect | None = None, first_wait: float = FIRST_WAIT
    ) -> None:
        self.source, self.first_wait = source, first_wait
        self._open: Connect = opened or (lambda damaged: connect(source, damaged, loop=loop))
        self._ends = source.kind in ("file", "folder")
        self.counts, self.state = Counts(), "connecting"
        self.trouble: Sam3AgentError | None = None
        self._newest: Frame | None = None
        self._taken = -1
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)

    def __enter__(self) -> Capture:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=15)

    @property
    def running(self) -> bool:
        """Whether there may be more frames."""
        return self._thread.is_alive()

    def newest(self, after: int = -1, timeout: float = 1.0) -> Frame | None:
        """The newest frame with a number above `after`; None when none comes within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._newest is None or self._newest.number <= after:
                left = deadline - time.monotonic()
                if left <= 0 or (not self._thread.is_alive() and self.state == "ended"):
                    return None
                self._changed.wait(min(left, 0.25))
            self._taken = self._newest.number
            return self._newest

    # --- the thread -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = self.first_wait
        while not self._stop.is_set():
            since = time.monotonic()
            try:
                for pixels in self._open(self._damaged):
                    if self._stop.is_set():
                        break
                    self._put(pixels)
                if self._ends or self._stop.is_set():
                    break
            except Sam3AgentError as error:
                self.trouble = error
                self.counts.failed += 1
                if self._ends:
                    break
            if self.state == "connected" and time.monotonic() - since > STEADY:
                wait = self.first_wait
            self.state = "waiting"
            self._stop.wait(wait * random.uniform(0.8, 1.2))  # many streams of one camera should not knock together
            wait = min(2 * wait, LONGEST_WAIT)
        with self._changed:
            self.state = "ended"
            self._changed.notify_all()

    def _put(self, pixels: UInt8Array) -> None:
        now = time.monotonic()
        with self._changed:
            if self.state != "connected":
                self.state, self.trouble = "connected", None
                self.counts.connected += 1
            if self._newest is not None and self._newest.number > self._taken:
                self.counts.dropped += 1
            self._newest = Frame(self.counts.decoded, now - self._began, pixels, now)
            self.counts.decoded += 1
            self._changed.notify_all()

    def _damaged(self) -> None:
        self.counts.damaged += 1
