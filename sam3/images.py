"""A picture file -> pixels, the same way everywhere.

Bounded before it is decoded, turned upright by its EXIF tag, always RGB. Whatever cannot be used is a
one-line `BadInput` that names the file. Used wherever a picture enters: training, evaluation, answers.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from sam3.errors import BadInput
from sam3.types import UInt8Array

MAX_PIXELS = 50_000_000
MIN_SIDE = 8


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a picture file.

    Args:
        path: JPEG, PNG, WebP or anything else Pillow reads; suffix and case do not matter.
        max_pixels: larger pictures are refused before a pixel is decoded.

    Returns:
        uint8 RGB (H, W, 3), upright (the EXIF orientation is applied).

    Raises:
        BadInput: missing, empty, truncated, not a picture, smaller than 8 pixels on a side, or too large.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own, lower bound follows
            with Image.open(path) as image:
                _check_size(path, *image.size, max_pixels)
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I;16"):  # Pillow clips 16-bit greys to white instead of scaling
                    grey = (np.asarray(upright) >> 8).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, axis=2)
                return np.ascontiguousarray(upright.convert("RGB"))
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path}: over {max_pixels / 1e6:.0f} megapixels. Scale the picture down.") from error
    except FileNotFoundError as error:
        raise BadInput(f"{path}: there is no such picture.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error...
        reason = "the file is empty" if _is_empty(path) else f"{type(error).__name__}: {error}"
        raise BadInput(f"{path}: not a readable picture ({reason}). Replace the file.") from error


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) in pixels after EXIF rotation, read from the header alone. Raises like `read_image`."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception:
        height, width = read_image(path).shape[:2]  # says what is wrong, in the same words
        return height, width
    return (width, height) if turned else (height, width)


def resolve_inside(folder: str | os.PathLike[str], name: str) -> Path:
    """`folder`/`name`, refused when it leaves `folder`: names in annotation files come from outside."""
    root = Path(folder).resolve()
    target = (root / name).resolve()
    if not name or not target.is_relative_to(root) or target == root:
        raise BadInput(f"file_name {name!r} is not inside {folder}. Use a path relative to that folder.")
    return Path(folder) / name


def _check_size(path: str | os.PathLike[str], width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadInput(f"{path}: {width} x {height} is over {max_pixels / 1e6:.0f} megapixels. Scale the picture down.")
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"{path}: {width} x {height} pixels; each side needs at least {MIN_SIDE}.")


def _is_empty(path: str | os.PathLike[str]) -> bool:
    file = Path(path)
    return file.is_file() and file.stat().st_size == 0
