"""One connection to a live source: frames until it breaks. `capture.py` connects again.

RTSP goes over TCP through FFmpeg with nothing but RTSP's own protocols permitted, a deadline on every read, and a tether.
A file can stand in for a camera: its frames come at its own pace, and start again where it is to loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from sam3.errors import Unavailable
from sam3.types import UInt8Array
from sam3_agent.video.live.tether import OPEN_SECONDS, Tether
from sam3_agent.video.reading import bounded, read_frames, rgb, webcam
from sam3_agent.video.safety import CODECS, VideoLimits, check_shape
from sam3_agent.video.sources import Source

READ_SECONDS = 5.0
RTSP_OPTIONS = {
    "rtsp_transport": "tcp",
    "protocol_whitelist": "rtsp,rtp,tcp",
    "format_whitelist": "rtsp,rtp,sdp",
    "codec_whitelist": CODECS,
    "fflags": "nobuffer",
    "flags": "low_delay",
    "allowed_media_types": "video",
}
Pictures = Iterator[UInt8Array]
Damage = Callable[[], None]


def connect(source: Source, damaged: Damage, *, loop: bool = False, read_seconds: float = READ_SECONDS) -> Pictures:
    """uint8 RGB (H, W, 3) frames of one connection, as they come.

    Args:
        damaged: called for every packet that could not be decoded.
        loop: a file begins again at its end.
        read_seconds: a camera that is silent for longer counts as gone.

    Raises:
        Unavailable: cannot be reached, or broke off.
    """
    if source.kind == "rtsp":
        return _rtsp(source, damaged, read_seconds)
    if source.kind == "webcam":
        return (frame.pixels for frame in webcam(source))
    return _paced(source, loop)


def _rtsp(source: Source, damaged: Damage, read_seconds: float) -> Pictures:
    import av

    limits = VideoLimits()
    with Tether(source) as tether:
        try:
            container = av.open(tether.address, options=dict(RTSP_OPTIONS), timeout=(OPEN_SECONDS, read_seconds))
        except (av.FFmpegError, ValueError, OSError) as error:
            if tether.moved:
                raise Unavailable(
                    f"{source.name}: sends its viewers to another address, or speaks no plain RTSP. Name the address where it ends."
                ) from error
            said = _why(error, tether.address)
            raise Unavailable(f"{source.name}: does not answer ({said}). Is the camera on?") from error
        try:
            if not container.streams.video:
                raise Unavailable(f"{source.name}: sends no video.")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise Unavailable(f"{source.name}: sends video that nothing here can decode. Set it to H.264.")
            stream.codec_context.options = bounded(limits)
            for picture in _pictures(container, stream, damaged, source):
                check_shape(picture.width, picture.height, limits, source.name)
                yield rgb(picture)
        finally:
            with suppress(Exception):  # a connection that broke may not close cleanly
                container.close()
    raise Unavailable(f"{source.name}: the camera ended the stream.")


def _pictures(container: Any, stream: Any, damaged: Damage, source: Source) -> Iterator[Any]:
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise Unavailable(f"{source.name}: broke off ({_why(error, source.address)}).") from error
        if packet is None:
            return
        if packet.is_corrupt:
            damaged()
        try:
            yield from packet.decode()
        except av.FFmpegError:
            damaged()


def _paced(source: Source, loop: bool) -> Pictures:
    """A file's frames when their time has come; those whose time is past are given at once."""
    while True:
        began = time.monotonic()
        for frame in read_frames(source):
            wait = began + frame.time - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield frame.pixels
        if not loop:
            return


def _why(error: Exception, address: str) -> str:
    return str(getattr(error, "strerror", None) or error).replace(address, "the camera")[:120]  # it may hold a password
