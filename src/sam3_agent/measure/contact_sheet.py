"""False positives at a glance: one picture with a tile for each, the surest first.

Drawn by `baseline` and `negatives`; when there is nothing to show the sheet says so, which is good news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3.eval.evaluate import Evaluation
from sam3.eval.measurement import PairLine
from sam3.files import atomic_write
from sam3.images import read_image, resolve_inside
from sam3.types import UInt8Array

TILE_WIDTH, TILE_HEIGHT, CAPTION = 320, 240, 44
COLUMNS, MOST_TILES = 4, 24
GAP, MARGIN, HEAD = 12, 24, 72
PAPER, INK, FAINT, ALARM = (250, 250, 248), (32, 33, 36), (110, 113, 118), (214, 69, 65)


@dataclass(frozen=True, eq=False)
class Tile:
    """An annotated picture, uint8 RGB (H, W, 3), and the two lines below it."""

    image: UInt8Array
    caption: str
    detail: str


def write_false_positives(result: Evaluation, images: Path, out: Path) -> int:
    """Draw the negative pairs on which something was found.

    Args:
        result: a finished evaluation.
        images: folder that `file_name` is relative to.
        out: a .jpg.

    Returns:
        How many false-positive pairs there are (at most 24 of them are drawn).
    """
    alarms = [line for line in result.measurement.lines if line.score.kind == "FP"]
    alarms.sort(key=lambda line: -line.scores[0])
    negatives = sum(line.score.annotations == 0 for line in result.measurement.lines)
    rows: dict[int, list[dict]] = {}
    for row in result.predictions["predictions"]:
        if row["score"] >= result.about["score_threshold"]:
            rows.setdefault(row["image_id"], []).append(row)
    tiles = [_tile(line, rows[line.pair.image_id], images) for line in alarms[:MOST_TILES]]
    name = result.about["checkpoint"]["name"]
    shown = f", the surest {len(tiles)} shown" if len(alarms) > len(tiles) else ""
    save_sheet(tiles, f"False positives of {name}", f"{len(alarms)} of {negatives} negatives{shown}", out)
    return len(alarms)


def save_sheet(tiles: Sequence[Tile], title: str, subtitle: str, out: Path) -> None:
    """Lay out tiles under a heading and write a JPEG."""
    from PIL import Image, ImageDraw, ImageFont

    columns = min(COLUMNS, max(2, len(tiles)))
    lines = max(1, -(-len(tiles) // columns))
    width = 2 * MARGIN + columns * TILE_WIDTH + (columns - 1) * GAP
    body = lines * (TILE_HEIGHT + CAPTION + GAP) if tiles else 120
    sheet = Image.new("RGB", (width, HEAD + MARGIN + body), PAPER)
    pen = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(size) for size in (24, 15, 13))
    pen.text((MARGIN, 18), title, INK, large)
    pen.text((MARGIN, 48), subtitle, FAINT, normal)
    if not tiles:
        pen.text((width / 2, HEAD + 60), "no false positives", INK, large, anchor="mm")
    for place, tile in enumerate(tiles):
        x = MARGIN + place % columns * (TILE_WIDTH + GAP)
        y = HEAD + MARGIN + place // columns * (TILE_HEIGHT + CAPTION + GAP)
        picture = Image.fromarray(tile.image)
        picture.thumbnail((TILE_WIDTH, TILE_HEIGHT))
        pen.rectangle((x, y, x + TILE_WIDTH - 1, y + TILE_HEIGHT - 1), fill=(236, 236, 232))
        sheet.paste(picture, (x + (TILE_WIDTH - picture.width) // 2, y + (TILE_HEIGHT - picture.height) // 2))
        pen.text((x, y + TILE_HEIGHT + 6), _fit(pen, tile.caption, normal), INK, normal)
        pen.text((x, y + TILE_HEIGHT + 25), tile.detail, FAINT, small)
    with atomic_write(out, "wb") as stream:
        sheet.save(stream, "JPEG", quality=88)


def _tile(line: PairLine, rows: Sequence[dict], images: Path) -> Tile:
    """The picture with what was wrongly found on it."""
    import supervision as sv
    from pycocotools import mask as coco_mask

    image = read_image(resolve_inside(images, line.pair.file_name))
    masks = np.stack([coco_mask.decode(row["segmentation"]).astype(bool) for row in rows])
    found = sv.Detections(
        xyxy=sv.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        confidence=np.array([row["score"] for row in rows], np.float32),
        class_id=np.zeros(len(rows), int),
    )
    # drawn at the size it is shown in, so that outlines are equally thick on every tile
    scale = min(TILE_WIDTH / image.shape[1], TILE_HEIGHT / image.shape[0])
    image, found = _scaled(image, found, scale)
    colour = sv.Color(*reversed(ALARM))  # supervision paints BGR, our pictures are RGB
    drawn = sv.MaskAnnotator(color=colour, opacity=0.45).annotate(image.copy(), found)
    drawn = sv.PolygonAnnotator(color=colour, thickness=2).annotate(drawn, found)
    presence = "" if line.presence is None else f", presence {line.presence:.2f}"
    scores = ", ".join(f"{score:.2f}" for score in line.scores[:4])
    return Tile(drawn, line.pair.file_name, f'"{line.pair.text_input}" at {scores}{presence}')


def _scaled(image, found, scale):  # type: ignore[no-untyped-def]  # supervision's own type, imported lazily
    """Picture and detections at another scale."""
    import cv2
    import supervision as sv

    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    masks = np.stack([cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in found.mask])
    smaller = sv.Detections(xyxy=found.xyxy * scale, mask=masks, confidence=found.confidence, class_id=found.class_id)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), smaller


def _fit(pen, text: str, font) -> str:  # type: ignore[no-untyped-def]  # Pillow's own types, imported lazily
    """`text`, its front cut off until it fits below a tile: the end of a path tells files apart."""
    shown = text
    while pen.textlength(shown, font) > TILE_WIDTH and len(shown) > 4:
        text = text[1:]
        shown = f"...{text}"
    return shown
