"""Clips as the API sends them: frames as they are done, the tracks of an answer, and the pictures behind them.

Boxes and masks are in pixels of the frame as it was looked at, whose size is said. Called by `answers.py` and the rooms.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from sam3_agent.execution.media import Medium
from sam3_agent.execution.outcome import Result, TrackedDetections
from sam3_agent.service.forms import Masks
from sam3_agent.video.clip import FrameSeen

CHUNK = 24  # frames in one event
QUALITY = 82  # of the JPEG frames


def news_of(news: FrameSeen, masks: Masks) -> dict[str, Any]:
    """A frame that has just been looked at. Its numbers are for now: the reply may number things anew."""
    return {
        "event": "frame",
        "media": news.media,
        "frame": news.frame,
        "time": round(news.time, 3),
        "done": news.done,
        "of": news.of,
        "counts": news.counts,
        "tracks": rows_of(news.seen, masks),
    }


def rows_of(seen: TrackedDetections, masks: Masks) -> list[dict[str, Any]]:
    """The things of one frame: id, label, score, box, and the mask as it was asked for."""
    from sam3_agent.service.answers import polygons

    rles = seen.to_rle() if masks in ("rle", "both") else []
    rows = []
    for at, number in enumerate(seen.track_ids):
        row: dict[str, Any] = {
            "id": int(number),
            "label": seen.labels[at] if seen.labels else "",
            "score": round(float(seen.scores[at]), 4),
            "box": [round(float(value), 1) for value in seen.boxes[at]],
        }
        if rles:
            row["rle"] = rles[at]
        if masks in ("polygons", "both"):
            row["polygons"] = polygons(seen.masks[at])
        rows.append(row)
    return rows


def clip_of(result: Result, medium: Medium | None) -> dict[str, Any]:
    """What an answer says about a clip: each track with its span, and where each thing is, frame by frame, as boxes."""
    frames = result.frames or []
    times = times_of(medium, len(frames))
    spans = result.spans(times)
    best = max(range(len(frames)), key=lambda at: len(frames[at]), default=0)
    return {
        "count": len(spans),
        "frame": best,
        "time": times[best] if times else 0.0,
        "tracks": spans,
        "frames": [
            {"frame": at, "time": times[at], "tracks": rows_of(seen, "none")}
            for at, seen in enumerate(frames)
            if len(seen)
        ],
    }


def pieces_of(result: Result, medium: Medium | None, masks: Masks) -> Iterator[list[dict[str, Any]]]:
    """The frames that show something, with their masks, some at a time."""
    frames = result.frames or []
    times = times_of(medium, len(frames))
    shown = [at for at, seen in enumerate(frames) if len(seen)]
    for start in range(0, len(shown), CHUNK):
        piece = shown[start : start + CHUNK]
        yield [{"frame": at, "time": times[at], "tracks": rows_of(frames[at], masks)} for at in piece]


def times_of(medium: Medium | None, frames: int) -> list[float]:
    """Seconds of each frame; their numbers where the clip does not say."""
    if medium is not None and len(medium.times) == frames:
        return [round(time, 3) for time in medium.times]
    return [float(at) for at in range(frames)]


def about(medium: Medium) -> dict[str, Any]:
    """What a medium is."""
    frame = medium.frames[0]
    height, width = frame.original or frame.pixels.shape[:2]
    known: dict[str, Any] = {"kind": "clip" if medium.is_clip else "picture", "size": [int(height), int(width)]}
    if medium.is_clip:
        times = times_of(medium, len(medium.frames))
        known |= {"frames": len(times), "seconds": times[-1]}
    return known


def jpeg(pixels: np.ndarray[Any, Any], quality: int = QUALITY) -> bytes:
    """uint8 RGB (H, W, 3) as a JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def shown(medium: Medium, first: int, count: int) -> list[dict[str, Any]]:
    """Frames as base64 JPEG, with their times."""
    times = times_of(medium, len(medium.frames))
    return [
        {"frame": at, "time": times[at], "jpeg": base64.b64encode(jpeg(medium.frames[at].pixels)).decode()}
        for at in range(first, min(first + count, len(times)))
    ]
