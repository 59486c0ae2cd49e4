"""Frames out of files and folders, one at a time, with bounded memory.

    from sam3_agent.video.reading import read_frames
    for frame in read_frames(source_of("clip.mp4"), start=10.0, end=20.0):
        frame.number, frame.time, frame.pixels

Decoding is PyAV's (FFmpeg). Damaged packets are left out and counted; a file of nothing else is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sam3.errors import BadInput, Unavailable
from sam3_agent.video.frames import Frame
from sam3_agent.video.safety import CODECS, DEMUXERS, VideoLimits, check_container, check_shape
from sam3_agent.video.sources import Source, frame_files

FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS, "codec_whitelist": CODECS}
FOLDER_RATE = 10.0  # frames a second where a folder does not say


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video says about itself.

    Attributes:
        width, height: pixels, upright. rate: frames a second.
        frames: how many, 0 where it does not say. seconds: how long, 0 where it does not say.
    """

    width: int
    height: int
    rate: float
    frames: int
    seconds: float


def facts(source: Source, limits: VideoLimits | None = None, rate: float = FOLDER_RATE) -> VideoFacts:
    """Look at a file or folder without decoding more than one frame.

    Raises:
        BadInput: not a video, damaged, or over the limits.
    """
    limits = limits or VideoLimits()
    if source.kind == "folder":
        from sam3_agent.media.images import load_image

        files = frame_files(Path(source.address))
        if not files:
            raise BadInput(f"{source.name}: no pictures in this folder. Give a folder of frames.", field="video")
        _check_length(len(files), len(files) / rate, limits, source.name)
        height, width = load_image(files[0]).shape[:2]
        check_shape(width, height, limits, source.name)
        return VideoFacts(width, height, rate, len(files), len(files) / rate)
    with _opened(source, limits) as container:
        stream = container.streams.video[0]
        pace = float(stream.average_rate or stream.guessed_rate or Fraction(25))
        seconds = container.duration / 1e6 if container.duration else 0.0
        frames = stream.frames or round(seconds * pace)
        _check_length(frames, seconds, limits, source.name)
        first = next(_upright(container, stream, source.name), None)
        if first is None:
            raise BadInput(f"{source.name}: no frame can be decoded. The file is damaged.", field="video")
        return VideoFacts(first[1].shape[1], first[1].shape[0], pace, frames, seconds)


def read_frames(
    source: Source,
    *,
    start: float = 0.0,
    end: float = math.inf,
    skip: int = 0,
    limits: VideoLimits | None = None,
    rate: float = FOLDER_RATE,
    wanted: Callable[[float], bool] | None = None,
) -> Iterator[Frame]:
    """The frames of a file or folder in order.

    Args:
        start, end: seconds; frames with start <= time < end are given.
        skip: frames numbered below this are not given (they are decoded, which is exact, but not converted).
        rate: frames a second of a folder.
        wanted: asked with the seconds of every frame; those that are not wanted are decoded and not converted.

    Raises:
        BadInput: not a video, damaged throughout, or over the limits.
    """
    limits = limits or VideoLimits()
    if source.kind == "folder":
        for frame in _folder(source, start, end, skip, limits, rate):
            if wanted is None or wanted(frame.time):
                yield frame
        return
    with _opened(source, limits) as container:
        stream = container.streams.video[0]
        for number, (at, pixels) in enumerate(_upright(container, stream, source.name, skip, start, wanted)):
            _check_length(number, at, limits, source.name)
            if at >= end:
                return
            if pixels is None:
                continue
            check_shape(pixels.shape[1], pixels.shape[0], limits, source.name)
            yield Frame(number, at, pixels)


def _folder(source: Source, start: float, end: float, skip: int, limits: VideoLimits, rate: float) -> Iterator[Frame]:
    from sam3_agent.media.images import load_image

    for number, path in enumerate(frame_files(Path(source.address))):
        _check_length(number, number / rate, limits, source.name)
        if number >= skip and start <= number / rate < end:
            yield Frame(number, number / rate, load_image(path, max_pixels=limits.max_pixels))


