"""What a conversation looks at: pictures and clips, known by their content.

The key of a picture is a hash of its pixels and shape, so that the same picture sent twice is encoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.types import UInt8Array


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, uint8 RGB (H, W, 3), and the hash of its content."""

    pixels: UInt8Array
    key: bytes

    @classmethod
    def of(cls, pixels: UInt8Array) -> Picture:
        """A picture from its pixels."""
        content = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
        content.update(repr(pixels.shape).encode())
        return cls(pixels, content.digest())


@dataclass(frozen=True, eq=False)
class Medium:
    """An image (one frame) or a clip (several)."""

    frames: tuple[Picture, ...]
    is_clip: bool

    @property
    def pixels(self) -> UInt8Array:
        """The first frame."""
        return self.frames[0].pixels


def medium(source: Any) -> Medium:
    """A medium from an array ((H, W, 3) or (T, H, W, 3), uint8 RGB), a PIL image, or a path.

    Raises:
        BadInput: the array has another shape or type, or the file cannot be read.
    """
    if isinstance(source, Medium):
        return source
    if isinstance(source, np.ndarray) and (source.ndim == 4 or (source.ndim == 3 and source.dtype == np.uint8)):
        return _from_array(source)
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
