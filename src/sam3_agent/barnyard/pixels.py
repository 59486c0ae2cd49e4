"""Write a picture as cameras and phones do: format by suffix, rotated pixels with an EXIF note.

Used by the barnyard for raw pictures and the inbox.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sam3.types import UInt8Array

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
ORIENTATION = 274  # EXIF tag
# quarter turns to the left that make stored pixels from upright ones
STORED_TURNS = {1: 0, 6: 1, 3: 2, 8: 3}


def write_picture(path: Path, upright: UInt8Array, orientation: int = 1) -> None:
    """Store an upright (H, W, 3) uint8 RGB picture.

    Args:
        path: its suffix, in either case, is the format.
        orientation: EXIF orientation 1, 3, 6 or 8; the pixels are stored turned so that a viewer which
            honours it shows the picture upright. JPEG only.
    """
    kind = FORMATS[path.suffix.lower()]
    exif = Image.Exif()
    if kind == "JPEG" and orientation != 1:
        exif[ORIENTATION] = orientation
        upright = np.ascontiguousarray(np.rot90(upright, STORED_TURNS[orientation]))
    options = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 3}, "WEBP": {"quality": 88, "method": 2}}[kind]
    Image.fromarray(upright).save(path, format=kind, exif=exif, **options)
