"""A picture file -> its upright size, or why it cannot be used.

Only the header is read unless the pixels are to be verified; a verification decodes the whole file, JPEGs at
an eighth of their size, because a truncated file has a perfect header.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

MIN_SIDE = 8  # pixels; nothing can be outlined in less
MAX_PIXELS = 100_000_000  # larger pictures are refused before they are decoded
_ORIENTATION = 274  # EXIF tag; 5 to 8 swap width and height
_ERRORS = (
    OSError,
    UnidentifiedImageError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    MemoryError,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """Upright width and height in pixels, or the rule and detail by which it is refused."""

    width: int = 0
    height: int = 0
    rule: str = ""
    detail: str = ""


def read_picture(path: str, *, verify: bool) -> Picture:
    """Size of the upright picture; never raises for a bad file.

    Args:
        path: a picture in any format the etl lists.
        verify: decode the pixels as well, to find truncated files.
    """
    try:
        if os.stat(path).st_size == 0:  # noqa: PTH116 - pathlib costs a tenth of the time here
            return Picture(rule="empty-picture", detail="0 bytes; copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks and large sizes are judged here, not printed
            with Image.open(path) as image:
                return _judge(image, verify)
    except _ERRORS as error:
        reason = str(error).replace(path, "the file")
        rule = "truncated-picture" if "truncated" in reason or "Truncated" in reason else "broken-picture"
        return Picture(rule=rule, detail=f"cannot be decoded ({reason}); copy it again")


def _judge(image: Image.Image, verify: bool) -> Picture:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        return Picture(rule="too-small-picture", detail=f"{width}x{height} pixels; at least {MIN_SIDE} a side")
    if width * height > MAX_PIXELS:
        return Picture(rule="too-large-picture", detail=f"{width}x{height} pixels; at most {MAX_PIXELS} in all")
    turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    if verify:
        image.draft("RGB", (width // 8, height // 8))
        image.load()
    return Picture(height, width) if turned else Picture(width, height)
