"""Tracks drawn over frames, fast enough for a live picture: tinted mask, outline, number and name, one colour a track.

`sam3_agent.overlay` draws a still picture with more care; here a frame has a few milliseconds.
"""

from __future__ import annotations

import unicodedata

import numpy as np

from sam3.types import UInt8Array
from sam3_agent.execution.outcome import TrackedDetections

COLOURS = (
    (0, 194, 168), (255, 122, 69), (91, 141, 239), (245, 183, 0),
    (199, 116, 232), (255, 92, 138), (123, 201, 80), (0, 166, 237),
)  # fmt: skip
TINT = 0.4


def draw_tracks(pixels: UInt8Array, seen: TrackedDetections, caption: str = "") -> UInt8Array:
    """The frame with its tracks.

    Args:
        pixels: uint8 RGB (H, W, 3); not changed. caption: words for the upper left corner.

    Returns:
        uint8 RGB (H, W, 3).
    """
    import cv2

    canvas = pixels.copy()
    width = max(1, round(min(canvas.shape[:2]) / 240))
    for mask, box, number in zip(seen.masks, seen.boxes, seen.track_ids, strict=True):
        colour = COLOURS[int(number) % len(COLOURS)]
        x0, y0, x1, y1 = (int(v) for v in np.clip(box, 0, [canvas.shape[1], canvas.shape[0]] * 2))
        part, inside = canvas[y0:y1, x0:x1], np.ascontiguousarray(mask[y0:y1, x0:x1])
        if not inside.any():
            continue
        tinted = cv2.addWeighted(part, 1 - TINT, np.full_like(part, colour), TINT, 0)
        np.copyto(part, tinted, where=inside[..., None])
        outlines, _ = cv2.findContours(
            inside.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0)
        )
        cv2.drawContours(canvas, outlines, -1, colour, width, cv2.LINE_AA)
    for box, number, label in zip(seen.boxes, seen.track_ids, seen.labels, strict=True):
        _label(canvas, f"{int(number)} {label}", (int(box[0]), int(box[1])), COLOURS[int(number) % len(COLOURS)])
    if caption:
        _label(canvas, caption, (0, 0), (255, 255, 255))
    return canvas


def _label(canvas: UInt8Array, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Dark letters on a patch of colour that stays inside the picture."""
    import cv2

    plain = unicodedata.normalize("NFKD", text)  # OpenCV's letters are ASCII: an accent is left out
    text = "".join(letter for letter in plain if not unicodedata.combining(letter)).encode("ascii", "replace").decode()
    scale = max(0.38, min(canvas.shape[:2]) / 1100)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(np.clip(corner[0], 0, max(0, canvas.shape[1] - width - 6)))
    y = int(np.clip(corner[1] - height - below, 0, max(0, canvas.shape[0] - height - below - 4)))
    cv2.rectangle(canvas, (x, y), (x + width + 6, y + height + below + 2), colour, -1)
    cv2.putText(canvas, text, (x + 3, y + height + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, (16, 16, 16), 1, cv2.LINE_AA)
