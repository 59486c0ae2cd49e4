"""What a video may be before anything decodes it: container, size, length, protocol and host.

A video file is a program for a demuxer with many mouths: playlists that open other files, protocols that open sockets.
Only four plain containers are let in (by their first bytes, and again by FFmpeg's own list), FFmpeg gets exactly one
protocol, and a camera's host must be on a list. Used by `sources.py` and `reading.py`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sam3.errors import BadInput

SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm")
DEMUXERS = "mov,avi,matroska"  # FFmpeg's names for the containers above
CODECS = (
    "h264,hevc,mpeg4,msmpeg4,msmpeg4v2,msmpeg4v1,mpeg1video,mpeg2video,mjpeg,vp8,vp9,av1,libdav1d,libaom-av1,"
    "prores,rawvideo,ffv1,png,h263,wmv1,wmv2"
)  # those that people's files hold; FFmpeg knows hundreds
RTSP_PORTS = {"rtsp": 554, "rtsps": 322}  # where an address does not say, as FFmpeg has it
HOSTS_VARIABLE = "SAM3_RTSP_HOSTS"


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """How much of a video is accepted.

    Attributes:
        max_bytes: of a file.
        max_seconds: of a file, as declared and as decoded.
        max_frames: of a file or folder.
        max_pixels: of one frame.
    """

    max_bytes: int = 8_000_000_000
    max_seconds: float = 4 * 3600.0
    max_frames: int = 500_000
    max_pixels: int = 9_000_000


UPLOADS = VideoLimits(max_bytes=200_000_000, max_seconds=600, max_frames=20_000, max_pixels=9_000_000)


def is_container(head: bytes) -> bool:
    """Whether a file that begins with these bytes (16 or more) is an MP4/MOV, AVI or Matroska file."""
    mp4 = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    avi = head[:4] == b"RIFF" and head[8:11] == b"AVI"
    return mp4 or avi or head[:4] == b"\x1a\x45\xdf\xa3"


def check_container(path: Path, limits: VideoLimits) -> None:
    """A regular file of bounded size that begins like an MP4/MOV, AVI or Matroska file.

    Raises:
        BadInput: it does not; names the file and what was expected.
    """
    try:
        if not path.is_file():
            raise BadInput(f"{path}: no such video file. Give an mp4, avi, mov or mkv file.", field="video")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).", field="video") from error
    if size > limits.max_bytes:
        raise BadInput(f"{path}: {size / 1e6:.0f} MB, over {limits.max_bytes / 1e6:.0f} MB. Cut it.", field="video")
    if not is_container(head):
        raise BadInput(f"{path}: not an mp4, mov, avi or mkv file by its content. Convert it first.", field="video")


def check_shape(width: int, height: int, limits: VideoLimits, name: str) -> None:
    """Refuse frames that are too large, or none.

    Raises:
        BadInput: names the video and its size.
    """
    if width * height > limits.max_pixels or min(width, height) < 8:
        raise BadInput(
            f"{name}: frames of {width}x{height}; expected at least 8 pixels a side and at most "
            f"{limits.max_pixels / 1e6:.0f} megapixels. Scale it first.",
            field="video",
        )


def allowed_hosts() -> frozenset[str]:
    """Camera hosts from the environment: names or addresses, separated by commas."""
    return frozenset(part.strip().lower() for part in os.environ.get(HOSTS_VARIABLE, "").split(",") if part.strip())


def check_rtsp(url: str, hosts: Collection[str]) -> str:
    """An RTSP address whose host is on the list.

    Args:
        url: rtsp:// or rtsps://; a user name and password are let through to the camera.
        hosts: "host" or "host:port", in lower case.

    Returns:
        The address for messages: without user name and password.

    Raises:
        BadInput: another protocol, or a host that is not on the list; never repeats the password.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or RTSP_PORTS.get(parts.scheme, 554)
    except ValueError as error:
        raise BadInput(f"the camera's address cannot be read ({error}). Expected rtsp://host/path.") from error
    if parts.scheme not in ("rtsp", "rtsps") or not host or any(c.isspace() or not c.isprintable() for c in url):
        raise BadInput("the camera's address: expected rtsp://host/path.", field="video")
    if host not in hosts and f"{host}:{port}" not in hosts:
        raise BadInput(
            f"{host}: not a camera that may be contacted. Add it to {HOSTS_VARIABLE} (hosts, separated by commas).",
            field="video",
        )
    return f"{parts.scheme}://{host}:{port}{parts.path}"
