"""What somebody typed -> what is meant: a video file, a folder of frames, a webcam, or a camera's address.

from sam3_agent.video.sources import source_of
source_of("clip.mp4"), source_of("frames/"), source_of("0"), source_of("rtsp://10.0.0.7/barn", hosts={"10.0.0.7"})
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam3.errors import BadInput
from sam3.images import is_picture
from sam3_agent.video.safety import SUFFIXES, allowed_hosts, check_rtsp

Kind = Literal["file", "folder", "webcam", "rtsp"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where frames come from.

    Attributes:
        address: path, index or URL, as it is opened.
        name: for messages and file names; holds no password.
        live: frames come at their own pace and cannot be read again.
    """

    kind: Kind
    address: str
    name: str

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""
        return self.kind in ("webcam", "rtsp")


def source_of(text: str | os.PathLike[str], *, hosts: Collection[str] | None = None) -> Source:
    """What is meant by a path, a number or an address.

    Args:
        hosts: cameras that may be contacted; from the environment when None.

    Raises:
        BadInput: nothing of the kind, or a camera that is not on the list.
    """
    words = os.fspath(text)
    if re.fullmatch(r"\d{1,3}", words) and not Path(words).exists():
        return Source("webcam", words, f"webcam {words}")
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:(//)?", words) and not Path(words).exists():
        return Source("rtsp", words, check_rtsp(words, allowed_hosts() if hosts is None else hosts))
    if "\0" in words:
        raise BadInput("the video's path holds a zero byte. Give the path of a file.", field="video")
    path = Path(words).expanduser()
    if path.is_dir():
        return Source("folder", str(path.resolve()), path.name or str(path))
    if path.is_file():
        return Source("file", str(path.resolve()), path.name)
    raise BadInput(
        f"{words[:120]}: no such video. Give a file ({', '.join(SUFFIXES)}), a folder of pictures, a webcam's number or "
        "rtsp://host/path.",
        field="video",
    )


def looks_like_video(text: object) -> bool:
    """Whether a path names a video file or a folder of frames (and not a picture)."""
    if not isinstance(text, str | os.PathLike) or not isinstance(os.fspath(text), str):
        return False
    try:
        path = Path(text).expanduser()
        return path.suffix.lower() in SUFFIXES or (path.is_dir() and bool(frame_files(path)))
    except (OSError, ValueError):
        return False


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder, frame2 before frame10. Links that lead out of the folder are left out."""
    inside = folder.resolve()
    found = [p for p in folder.iterdir() if is_picture(p) and p.resolve().is_relative_to(inside)]
    return sorted(found, key=lambda p: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", p.name)])
