"""Detections -> tracks with stable numbers: ByteTrack, with its filters fed by the flow between looks.

ByteTrack (Zhang et al., ECCV 2022) is the `trackers` package's. Two things are added here, both because the detector does
not look at every frame: a new track has its number at once (a second look may be a second away), and boxes carried by flow
keep every track's Kalman filter at the present between looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sam3.types import FloatArray

MISSING = 1.5  # seconds that a lost track waits to be found again
MATCH = 0.1  # intersection over union at least


def numbers() -> Iterator[int]:
    """Track numbers from 1."""
    return itertools.count(1)


class Association:
    """The tracks of one phrase.

    Args:
        counter: where new tracks get their numbers; phrases of one video share it.
        rate: frames a second.
        birth: score from which an unknown thing starts a track. Weaker ones only continue tracks.
        missing: seconds that a lost track waits.
    """

    def __init__(self, counter: Iterator[int], rate: float, birth: float = 0.5, missing: float = MISSING) -> None:
        self._bytes = _byte_track(counter, rate, birth, missing)

    def carried(self, boxes: Mapping[int, FloatArray], time: float) -> None:
        """A frame without the detector.

        Args:
            boxes: track number -> (4,) xyxy where flow says that it is. Other tracks only predict.
            time: of the frame, seconds; frames that were dropped count.
        """
        self._bytes.carried(boxes, time)

    def seen(self, boxes: FloatArray, scores: FloatArray, time: float) -> list[int]:
        """A frame with detections.

        Args:
            boxes: (N, 4) xyxy pixels. scores: (N,). time: of the frame, seconds.

        Returns:
            The track number of each detection, -1 for those that are too weak for one.
        """
        import supervision as sv

        found = sv.Detections(
            xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
            confidence=np.asarray(scores, np.float32),
            data={"row": np.arange(len(scores))},
        )
        out = [-1] * len(scores)
        tracked = self._bytes.update(found, timestamp=time)
        for row, number in zip(tracked.data.get("row", ()), tracked.tracker_id, strict=True):
            out[int(row)] = int(number)
        return out

    def rename(self, new: int, old: int) -> None:
        """The track that just began is one that was there before."""
        self._bytes.rename(new, old)

    def resized(self, factor: FloatArray) -> None:
        """Frames have another size: (2,) new over old width and height."""
        self._bytes.resized(np.tile(np.asarray(factor, float), 2))

    @property
    def waiting(self) -> frozenset[int]:
        """Numbers of all tracks that may still be found again."""
        return frozenset(int(track.tracker_id) for track in self._bytes.tracks)

    def resume(self, boxes: Mapping[int, FloatArray]) -> None:
        """Tracks of an interrupted run, at their last places."""
        self._bytes.resume(boxes)


def _byte_track(counter: Iterator[int], rate: float, birth: float, missing: float) -> Any:
    """The tracker; made in a function because importing it takes a second."""
    from trackers import ByteTrackTracker
    from trackers.core.bytetrack.tracklet import ByteTrackTracklet

    class Carrying(ByteTrackTracker):  # type: ignore[misc]
        tracker_id = "bytetrack-carrying"

        def _allocate_tracker_id(self) -> int:
            return next(counter)

        def _spawn_new_tracks(
            self, boxes: Any, scores: Any, unmatched: Any, high: Any, rows: list[int], ids: list[int]
        ) -> None:
            known, first = len(self.tracks), len(rows)
            super()._spawn_new_tracks(boxes, scores, unmatched, high, rows, ids)
            started = [at for at in range(first, len(rows)) if scores[rows[at]] >= self.track_activation_threshold]
            for at, track in zip(started, self.tracks[known:], strict=True):
                track.tracker_id = ids[at] = self._allocate_tracker_id()

        def carried(self, boxes: Mapping[int, FloatArray], time: float) -> None:
            timing = self._predict_timing(time)
            self._predict_tracklets(self.tracks, timing)
            for track in self.tracks:
                if track.tracker_id in boxes:
                    track.update(np.asarray(boxes[track.tracker_id], float))
            self._prune_lost_tracks(timing)

        def rename(self, new: int, old: int) -> None:
            self.tracks = [track for track in self.tracks if track.tracker_id != old]
            for track in self.tracks:
                track.tracker_id = old if track.tracker_id == new else track.tracker_id

        def resized(self, factor: Any) -> None:
            for at, track in enumerate(self.tracks):
                moved = ByteTrackTracklet(np.asarray(track.get_state_bbox(), float) * factor)
                moved.tracker_id, moved.time_since_update = track.tracker_id, track.time_since_update
                moved.time_since_update_seconds = track.time_since_update_seconds
                self.tracks[at] = moved

        def resume(self, boxes: Mapping[int, FloatArray]) -> None:
            for number, box in boxes.items():
                track = ByteTrackTracklet(np.asarray(box, float))
                track.tracker_id = number
                self.tracks.append(track)

    return Carrying(
        lost_track_buffer=max(1, round(30 * missing)), frame_rate=rate, track_activation_threshold=birth,
        minimum_consecutive_frames=1, minimum_iou_threshold=MATCH, high_conf_det_threshold=birth,
    )  # fmt: skip
