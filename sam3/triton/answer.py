"""Detections of one request -> the output tensors of `sam3`; only those that the client asked for are made.

Instances of all phrases follow each other; `phrase_index` says whose each is. Masks are bits, eight pixels a byte,
row by row (`numpy.packbits`), 1/8 of a bool array; `rle` holds COCO run lengths as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sam3.types import BoolArray, Detections, UInt8Array

Array = np.ndarray[Any, Any]
OUTPUTS = ("boxes", "scores", "phrase_index", "presence", "masks", "rle", "image_size", "image_key", "warnings")


def pack_masks(masks: BoolArray) -> UInt8Array:
    """Bool (N, H, W) -> uint8 (N, ceil(H * W / 8))."""
    return np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1)


def unpack_masks(packed: UInt8Array, height: int, width: int) -> BoolArray:
    """The reverse of `pack_masks`: bool (N, H, W)."""
    if not len(packed):
        return np.zeros((0, height, width), bool)
    return np.unpackbits(packed, axis=1, count=height * width).reshape(-1, height, width).view(bool)


def output_tensors(
    found: Sequence[Detections], size: tuple[int, int], key: str, wanted: frozenset[str]
) -> dict[str, Array]:
    """The tensors by name, with the batch axis of 1.

    Args:
        found: one per phrase.
        size: (H, W) of the picture in pixels.
    """
    text = np.object_
    counts = [len(item) for item in found]

    def strings(values: Sequence[str]) -> Array:
        return np.array([value.encode() for value in values], text)

    make: dict[str, Callable[[], Array]] = {
        "boxes": lambda: _join([item.boxes for item in found], np.zeros((0, 4), np.float32)),
        "scores": lambda: _join([item.scores for item in found], np.zeros(0, np.float32)),
        "phrase_index": lambda: np.repeat(np.arange(len(found), dtype=np.int32), counts),
        "presence": lambda: np.array([item.presence for item in found], np.float32),
        "masks": lambda: _join(
            [pack_masks(item.masks) for item in found], np.zeros((0, -(-size[0] * size[1] // 8)), np.uint8)
        ),
        "rle": lambda: strings([json.dumps(rle) for item in found for rle in item.to_rle()]),
        "image_size": lambda: np.array(size, np.int32),
        "image_key": lambda: strings([key]),
        "warnings": lambda: strings([json.dumps(item.warnings, ensure_ascii=False) for item in found]),
    }
    return {name: make[name]()[None] for name in OUTPUTS if name in wanted}


def _join(parts: Sequence[Array], empty: Array) -> Array:
    return np.concatenate([empty, *parts])
