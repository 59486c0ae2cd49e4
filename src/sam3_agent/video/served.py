"""The tracker that is on a Triton server: every frame goes to `sam3_video`, which keeps one bounded state for the stream.

    with ServedTracker("127.0.0.1:8001", ["duck"]) as tracker:
        result = tracker.update(frame)

`sam3-agent track --method triton --checkpoint 127.0.0.1:8001` uses it. A server that has forgotten the stream (restarted, or made room)
is told it anew; numbers go on above the old ones.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from sam3.errors import BadInput, Sam3AgentError
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.frames import Frame, FrameResult

MODEL = "sam3_video"
FORGOTTEN = ("Begin it again", "START flag")  # what model and server say of a stream that they do not hold (any more)
DEADLINE = 30.0  # seconds a frame
_streams = itertools.count(int.from_bytes(os.urandom(5), "big"))  # no two clients of a server may meet


class ServedTracker:
    """Follows several phrases on a server. Use it as a context, or call `close`.

    Args:
        address: gRPC host:port.
        phrases: noun phrases.
        threshold: detections with a lower score are left out.
    """

    def __init__(self, address: str, phrases: Sequence[str], *, threshold: float = 0.5) -> None:
        from sam3.triton.client import Connection

        if not phrases:
            raise BadInput("nothing to follow. Name at least one thing.", field="phrases")
        self.phrases, self.threshold = list(dict.fromkeys(phrases)), threshold
        self.connection = Connection(address)
        self._open = False
        self._stream = 0
        self._above = self._highest = 0
        self._last: Frame | None = None

    def __enter__(self) -> ServedTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, frame: Frame) -> FrameResult:
        """The next frame, of any size.

        Raises:
            Unavailable: the server is away or late.
        """
        start = time.perf_counter()
        try:
            out = self._ask(frame)
        except Sam3AgentError as error:
            if not self._open or not any(words in str(error) for words in FORGOTTEN):
                raise
            self._open = False
            out = self._ask(frame)
        self._last = frame
        return self._result(frame, out, 1000 * (time.perf_counter() - start))

    def close(self) -> None:
        """End the stream on the server, and the connection."""
        if self._open and self._last is not None:
            with contextlib.suppress(Sam3AgentError):  # the server forgets it by itself
                self._ask(self._last, end=True)
        self._open = False
        self.connection.close()

    def _ask(self, frame: Frame, *, end: bool = False) -> dict[str, Any]:
        from sam3.engines.triton_engine import OUTPUTS
        from sam3.triton.client import texts

        inputs: dict[str, Any] = {
            "image": np.ascontiguousarray(frame.pixels)[None],
            "threshold": np.array([[self.threshold]], np.float32),
        }
        begins = not self._open
        if begins:
            self._stream, self._above = next(_streams), self._highest
            inputs["phrases"] = texts(self.phrases)
        asked = self.connection.infer(
            MODEL, inputs, (*OUTPUTS, "track_ids"), deadline=DEADLINE,
            sequence_id=self._stream, sequence_start=begins, sequence_end=end,
        )  # fmt: skip
        out = self.connection.run(asked)
        self._open = not end
        return out

    def _result(self, frame: Frame, out: dict[str, Any], milliseconds: float) -> FrameResult:
        from sam3.engines.triton_engine import detections_of

        found = detections_of(out, frame.pixels.shape[:2])
        numbers = np.asarray(out["track_ids"][0], int)[np.argsort(out["phrase_index"][0], kind="stable")] + self._above
        self._highest = max(self._highest, int(numbers.max(initial=0)))
        presence = {phrase: one.presence for phrase, one in zip(self.phrases, found, strict=True)}
        seen = TrackedDetections(
            np.concatenate([one.boxes for one in found]), np.concatenate([one.scores for one in found]),
            np.concatenate([one.masks for one in found]), max(presence.values()),
            [phrase for phrase, one in zip(self.phrases, found, strict=True) for _ in range(len(one))], track_ids=numbers,
        )  # fmt: skip
        return FrameResult(frame.number, frame.time, seen, True, presence, {"server": milliseconds})