def _opened(source: Source, limits: VideoLimits) -> Any:
    import av

    path = Path(source.address)
    check_container(path, limits)
    try:
        # the prefix keeps names like "concat:a|b" from meaning anything but a file
        container = av.open(f"file:{path}", options=dict(FILE_OPTIONS))
    except (av.FFmpegError, ValueError) as error:
        raise BadInput(
            f"{source.name}: cannot be opened as a video ({_why(error)}). Convert it.", field="video"
        ) from error
    if not container.streams.video:
        container.close()
        raise BadInput(f"{source.name}: holds no video stream. Give a video file.", field="video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise BadInput(
            f"{source.name}: coded in a way that nothing here can decode. Convert it to H.264.", field="video"
        )
    stream.thread_type = "AUTO"
    stream.codec_context.options = bounded(limits)
    try:
        check_shape(stream.codec_context.width, stream.codec_context.height, limits, source.name)
    except BadInput:
        container.close()
        raise
    return container


def bounded(limits: VideoLimits) -> dict[str, str]:
    """Codec options that stop FFmpeg before it makes room for a frame that is too large, also one in mid-stream."""
    return {"max_pixels": str(limits.max_pixels + 256 * 256)}  # it counts whole blocks


def _upright(
    container: Any,
    stream: Any,
    name: str,
    skip: int = 0,
    start: float = 0.0,
    wanted: Callable[[float], bool] | None = None,
) -> Iterator[tuple[float, Any]]:
    """(seconds, uint8 RGB upright) of each frame; None for pixels that were not asked for."""
    origin, last, rate = None, -1.0, float(stream.average_rate or 25)
    for number, picture in enumerate(decoded(container, stream, name)):
        if origin is None:
            origin = picture.time or 0.0
        at = picture.time - origin if picture.time is not None else number / rate
        if at <= last:  # broken time stamps: time goes on at the declared rate
            at = last + 1 / rate
        last = at
        asked = number >= skip and at >= start and (wanted is None or wanted(at))
        yield at, rgb(picture) if asked else None


def decoded(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """Every frame that can be decoded; damaged packets are passed over."""
    import av

    good = bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            if not good:
                raise BadInput(f"{name}: damaged ({_why(error)}). Replace the file.", field="video") from error
            return
        if packet is None:
            break
        try:
            for picture in packet.decode():
                good += 1
                yield picture
        except av.FFmpegError:
            bad += 1
    if not good:
        why = f"none of its {bad} packets can be decoded" if bad else "it holds no frames"
        raise BadInput(f"{name}: {why}. Replace the file.", field="video")


def rgb(picture: Any) -> np.ndarray:
    """uint8 RGB (H, W, 3) of a decoded frame, turned upright as the file asks."""
    pixels = picture.to_ndarray(format="rgb24")
    turn = 0
    with suppress(AttributeError, TypeError, ValueError):
        turn = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turn)) if turn else pixels


def webcam(source: Source) -> Iterator[Frame]:
    """Frames of a local camera for as long as it gives any.

    Raises:
        Unavailable: no such camera, or it stopped.
    """
    import time

    import cv2

    camera = cv2.VideoCapture(int(source.address))
    try:
        if not camera.isOpened():
            raise Unavailable(f"{source.name}: no such camera, or it is in use. Plug it in, or try another number.")
        began, number = time.monotonic(), 0
        while True:
            there, pixels = camera.read()
            if not there:
                raise Unavailable(f"{source.name}: gives no more frames. Is it still plugged in?")
            now = time.monotonic()
            yield Frame(number, now - began, np.ascontiguousarray(pixels[..., ::-1]), now)
            number += 1
    finally:
        camera.release()


def _check_length(frames: int, seconds: float, limits: VideoLimits, name: str) -> None:
    if frames > limits.max_frames or seconds > limits.max_seconds:
        raise BadInput(
            f"{name}: over {limits.max_frames} frames or {limits.max_seconds:.0f} seconds. Cut it first.", field="video"
        )


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:120]
