"""A picture as a short vector, for telling kinds of pictures apart.

What the image encoder left is pooled over the picture (mean and spread of every channel) and projected to 64 numbers
by a fixed random matrix, which keeps distances (Johnson & Lindenstrauss 1984). Engines that keep their features to
themselves (a server) give the colours of an 8 x 8 thumbnail instead. Vectors of one kind are compared, never of two.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from sam3.types import FloatArray, UInt8Array

SIZE = 64


def describe(embedding: Any, image: UInt8Array) -> FloatArray:
    """float32 (64,) of length 1.

    Args:
        embedding: of any engine. image: uint8 RGB (H, W, 3), the picture that was encoded.
    """
    features = _features(embedding)
    if features is None:
        import cv2

        long = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() / 255 - 0.5
    else:
        flat = features.reshape(features.shape[0], -1)
        long = np.concatenate([flat.mean(1), flat.std(1)])
    short = long @ _projection(len(long))
    return np.asarray(short / max(float(np.linalg.norm(short)), 1e-9), np.float32)


def _features(embedding: Any) -> FloatArray | None:
    """(channels, h, w) of the coarsest map an embedding holds; None when it holds none."""
    found = getattr(embedding, "trunk", None)
    vision = getattr(embedding, "vision", None)
    if found is None and vision is not None:
        levels = getattr(vision, "levels", None)
        found = getattr(vision, "level", None) if levels is None else levels[-1]
    if found is None:
        return None
    if hasattr(found, "detach"):
        found = found.detach().float().cpu().numpy()
    array = np.asarray(found, np.float32)
    return array.reshape(array.shape[-3], *array.shape[-2:]) if array.ndim >= 3 else None


@lru_cache(maxsize=4)
def _projection(length: int) -> FloatArray:
    drawn = np.random.default_rng(0).standard_normal((length, SIZE)) / np.sqrt(SIZE)
    return np.asarray(drawn, np.float32)
