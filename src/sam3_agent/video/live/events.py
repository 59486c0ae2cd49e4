"""What happens in a stream, said once: something appeared, something left, the number of things changed.

A thing has appeared when it was seen for a moment, and has left when it was not for a while; a flicker is neither.
Events go to a JSON-lines file that is turned over before it grows too large.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sam3.errors import BadInput
from sam3_agent.video.frames import FrameResult

APPEARED, LEFT = 0.3, 1.0  # seconds that a thing is seen, and not seen, before it is said
KEPT = 200  # events for the page
LARGEST = 20_000_000  # bytes of a file before a new one is begun; one old one is kept


@dataclass
class _Seen:
    label: str
    first: float
    last: float
    said: bool = False


@dataclass
class Events:
    """Watches results go by. Times are seconds of the stream; `at` is the clock on the wall."""

    appeared: float = APPEARED
    left: float = LEFT
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    _tracks: dict[int, _Seen] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def watch(self, result: FrameResult) -> list[dict[str, Any]]:
        """The events that this frame makes certain, in order."""
        now, happened = result.time, []
        for number, label in zip(result.seen.track_ids, result.seen.labels, strict=True):
            seen = self._tracks.setdefault(int(number), _Seen(label, now, now))
            seen.last = now
            if not seen.said and now - seen.first >= self.appeared:
                seen.said = True
                happened.append(self._event("appeared", seen.first, id=int(number), label=label))
        for number, seen in list(self._tracks.items()):
            if now - seen.last >= (self.left if seen.said else self.appeared):
                del self._tracks[number]
                if seen.said:
                    happened.append(self._event("left", seen.last, id=number, label=seen.label))
        counts = Counter(seen.label for seen in self._tracks.values() if seen.said)
        for label in sorted({*counts, *self._counts}):
            if counts[label] != self._counts[label]:
                known = {"label": label, "count": counts[label], "before": self._counts[label]}
                happened.append(self._event("count changed", now, **known))
        self._counts = counts
        self.recent.extend(happened)
        return happened

    @property
    def counts(self) -> dict[str, int]:
        """Things there now, by phrase."""
        return dict(self._counts)

    def _event(self, kind: str, when: float, **known: Any) -> dict[str, Any]:
        return {"event": kind, "time": round(when, 3), "at": round(time.time(), 3), **known}


class EventFile:
    """Where events are written down."""

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self.path, self.largest = path, largest
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error.strerror}). Give another --events.") from error

    def add(self, events: list[dict[str, Any]]) -> None:
        """Append, flushed."""
        for event in events:
            self._stream.write(json.dumps(event, ensure_ascii=False) + "\n")
        if events:
            self._stream.flush()
            if self._stream.tell() > self.largest:
                self._stream.close()
                os.replace(self.path, self.path.with_name(self.path.name + ".old"))
                self._stream = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """No more events."""
        self._stream.close()
