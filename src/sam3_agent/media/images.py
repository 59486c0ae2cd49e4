"""Any picture a person or program hands in -> uint8 RGB pixels, or one line saying why not.

The door for everything from outside: paths (contained in allowed folders), bytes, data URLs, PIL images, arrays
and, where permitted, web addresses. Size limits hold before anything is decoded. Training reads its own files
with `sam3.images`; this door is for the agent and its service. Try it: `load_image("picture.jpg").shape`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from sam3.decoding import MAX_BYTES, MAX_PIXELS, decode, from_array, from_pil
from sam3.errors import BadInput
from sam3.types import UInt8Array

DATA_URL = re.compile(r"data:(image/[\w.+-]+)?(?:;[\w=.+-]+)*?(;base64)?,", re.IGNORECASE)

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Any


def load_image(
    source: Source,
    *,
    roots: Sequence[str | os.PathLike[str]] | None = None,
    urls: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> UInt8Array:
    """Turn whatever stands for a picture into pixels.

    Args:
        source: a path, the bytes of a file, a `data:` URL, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4) of
            uint8 or uint16, or an http(s) address.
        roots: folders that paths must stay in, links followed; None permits every path (a person's own command
            line), an empty sequence none.
        urls: whether web addresses may be fetched.
        max_pixels: larger pictures are refused from their header.
        max_bytes: larger files are refused unread.

    Returns:
        uint8 RGB (H, W, 3), upright; transparency on white, 16 bits scaled to 8.

    Raises:
        BadInput: not a picture, damaged, too large, or not permitted; the message names the file.
        Unavailable: an address that does not answer.
    """
    if isinstance(source, np.ndarray):
        return from_array(source, max_pixels=max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(bytes(source), "the picture", max_pixels=max_pixels, max_bytes=max_bytes)
    if isinstance(source, str) and source[:5].lower() == "data:":
        return decode(data_url_bytes(source, max_bytes), "the data URL", max_pixels=max_pixels, max_bytes=max_bytes)
    if isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE):
        if not urls:
            raise BadInput("web addresses are not permitted here. Send the picture itself.", field="image")
        from sam3_agent.media.urls import fetch_image

        return fetch_image(source, max_pixels=max_pixels, max_bytes=max_bytes)
    if isinstance(source, str | os.PathLike):
        path = contained(source, roots)
        return decode(_read(path, max_bytes), str(source), max_pixels=max_pixels, max_bytes=max_bytes)
    if hasattr(source, "convert") and hasattr(source, "getbands"):
        return from_pil(source, "the picture", max_pixels=max_pixels)
    raise BadInput(f"a {type(source).__name__} is no picture. Give a path, bytes, data URL, PIL image or array.")


def contained(path: str | os.PathLike[str], roots: Sequence[str | os.PathLike[str]] | None) -> Path:
    """The real place of `path`, which must lie in one of `roots` after links are followed.

    Raises:
        BadInput: outside, or not a path at all.
    """
    try:
        real = Path(path).expanduser().resolve()
        inside = roots is None or any(real.is_relative_to(Path(root).resolve()) for root in roots)
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, NUL bytes, names too long
        raise BadInput(f"{str(path)[:80]!r}: cannot be a path ({error}).", field="image") from error
    if not inside:
        raise BadInput(f"{path}: outside the folders that may be read. Send the picture itself.", field="image")
    return real


def data_url_bytes(url: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes behind `data:image/...;base64,...`.

    Raises:
        BadInput: not an image, not base64, or too long.
    """
    head = DATA_URL.match(url[:200])
    if head is None:
        raise BadInput(f"{url[:40]!r}: not a data URL of a picture. Expected data:image/png;base64,...", field="image")
    body = url[head.end() :]
    if len(body) > max_bytes * 4 // 3 + 4:
        raise BadInput(f"the data URL: over {max_bytes / 1e6:.0f} MB. Scale the picture down.", field="image")
    try:
        plain = unquote_to_bytes(body)
        return base64.b64decode(re.sub(rb"\s", b"", plain), validate=True) if head[2] else plain
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"the data URL: not valid base64 ({error}). Encode the picture again.", field="image") from error


def content_hash(image: np.ndarray[Any, Any]) -> str:
    """SHA-256 of pixels, shape and dtype: equal exactly when the arrays are, whatever file they came from."""
    digest = hashlib.sha256(f"{image.dtype.str} {image.shape} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _read(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file that is not too large; devices and pipes would never end."""
    try:
        if not path.exists():
            raise BadInput(f"{path}: there is no such picture.", field="image")
        if not path.is_file():
            raise BadInput(f"{path}: not a file. Give a picture file.", field="image")
        size = path.stat().st_size
        if size > max_bytes:
            raise BadInput(f"{path}: {size / 1e6:.0f} MB, over {max_bytes / 1e6:.0f} MB. Scale the picture down.")
        with path.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).", field="image") from error
