"""From a picture with alpha to a cut-out worth keeping: trimmed, scaled, judged, its colour named.

Used by `build-pack` for every source alike. Pure functions on RGBA arrays.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.types import UInt8Array

# upper hue bounds (OpenCV hue, 0..180) of the names people use
HUES = [
    (8, "red"),
    (22, "orange"),
    (34, "yellow"),
    (85, "green"),
    (130, "blue"),
    (155, "purple"),
    (171, "pink"),
]
OPAQUE = 128


def fit(rgba: UInt8Array, longest: int) -> UInt8Array:
    """Trim to what can be seen, then scale so that the longest side is at most `longest`.

    Args:
        rgba: (H, W, 4) straight alpha.
        longest: pixels; smaller pictures are left as they are.

    Returns:
        (h, w, 4) straight alpha with a transparent border of one pixel, so that edges blend.
    """
    rows, columns = (np.flatnonzero((rgba[..., 3] > 16).any(axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return np.zeros((1, 1, 4), np.uint8)
    rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(1.0, (longest - 2) / max(rgba.shape[:2]))
    if scale < 1:
        rgba = _shrink(rgba, scale)
    return np.asarray(cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)), np.uint8)


def complaint(rgba: UInt8Array) -> str | None:
    """Why a fitted cut-out is not usable, or None when it is."""
    alpha = rgba[1:-1, 1:-1, 3]
    if min(alpha.shape) < 20:
        return "too small"
    solid = alpha >= OPAQUE
    if not (alpha < 16).any() or solid.mean() > 0.985:
        return "no alpha"
    if solid.mean() < 0.12:
        return "too thin"
    if solid.sum() < 0.7 * (alpha > 16).sum():
        return "translucent"
    return None


def thumbnail(rgba: UInt8Array) -> NDArray[np.float32]:
    """(24, 24, 4): two cut-outs whose thumbnails differ by less than 2 on average are the same drawing."""
    side = max(rgba.shape)
    below, right = side - rgba.shape[0], side - rgba.shape[1]
    square = cv2.copyMakeBorder(rgba, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    flat = square.astype(np.float32)
    flat[..., :3] *= flat[..., 3:] / 255
    return np.asarray(cv2.resize(flat, (24, 24), interpolation=cv2.INTER_AREA), np.float32)


def colour_name(rgba: UInt8Array) -> str:
    """The colour most of the object has, or "" when no colour covers 45 % of it."""
    solid = rgba[rgba[..., 3] >= OPAQUE][:, :3]
    if not len(solid):
        return ""
    hue, saturation, value = cv2.cvtColor(solid[None], cv2.COLOR_RGB2HSV)[0].astype(int).T
    names = np.full(len(solid), "red", dtype="<U6")
    for bound, name in reversed(HUES):
        names[hue < bound] = name
    names[(names == "orange") & (value < 170)] = "brown"
    names[(names == "red") & (value < 130) & (saturation < 190)] = "brown"
    grey = saturation < 45
    names[grey] = "grey"
    names[grey & (value > 200)] = "white"
    names[value < 55] = "black"
    found, counts = np.unique(names, return_counts=True)
    return str(found[counts.argmax()]) if counts.max() >= 0.45 * len(solid) else ""


def _shrink(rgba: UInt8Array, scale: float) -> UInt8Array:
    """Scale down with premultiplied alpha, so that hidden colours do not bleed into the edge."""
    size = tuple(max(1, round(side * scale)) for side in rgba.shape[1::-1])
    alpha = rgba[..., 3:].astype(np.float32) / 255
    small = cv2.resize(np.dstack([rgba[..., :3] * alpha, alpha]), size, interpolation=cv2.INTER_AREA)
    colour = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
    return np.dstack([colour, small[..., 3:] * 255]).clip(0, 255).round().astype(np.uint8)
