"""What a conversation looks at: pictures and clips, known by their content.

The key of a picture is a hash of its pixels and shape, so that the same picture sent twice is encoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.types import UInt8Array

LONGEST_SIDE = 2048  # pixels of a picture that are looked at and kept; results are mapped back to the original


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, uint8 RGB (H, W, 3), and the hash of its content.

    Attributes:
        pixels: at most `LONGEST_SIDE` on a side.
        key: hash of these pixels and of the original's size.
        original: (H, W) that was handed in, where that was larger.
    """

    pixels: UInt8Array
    key: bytes
    original: tuple[int, int] | None = None

    @classmethod
    def of(cls, pixels: UInt8Array, original: tuple[int, int] | None = None) -> Picture:
        """A picture from its pixels; a large one is kept smaller."""
        height, width = pixels.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            import cv2

            share = LONGEST_SIDE / max(height, width)
            small = (max(1, round(width * share)), max(1, round(height * share)))
            original = original or (height, width)
            pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
        content = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
        content.update(repr((pixels.shape, original)).encode())
        return cls(pixels, content.digest(), original)

    @property
    def scale(self) -> float:
        """Original pixels per pixel kept."""
        return 1.0 if self.original is None else max(self.original) / max(self.pixels.shape[:2])


@dataclass(frozen=True, eq=False)
class Medium:
    """An image (one frame) or a clip (several).

    Attributes:
        times: seconds of each frame, where the clip came from a file.
        file: the clip's own bytes, until a conversation has kept them.
    """

    frames: tuple[Picture, ...]
    is_clip: bool
    times: tuple[float, ...] = ()
    file: bytes = b""

    def lean(self) -> Medium:
        """The same without the file's bytes."""
        return replace(self, file=b"") if self.file else self

    def cut(self, between: tuple[float, float | None] | None) -> Medium:
        """The part of a clip between two times; the nearest frame where none lies between. A picture is whole.

        Args:
            between: seconds; a negative start counts from the end, None is the end.
        """
        if between is None or not self.is_clip:
            return self
        times = self.times or tuple(float(at) for at in range(len(self.frames)))
        start, end = between
        start = max(0.0, times[-1] + start) if start < 0 else start
        kept = [at for at, time in enumerate(times) if start <= time <= (times[-1] if end is None else end)]
        if not kept:
            kept = [min(range(len(times)), key=lambda at: abs(times[at] - start))]
        return Medium(tuple(self.frames[at] for at in kept), True, tuple(times[at] for at in kept))

    @property
    def pixels(self) -> UInt8Array:
        """The first frame."""
        return self.frames[0].pixels

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(frame.pixels.nbytes for frame in self.frames) + len(self.file)


def medium(source: Any) -> Medium:
    """A medium from an array ((H, W, 3) or (T, H, W, 3), uint8 RGB), a PIL image, or a path.

    Raises:
        BadInput: the array has another shape or type, or the file cannot be read.
    """
    if isinstance(source, Medium):
        return source
    if isinstance(source, np.ndarray) and (source.ndim == 4 or (source.ndim == 3 and source.dtype == np.uint8)):
        return _from_array(source)
    from sam3_agent.video.sources import looks_like_video

    if looks_like_video(source):
        from sam3_agent.video.clip import load_clip

        return load_clip(source)
    from sam3_agent.media.images import load_image

    return _from_array(load_image(source))


def _from_array(pixels: np.ndarray) -> Medium:
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise BadInput(
            f"media: an image is a uint8 RGB array (H, W, 3), a video (T, H, W, 3); got {pixels.dtype} {pixels.shape}.",
            field="media",
        )
    if pixels.ndim == 3:
        return Medium((Picture.of(pixels),), is_clip=False)
    return Medium(tuple(Picture.of(frame) for frame in pixels), is_clip=True)


def media_of(sources: Sequence[Any]) -> list[Medium]:
    """All media of a turn."""
    return [medium(source) for source in sources]
