"""What was seen, one JSON line a frame: the record that every other format is made from, and that a run goes on from.

The first line says what the run was (video, phrases, settings); then one line a frame:
`{"frame", "time", "detected", "presence", "tracks": [{"id", "label", "score", "box", "rle"}]}`. Boxes are xyxy pixels, masks COCO RLE.
Every line is flushed; a line cut off by a crash is cut away when the run goes on. While one run writes, no other may.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.files import disk_named
from sam3.locks import sole_writer
from sam3.types import BoolArray
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.frames import FrameResult


def as_row(result: FrameResult, *, masks: bool = True) -> dict[str, Any]:
    """A frame's result as plain JSON."""
    seen = result.seen
    rles = seen.to_rle() if masks else [None] * len(seen)
    tracks = [
        {
            "id": int(number),
            "label": label,
            "score": round(float(score), 4),
            "box": [round(float(v), 1) for v in box],
            **({"rle": rle} if masks else {}),
        }
        for number, label, score, box, rle in zip(
            seen.track_ids, seen.labels, seen.scores, seen.boxes, rles, strict=True
        )
    ]
    return {
        "frame": result.number,
        "time": round(result.time, 4),
        "detected": result.detected,
        "presence": {phrase: round(value, 4) for phrase, value in result.presence.items()},
        "tracks": tracks,
    }


def from_row(row: dict[str, Any], shape: tuple[int, int]) -> FrameResult:
    """The result behind a row; `shape` (H, W) is that of the frames."""
    tracks = row["tracks"]
    masks = [decoded(track["rle"]) for track in tracks]
    seen = TrackedDetections(
        np.array([track["box"] for track in tracks], np.float32).reshape(-1, 4),
        np.array([track["score"] for track in tracks], np.float32),
        np.stack(masks) if masks else np.zeros((0, *shape), bool),
        max(row["presence"].values(), default=0.0),
        [track["label"] for track in tracks],
        track_ids=np.array([track["id"] for track in tracks], int),
    )
    return FrameResult(row["frame"], row["time"], seen, row["detected"], row["presence"])


def decoded(rle: dict[str, Any]) -> BoolArray:
    """bool (H, W) of a COCO RLE."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")}), bool)


class Record:
    """The file of one run.

    Args:
        path: results.jsonl. header: what the run is; a run that is another one is not gone on with.
        fresh: forget what is there.

    Raises:
        BadInput: the file is another run's, is being written by one, or cannot be written.
    """

    def __init__(self, path: Path, header: dict[str, Any], *, fresh: bool = False) -> None:
        self.path, self.header = path, header
        self.done = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"{path.parent}: cannot be made ({error.strerror}). Give another --out.", field="out"
            ) from error
        try:
            self._stream = path.open("a", encoding="utf-8", errors="backslashreplace")  # names need not be UTF-8
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error.strerror}). Give another --out.", field="out") from error
        try:
            sole_writer(self._stream, path, "run")
            begun = not fresh and self._known()
        except BaseException:
            self._stream.close()
            raise
        if not begun:
            self._stream.truncate(0)
            self._put(header)

    def add(self, result: FrameResult) -> None:
        """Write one frame down."""
        self._put(as_row(result))
        self.done += 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """The frames written so far."""
        return rows(self.path)

    def close(self) -> None:
        """No more frames."""
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        finally:
            self._stream.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, value: dict[str, Any]) -> None:
        with disk_named(self.path):
            self._stream.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._stream.flush()

    def _known(self) -> bool:
        """Whether the file holds this very run; how many of its frames are done."""
        self._mend()
        known = next(_lines(self.path), None)
        if known is None:
            return False
        done, now = sum(1 for _ in _lines(self.path)) - 1, json.loads(json.dumps(self.header))
        if known != now:
            if not done:  # it stopped before its first frame, perhaps over an option that was wrong
                return False
            was = known if isinstance(known, dict) else {}
            differing = ", ".join(sorted(k for k in {*was, *now} if was.get(k) != now.get(k)))
            raise BadInput(
                f"{self.path}: of another run ({differing} differ). Give another --out, or --fresh to begin anew.",
                field="out",
            )
        self.done = done
        return True

    def _mend(self) -> None:
        """Cut away a last line that was not finished."""
        with self.path.open("rb+") as stream:
            size = stream.seek(0, os.SEEK_END)
            at = size
            while at > 0:
                step = min(1 << 16, at)
                stream.seek(at - step)
                found = stream.read(step).rfind(b"\n")
                if found >= 0:
                    stream.truncate(at - step + found + 1)
                    return
                at -= step
            stream.truncate(0)


def header_of(path: Path) -> dict[str, Any]:
    """What a run was.

    Raises:
        BadInput: not a record.
    """
    first = next(_lines(path), None)
    if not isinstance(first, dict) or "phrases" not in first:
        raise BadInput(f"{path}: not a record of tracks. Make one with: sam3-agent track", field="record")
    return first


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The frames of a record, one at a time."""
    lines = _lines(path)
    next(lines, None)
    yield from lines


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(f"{path}, line {number}: not JSON ({error.msg}). Begin anew with --fresh.") from error
