"""Which pictures are the same picture: equal bytes, or nearly equal to the eye.

A copy on both sides of a split makes validation easier than life. Near copies (saved again, resized,
brightened) are found by the difference hash: 64 bits, each says whether a cell of a 9x8 grey thumbnail is
darker than its right neighbour. Called by the split stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sam3.errors import BadInput

NEAR = 3  # differing bits of 64; four 16-bit bands then find every pair, for one of them must be equal
FLAT = 4.0  # grey levels; the thumbnail of a picture with less contrast says nothing about it


@dataclass(frozen=True, slots=True)
class Likeness:
    """`digest` of the bytes; `dhash` of the picture, None for one without contrast."""

    digest: bytes
    dhash: int | None


def look_at(path: Path) -> Likeness:
    """Read a picture and hash it.

    Raises:
        BadInput: it is missing or cannot be decoded.
    """
    try:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        with Image.open(path) as image:
            image.draft("L", (72, 64))
            grey = ImageOps.exif_transpose(image).convert("L").resize((9, 8), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else "cannot be decoded"
        raise BadInput(f"{path}: {reason}. Run `sam3-agent etl` again.") from error
    return Likeness(digest, difference_hash(np.asarray(grey, np.int16)))


def difference_hash(grey: NDArray[np.int16]) -> int | None:
    """64 bits from an (8, 9) thumbnail, 0..255; None when it is flat."""
    if grey.std() < FLAT:
        return None
    bits = grey[:, :-1] < grey[:, 1:]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Index i and the later indexes whose hash differs from that of i in at most `NEAR` bits.

    Time grows with the pairs that share a 16-bit band, not with all pairs. A pair may come up to four times.
    """
    for band in range(4):
        keys = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        borders = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, borders):
            for position, index in enumerate(bucket[:-1]):
                rest = bucket[position + 1 :]
                close = np.bitwise_count(hashes[rest] ^ hashes[index]) <= NEAR
                if close.any():
                    yield int(index), rest[close]
