"""What comes out of a plan: a status, an answer, and the things found in each medium."""

from __future__ import annotations

from collections.abc import Sequence
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
        seen: of the image as it was looked at, or of the clip's frame that shows most.
        frames: one entry per frame of a clip; None for an image.
        original: (H, W) of the picture that was handed in, where it was larger than what was looked at.
        doubtful: positions in `detections` of what the engine is not sure of.
    """

    media: int
    seen: Detections
    frames: list[TrackedDetections] | None = None
    original: tuple[int, int] | None = None
    doubtful: tuple[int, ...] = ()

    @property
    def detections(self) -> Detections:
        """The instances, in pixels of the picture that was handed in."""
        return self.seen if self.original is None else enlarged(self.seen, self.original)

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
            whole = self.original is None
            rows = _labelled(self.seen, number) if whole else [_labelled(self._one(at), number)[0] for at in self._all]
            return [{**row, "sure": at not in self.doubtful} for at, row in enumerate(rows)]
        return [
            {**row, "frame": at, "track_id": int(track)}
            for at, frame in enumerate(self.frames)
            for row, track in zip(_labelled(frame, number), frame.track_ids, strict=True)
        ]

    @property
    def _all(self) -> range:
        return range(len(self.seen))

    def _one(self, at: int) -> Detections:
        """One instance in the original's pixels: a large picture's masks are never all in memory at once."""
        one = self.seen.select([at])
        return one if self.original is None else enlarged(one, self.original)

    def spans(self, times: Sequence[float] = ()) -> list[dict[str, Any]]:
        """The tracks of a clip by number: `id, label, score` (its best), `first, last` seen, and `frames` that show it.

        Args:
            times: seconds of each frame; their numbers where there are none.
        """
        known: dict[int, dict[str, Any]] = {}
        for at, frame in enumerate(self.frames or []):
            when = round(float(times[at]), 3) if times else float(at)
            names = frame.labels or [""] * len(frame)
            for number, label, score in zip(map(int, frame.track_ids), names, frame.scores, strict=True):
                one = known.setdefault(number, {"id": number, "label": label, "score": 0.0, "first": when, "frames": 0})
                best = max(one["score"], round(float(score), 4))
                one |= {"last": when, "frames": one["frames"] + 1, "score": best}
        return [known[number] for number in sorted(known)]

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


def enlarged(found: Detections, size: tuple[int, int]) -> Detections:
    """Detections mapped to a picture of `size` (H, W) pixels with the same content.

    Boxes are scaled; a mask's edge runs where its bilinear enlargement crosses one half.
    """
    import cv2

    height, width = size
    seen_height, seen_width = found.masks.shape[1:]
    masks = np.zeros((len(found), height, width), bool)
    for at, mask in enumerate(found.masks):
        masks[at] = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 127
    scale = np.array([width / seen_width, height / seen_height] * 2, np.float32)
    return Detections(
        (found.boxes * scale).astype(np.float32), found.scores, masks, found.presence, found.labels, found.warnings
    )


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
