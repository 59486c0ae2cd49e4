"""Results drawn over their pictures: tinted masks with a crisp outline, label and score. Used by `Reply.plot()`.

Drawing is supervision's; small pictures are enlarged first so that outlines and letters stay sharp. A clip becomes a
sheet of a few frames, each thing in one colour throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.types import Detections, UInt8Array
from sam3_agent.execution.media import Medium
from sam3_agent.execution.outcome import Result

SHORT_SIDE = 720  # pixels: pictures with a shorter side are enlarged for drawing, at most fourfold
SHEET_FRAMES = 6
PALETTE = ("#00C2A8", "#FF7A45", "#5B8DEF", "#F5B700", "#C774E8", "#FF5C8A", "#7BC950", "#00A6ED")


def draw_result(medium: Medium, result: Result) -> Any:
    """A PIL image of the picture with its detections; of a clip, a sheet of frames with track numbers."""
    from PIL import Image

    if result.frames is None:
        return Image.fromarray(draw(medium.pixels, _questioned(result)))
    showing = [at for at, frame in enumerate(result.frames) if len(frame)] or [0, len(result.frames) - 1]
    span = range(showing[0], showing[-1] + 1)
    chosen = np.unique(np.linspace(span[0], span[-1], min(SHEET_FRAMES, len(span))).astype(int))
    when = [f"  {time:.1f} s" for time in medium.times] or [""] * len(medium.frames)
    tiles = [
        draw(medium.frames[at].pixels, result.frames[at], result.frames[at].track_ids, f"frame {at + 1}{when[at]}")
        for at in chosen
    ]
    return Image.fromarray(_sheet(tiles))


def _questioned(result: Result) -> Detections:
    """The detections, with a question mark behind the name of what is not sure."""
    seen = result.seen
    if not result.doubtful:
        return seen
    names = seen.labels or [""] * len(seen)
    marked = [f"{name}?" if at in result.doubtful else name for at, name in enumerate(names)]
    return Detections(seen.boxes, seen.scores, seen.masks, seen.presence, marked, seen.warnings)


def draw(
    pixels: UInt8Array, detections: Detections, track_ids: NDArray[np.int_] | None = None, caption: str = ""
) -> UInt8Array:
    """One annotated picture.

    Args:
        pixels: uint8 RGB (H, W, 3).
        detections: of this picture.
        track_ids: (N,) numbers to show and to colour by; position in the list when None.
        caption: words for the lower left corner.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = float(np.clip(SHORT_SIDE / min(height, width), 1.0, 4.0))
    canvas: UInt8Array = np.ascontiguousarray(
        cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    )
    if len(detections):
        canvas = _annotated(canvas, detections, scale, track_ids)
    if caption:
        origin = (10, canvas.shape[0] - 12)
        cv2.putText(canvas, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.putText(canvas, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(canvas, np.uint8)


def _annotated(
    canvas: UInt8Array, detections: Detections, scale: float, track_ids: NDArray[np.int_] | None
) -> UInt8Array:
    import supervision as sv

    numbers = np.arange(len(detections)) if track_ids is None else np.asarray(track_ids, int)
    masks = np.stack([_enlarged(mask, canvas.shape[:2]) for mask in detections.masks])
    shown = sv.Detections(
        xyxy=(detections.boxes * scale).astype(np.float32),
        mask=masks,
        confidence=detections.scores,
        class_id=numbers % len(PALETTE),
    )
    canvas = np.ascontiguousarray(canvas[..., ::-1])  # supervision draws in BGR
    palette = sv.ColorPalette.from_hex(list(PALETTE))
    thickness = max(2, round(min(canvas.shape[:2]) / 320))
    canvas = sv.MaskAnnotator(color=palette, opacity=0.38).annotate(canvas, shown)
    canvas = sv.PolygonAnnotator(color=sv.Color.WHITE, thickness=thickness + 3).annotate(canvas, shown)
    canvas = sv.PolygonAnnotator(color=palette, thickness=thickness).annotate(canvas, shown)
    labels = sv.LabelAnnotator(
        color=palette, text_color=sv.Color.BLACK, text_scale=min(canvas.shape[:2]) / 1400, text_padding=5,
        text_thickness=max(1, thickness // 2), smart_position=True, border_radius=4,
    )  # fmt: skip
    drawn = labels.annotate(canvas, shown, labels=_texts(detections, track_ids))
    return np.ascontiguousarray(np.asarray(drawn)[..., ::-1])


def _enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask at the canvas's size with smooth edges."""
    import cv2

    grown = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown >= 0.5)


def _texts(detections: Detections, track_ids: NDArray[np.int_] | None) -> list[str]:
    names = detections.labels or [""] * len(detections)
    numbers = [""] * len(detections) if track_ids is None else [f"#{number} " for number in track_ids]
    return [
        f"{number}{name} {score:.2f}".strip()
        for number, name, score in zip(numbers, names, detections.scores, strict=True)
    ]


def _sheet(tiles: list[UInt8Array]) -> UInt8Array:
    """Tiles in rows of three with a thin white gap."""
    columns = min(3, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width, gap = *tiles[0].shape[:2], 6
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for at, tile in enumerate(tiles):
        top, left = (at // columns) * (height + gap), (at % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet
