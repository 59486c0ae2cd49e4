"""A whole file or folder followed, frame after frame into its record, and the record turned into what people open.

A run that was stopped goes on: the record's last lines say where every track was and how it moved. Called by the verb
`track`, and by anything else that wants the tracks of a file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.errors import BadInput, Unavailable
from sam3_agent.video.drawing import draw_tracks
from sam3_agent.video.formats import write_coco_vid, write_mot
from sam3_agent.video.frames import Frame, FrameResult, Tracker
from sam3_agent.video.reading import FOLDER_RATE, VideoFacts, read_frames
from sam3_agent.video.results import Record, from_row, header_of, rows
from sam3_agent.video.resuming import Known, resumed
from sam3_agent.video.safety import VideoLimits
from sam3_agent.video.sources import Source, frame_files
from sam3_agent.video.writing import VideoWriter

if TYPE_CHECKING:
    from sam3_agent.video.live.capture import Capture

MARKED = 1 << 18  # bytes at either end of a file that its mark is made from
CAMERA_SECONDS = 20.0  # that a camera has for its first frame
LIVE_RATE = 15.0  # frames a second that a camera's drawn video speaks of; its frames stand at their true times
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Span:
    """The part of a video that is wanted, seconds, and how fast a folder's pictures follow each other."""

    start: float = 0.0
    end: float = math.inf
    rate: float = FOLDER_RATE


def header(
    source: Source, known: VideoFacts, phrases: Sequence[str], span: Span, settings: dict[str, Any]
) -> dict[str, Any]:
    """The first line of a record: what makes two runs the same run."""
    return {
        "video": source.name,
        **_mark(source),
        "phrases": list(phrases),
        **{name: value for name, value in asdict(known).items() if name in ("width", "height", "rate", "frames")},
        "start": span.start,
        "end": None if math.isinf(span.end) else span.end,
        **settings,
    }


def _mark(source: Source) -> dict[str, Any]:
    """What tells a file or folder from another of the same name: its bytes, and a hash of some of them."""
    if source.live:
        return {"bytes": None, "mark": None}
    path, mark = Path(source.address), hashlib.blake2b(digest_size=8)
    files = frame_files(path) if source.kind == "folder" else [path]
    sizes = [file.stat().st_size for file in files]
    mark.update(json.dumps([[file.name for file in files[:-1]], sizes]).encode())
    for file, size in ((files[0], sizes[0]), (files[-1], sizes[-1])) if files else ():
        with file.open("rb") as stream:
            mark.update(stream.read(MARKED))
            stream.seek(max(0, size - MARKED))
            mark.update(stream.read(MARKED))
    return {"bytes": sum(sizes), "mark": mark.hexdigest()}


def follow_file(
    source: Source,
    tracker: Tracker,
    record: Record,
    span: Span,
    *,
    limits: VideoLimits | None = None,
    progress: Progress = lambda done: None,
) -> None:
    """Every frame that the record does not hold yet.

    Args:
        progress: told how many frames are done.
    """
    skip = 0
    if record.done:
        known = Known(record)
        skip, first = known.last.number + 1, known.recent[0].number
        again = read_frames(source, start=span.start, end=span.end, skip=first, limits=limits, rate=span.rate)
        tracker = resumed(tracker, known, again)
    progress(record.done)
    for frame in read_frames(source, start=span.start, end=span.end, skip=skip, limits=limits, rate=span.rate):
        record.add(tracker.update(frame))
        progress(record.done)
    if not record.done:
        raise BadInput(
            f"{source.name}: no frame from {span.start:g} s to {span.end:g} s. Give another part.", field="start"
        )


def write_formats(
    record: Path,
    source: Source,
    wanted: Sequence[str],
    span: Span,
    *,
    limits: VideoLimits | None = None,
    progress: Progress = lambda done: None,
) -> list[Path]:
    """The files asked for, beside the record: "mot" (mot.txt), "coco" (coco_vid.json), "video" (tracks.mp4)."""
    made = []
    if "mot" in wanted:
        made.append(record.with_name("mot.txt"))
        write_mot(record, made[-1])
    if "coco" in wanted:
        made.append(record.with_name("coco_vid.json"))
        write_coco_vid(record, made[-1])
    if "video" in wanted:
        made.append(record.with_name("tracks.mp4"))
        known = header_of(record)
        with VideoWriter(made[-1], known["rate"], (known["width"], known["height"])) as video:
            for done, (frame, result) in enumerate(_together(record, source, span, limits), start=1):
                caption = f"{_clock(frame.time)}  {len(result.seen)}"
                video.add(draw_tracks(frame.pixels, result.seen, caption), frame.time)
                progress(done)
    return made


def follow_camera(
    source: Source,
    tracker: Tracker,
    path: Path,
    phrases: Sequence[str],
    span: Span,
    settings: dict[str, Any],
    wanted: Sequence[str],
    progress: Progress = lambda done: None,
) -> tuple[Record, list[Path]]:
    """A camera into a record until `span.end` seconds have passed or Ctrl-C; its picture is drawn as it comes.

    Raises:
        Unavailable: the camera gives no frame.
    """
    from sam3_agent.video.live.capture import Capture

    with Capture(source) as capture:
        first = capture.newest(timeout=CAMERA_SECONDS)
        if first is None:
            raise capture.trouble or Unavailable(f"{source.name}: gives no frames. Is the camera on?")
        height, width = first.pixels.shape[:2]
        known = VideoFacts(width, height, LIVE_RATE, 0, 0.0)
        record = Record(path, header(source, known, phrases, span, settings), fresh=True)
        target = path.with_name("tracks.mp4")
        drawn = VideoWriter(target, LIVE_RATE, (width, height)) if "video" in wanted else nullcontext()
        try:
            with drawn as video, suppress(KeyboardInterrupt):
                for frame in _newest(capture, span.end):
                    result = tracker.update(frame)
                    record.add(replace(result, number=record.done))
                    if video is not None:
                        video.add(draw_tracks(frame.pixels, result.seen, _clock(frame.time)), frame.time)
                    progress(record.done)
        finally:
            record.close()
    made = write_formats(path, source, [name for name in wanted if name != "video"], span)
    return record, [*made, *([target] if "video" in wanted else [])]


def _newest(capture: Capture, end: float) -> Iterator[Frame]:
    last = -1
    while capture.running:
        frame = capture.newest(last, timeout=0.5)
        if frame is None:
            continue
        if frame.time >= end:
            return
        last = frame.number
        yield frame


def _together(
    record: Path, source: Source, span: Span, limits: VideoLimits | None
) -> Iterator[tuple[Frame, FrameResult]]:
    """Frames with their results."""
    known = rows(record)
    frames = read_frames(source, start=span.start, end=span.end, limits=limits, rate=span.rate)
    for frame, row in zip(frames, itertools.chain(known), strict=False):
        if frame.number == row["frame"]:
            yield frame, from_row(row, frame.pixels.shape[:2])


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"
