"""A video file for a conversation: frames picked evenly and made small enough that a question about them is answered soon.

The whole of a video, every frame of it, is followed by `sam3-agent track`; a question ("how many ducks are there?", "when does
the first one leave?") needs enough frames to follow things by, and no more. What happens between two of them is not seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.types import Detections
from sam3_agent.execution.media import Medium, Picture
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.execution.seeing import Eyes
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame
from sam3_agent.video.reading import facts, read_frames
from sam3_agent.video.safety import UPLOADS, VideoLimits
from sam3_agent.video.sources import source_of

MOST_FRAMES = 240
RATE = 8.0  # frames a second at most
SIDE = 512  # pixels of the longer side
LOOK_SECONDS = 0.5  # from one look of the detector to the next


@dataclass(frozen=True)
class FrameSeen:
    """News of one frame while a clip is being looked at.

    Attributes:
        frame, time: which one, seconds. done, of: how many are done, of those that are looked at.
        seen: what is in it so far as looked for; the reply may number things anew. counts: distinct things so far, by phrase.
        media: number of the clip in the conversation.
    """

    frame: int
    time: float
    of: int
    seen: TrackedDetections
    counts: dict[str, int]
    done: int = 0
    media: int = 0


Watching = Callable[[FrameSeen], None]  # may raise, which ends the work
Check = Callable[[], None]  # called often; may raise, which ends the work


def load_clip(path: Any, limits: VideoLimits = UPLOADS, check: Check | None = None) -> Medium:
    """Frames of a video file or folder, at most `MOST_FRAMES`, with their times.

    Args:
        check: called for every frame that is decoded.

    Raises:
        BadInput: not a video, or over the limits.
    """
    import cv2

    source = source_of(path, hosts=())
    known = facts(source, limits)
    seconds = known.seconds or known.frames / known.rate
    step = max(1 / RATE, 1 / known.rate, seconds / MOST_FRAMES) - 1e-6
    pictures, times, due = [], [], 0.0

    def wanted(time: float) -> bool:
        if check is not None:
            check()
        return time >= due

    for frame in read_frames(source, limits=limits, wanted=wanted):
        due = max(due + step, frame.time)
        scale = min(1.0, SIDE / max(frame.pixels.shape[:2]))
        size = (max(8, round(frame.pixels.shape[1] * scale)), max(8, round(frame.pixels.shape[0] * scale)))
        small = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame.pixels
        pictures.append(Picture.of(np.asarray(small, np.uint8)))
        times.append(frame.time)
        if len(pictures) >= 2 * MOST_FRAMES:  # the file said that it is shorter
            pictures, times, step = pictures[::2], times[::2], 2 * step
    return Medium(tuple(pictures), is_clip=True, times=tuple(times))


def clip_of(data: bytes, limits: VideoLimits = UPLOADS, check: Check | None = None) -> Medium:
    """A clip from the bytes of its file, which it keeps in `file`.

    Raises:
        BadInput: as `load_clip`; speaks of "the clip".
    """
    with tempfile.TemporaryDirectory(prefix="sam3-clip-") as folder:
        path = Path(folder) / "the clip"  # its name in messages
        path.write_bytes(data)
        try:
            return replace(load_clip(path, limits, check), file=data)
        except BadInput as error:
            raise BadInput(str(error).replace(str(path), path.name), field="video") from error


def foresee(
    eyes: Eyes,
    medium: Medium,
    phrases: Sequence[str],
    watching: Watching | None = None,
    *,
    number: int = 0,
    first: int = 0,
) -> None:
    """Fill in what a clip's frames show: the detector on some, flow between. What is known already is left.

    Args:
        watching: told of every frame as it is done.
        number: of the clip in the conversation. first: number in the clip of the medium's first frame.
    """
    asked = [phrase for phrase in phrases if not all(eyes.knows(picture, phrase) for picture in medium.frames)]
    if not asked:
        return
    gap = float(np.median(np.diff(medium.times))) if len(medium.times) > 1 else 1 / RATE
    tracker = CarryTracker(
        eyes.engine, asked, Cadence(seconds=LOOK_SECONDS), rate=1 / max(gap, 1e-3), birth=eyes.threshold
    )
    counted: dict[str, set[int]] = {phrase: set() for phrase in phrases}
    for at, (picture, time) in enumerate(zip(medium.frames, medium.times, strict=True)):
        result = tracker.update(Frame(at, time, picture.pixels))
        labels = np.array(result.seen.labels, object)
        for phrase in asked:
            found = result.seen.select(labels == phrase) if len(labels) else result.seen
            one = Detections(
                found.boxes, np.maximum(found.scores, eyes.threshold), found.masks, result.presence.get(phrase, 0.0)
            )
            eyes.know(picture, phrase, one)
            counted[phrase] |= {
                int(n) for n, label in zip(result.seen.track_ids, labels, strict=True) if label == phrase
            }
        if watching is not None:
            counts = {phrase: len(numbers) for phrase, numbers in counted.items()}
            of = len(medium.frames)
            watching(FrameSeen(first + at, time, of, result.seen, counts, done=at + 1, media=number))
    spent = tracker.looks
    eyes.done.update(encoded=spent, grounded=spent * len(asked))
