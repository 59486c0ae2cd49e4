"""Masks drawn on a picture: a tint inside, a crisp line around, a score beside it.

For comparisons, where a colour is a role: ground truth, baseline, candidate (an answer, where every thing has
a colour of its own, is painted by `overlay`). Used by the page and the notebook. Lines are drawn on the enlarged
picture, so they are equally thin whatever the picture's size.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.types import UInt8Array

Colour = tuple[int, int, int]
Masks = Sequence[NDArray[np.bool_]]

TRUTH: Colour = (255, 214, 10)
BEFORE: Colour = (255, 122, 60)
AFTER: Colour = (56, 189, 248)
DARK: Colour = (16, 20, 26)
TINT = 0.28


def draw_masks(
    image: UInt8Array, masks: Masks, colour: Colour, *, labels: Sequence[str] = (), width: int = 720
) -> UInt8Array:
    """Paint masks of one kind on a picture.

    Args:
        image: uint8 RGB (H, W, 3); not changed.
        masks: N x bool (H, W), at the picture's resolution.
        labels: N short texts, or none.
        width: of the result in pixels; its height follows.

    Returns:
        uint8 RGB (height, width, 3).
    """
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    canvas = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    shapes = [_enlarged(mask, size) for mask in masks]
    for shape in shapes:
        canvas[shape] = (canvas[shape] * (1 - TINT) + np.array(colour) * TINT).astype(np.uint8)
    thin = max(1, round(width / 360))
    for shape in shapes:
        rings, _ = cv2.findContours(shape.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, rings, -1, DARK, thin + 2, cv2.LINE_AA)  # a casing: visible on any ground
        cv2.drawContours(canvas, rings, -1, colour, thin, cv2.LINE_AA)
    return _with_labels(canvas, shapes, labels, colour) if labels else canvas


def data_uri(image: UInt8Array, quality: int = 82) -> str:
    """A picture, uint8 RGB (H, W, 3), as a WebP that stands inside a page."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    # smoothed on the way up: the steps of a small mask are not what is judged
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5)


def _with_labels(canvas: UInt8Array, shapes: Masks, labels: Sequence[str], colour: Colour) -> UInt8Array:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    size = max(12, canvas.shape[1] // 28)
    font = ImageFont.load_default(size)
    for shape, label in zip(shapes, labels, strict=True):
        ys, xs = np.nonzero(shape)
        if not len(xs) or not label:
            continue
        wide, pad = pen.textlength(label, font), size // 3
        x = float(np.clip(xs.min(), 2, max(2, canvas.shape[1] - wide - 2 * pad - 2)))
        y = float(np.clip(ys.min() - size - 2 * pad, 2, canvas.shape[0] - size - 2 * pad))
        pen.rounded_rectangle((x, y, x + wide + 2 * pad, y + size + pad), radius=pad, fill=DARK)
        pen.text((x + pad, y + (size + pad) / 2), label, colour, font, anchor="lm")
    return np.asarray(picture)
