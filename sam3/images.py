"""A picture file -> pixels, the same way everywhere.

Bounded before it is decoded, turned upright by its EXIF tag, always RGB. Whatever cannot be used is a
one-line `BadInput` that names the file. Used wherever a picture enters: training, evaluation, answers.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from sam3.decoding import MAX_PIXELS, decode
from sam3.errors import BadInput
from sam3.types import UInt8Array

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MAX_FILE = 512_000_000  # bytes; a file of one's own may be an uncompressed TIFF


def is_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends as a picture's does, in either case."""
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def picture_files(folder: Path) -> list[Path]:
    """Pictures of a folder, by name."""
    return sorted(path for path in folder.glob("*") if is_picture(path))


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a picture file.

    Args:
        path: JPEG, PNG, BMP, TIFF or WebP; suffix and case do not matter.
        max_pixels: larger pictures are refused before a pixel is decoded.

    Returns:
        uint8 RGB (H, W, 3), upright (the EXIF orientation is applied), transparency laid on white.

    Raises:
        BadInput: missing, empty, truncated, not a picture, smaller than 8 pixels on a side, or too large.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE:
            raise BadInput(f"{path}: over {MAX_FILE / 1e6:.0f} MB. Scale the picture down.")
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(f"{path}: there is no such picture.") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}). Expected a picture file.") from error
    return decode(data, str(path), max_pixels=max_pixels, max_bytes=MAX_FILE)


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
