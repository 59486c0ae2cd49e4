"""Label Studio's run-length form of a brush mask, there and back.

The format is that of @thi.ng/rle-pack: 32 bits number of values, 5 bits word size - 1, four times 4 bits a run-length
size - 1; then runs: 1 bit (repeated or literal), 2 bits (which run-length size), the length - 1, and one value or that
many. Values are the bytes of an RGBA picture; only alpha counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIZES = (3, 4, 8, 16)  # bits of a run's length, of which each run takes the smallest that holds it
_LONGEST = 1 << _SIZES[-1]


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """A mask (H, W) -> bytes as Label Studio stores them."""
    flat = np.repeat(np.asarray(mask, np.uint8).ravel() * 255, 4)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges]) if len(flat) else np.zeros(0, np.int64)
    lengths = np.diff(np.concatenate([starts, [len(flat)]]))
    bits = [f"{len(flat):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value, left = int(flat[start]), length
        while left:
            part = min(left, _LONGEST)
            at = next(at for at, size in enumerate(_SIZES) if part <= 1 << size)
            bits.append(f"1{at:02b}{part - 1:0{_SIZES[at]}b}{value:08b}")
            left -= part
    text = "".join(bits)
    packed = np.frombuffer(text.encode(), np.uint8) - ord("0")
    return [int(byte) for byte in np.packbits(packed)]


def decode_brush(data: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Bytes as Label Studio stores them -> a mask (H, W).

    Raises:
        ValueError: they end early, or are of a picture of another size.
    """
    bits = _Bits(np.unpackbits(np.asarray(data, np.uint8)))
    count, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if count != height * width * 4:
        raise ValueError(f"a brush of {count // 4} pixels on a picture of {width} x {height}")
    out: NDArray[Any] = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        repeated = bits.read(1)
        end = min(at + 1 + bits.read(sizes[bits.read(2)]), count)
        if repeated:
            out[at:end] = bits.read(word)
        else:
            out[at:end] = bits.many(end - at, word)
        at = end
    return out.reshape(height, width, 4)[..., 3] > 127


class _Bits:
    """Numbers from a row of bits, most significant first."""

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self._bits, self._at = bits, 0

    def read(self, size: int) -> int:
        piece = self._bits[self._at : self._at + size]
        if len(piece) < size:
            raise ValueError("a brush that ends early")
        self._at += size
        number = 0
        for bit in piece.tolist():
            number = number << 1 | bit
        return number

    def many(self, count: int, size: int) -> NDArray[np.uint8]:
        piece = self._bits[self._at : self._at + count * size]
        if len(piece) < count * size:
            raise ValueError("a brush that ends early")
        self._at += count * size
        weights = 1 << np.arange(size)[::-1]
        return np.asarray(piece.reshape(count, size) @ weights, np.uint8)
