"""What comes out of a plan: a status, an answer, and the things found in each medium."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam3.types import Detections

Status = Literal["ok", "empty", "clarify", "unsupported"]
Answer = bool | int | float | str | None


@dataclass(eq=False)
class TrackedDetections(Detections):
    """Detections of one frame; `track_ids` int (N,), the same number for the same thing in every frame."""

    track_ids: NDArray[np.int_] = field(default_factory=lambda: np.zeros(0, int))


@dataclass(eq=False)
class Result:
    """What was found in one medium.

    Attributes:
        media: index of the medium in the conversation.
        detections: of the image, or of the clip's frame that shows most.
        frames: one entry per frame of a clip; None for an image.
    """

    media: int
    detections: Detections
    frames: list[TrackedDetections] | None = None

    def to_supervision(self) -> Any:
        """`supervision.Detections` (a list of them for a clip, with `tracker_id`)."""
        if self.frames is None:
            return self.detections.to_supervision()
        converted = []
        for frame in self.frames:
            one = frame.to_supervision()
            one.tracker_id = frame.track_ids
            converted.append(one)
        return converted

    def to_coco(self, image_id: int | None = None) -> list[dict[str, Any]]:
        """COCO result rows; rows of a clip also say `frame` and `track_id`."""
        number = self.media if image_id is None else image_id
        if self.frames is None:
            return _labelled(self.detections, number)
        return [
            {**row, "frame": at, "track_id": int(track)}
            for at, frame in enumerate(self.frames)
            for row, track in zip(_labelled(frame, number), frame.track_ids, strict=True)
        ]

    def to_pandas(self) -> Any:
        """One row an instance, with the medium (and frame and track_id for a clip)."""
        import pandas as pd

        if self.frames is None:
            return self.detections.to_pandas().assign(media=self.media)
        tables = [
            frame.to_pandas().assign(media=self.media, frame=at, track_id=frame.track_ids)
            for at, frame in enumerate(self.frames)
        ]
        return pd.concat(tables, ignore_index=True)


def _labelled(detections: Detections, number: int) -> list[dict[str, Any]]:
    rows = detections.to_coco(number)
    labels = detections.labels or [""] * len(rows)
    return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]


@dataclass
class Outcome:
    """A plan carried out. `uncertain`: the engine was of two minds about something asked for."""

    status: Status
    text: str
    answer: Answer = None
    results: list[Result] = field(default_factory=list)
    uncertain: bool = False
