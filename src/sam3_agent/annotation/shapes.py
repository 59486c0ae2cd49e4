"""Outlines in Label Studio's words and back: percent of the upright picture, polygons, boxes, ellipses and brushes.

Label Studio shows a picture as the browser does, turned upright by its EXIF tag, and measures x in percent of the
width and y in percent of the height it sees. So `original_width` and `original_height` are those of the upright
picture, and a polygon of a tall picture is not that of a wide one.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.errors import BadInput
from sam3_agent.annotation.brush import decode_brush, encode_brush
from sam3_agent.mining.outline import decoded, rings

Ring = NDArray[np.float64]
OUTLINE, BRUSH, BOX, CLICK, PICTURE, IMAGE = "outline", "brush", "box", "click", "picture", "image"
WHOLE = 0.98  # share of a mask that its largest part must hold to be drawn as one polygon


def region(kind: str, value: dict[str, Any], width: int, height: int, **more: Any) -> dict[str, Any]:
    """One result of an annotation or prediction; its id follows from its content."""
    name = {"polygonlabels": OUTLINE, "brushlabels": BRUSH, "rectanglelabels": BOX, "keypointlabels": CLICK}[kind]
    digest = hashlib.sha256(repr((kind, value, more)).encode()).hexdigest()[:10]
    return {
        "id": digest, "type": kind, "from_name": name, "to_name": IMAGE, "original_width": width,
        "original_height": height, "image_rotation": 0, "value": value, **more,
    }  # fmt: skip


def polygon(ring: Ring, concept: str, width: int, height: int, **more: Any) -> dict[str, Any]:
    """A polygon region from (K, 2) xy pixels."""
    points = (np.asarray(ring, float) * (100 / width, 100 / height)).clip(0, 100).round(4).tolist()
    return region(
        "polygonlabels", {"points": points, "closed": True, "polygonlabels": [concept]}, width, height, **more
    )


def mask_region(mask: NDArray[np.bool_], concept: str, how: str = "auto", **more: Any) -> dict[str, Any] | None:
    """A region for a mask (H, W): a polygon, or a brush where one outline cannot say it.

    Args:
        how: "polygon", "brush", or "auto": a polygon unless the mask has several parts worth having, or holes.

    Returns:
        None for a mask without a part that could be seen.
    """
    height, width = mask.shape
    outer = rings(mask)
    if not outer:
        return None
    if how == "polygon" or (how == "auto" and _is_one(mask, outer[0])):
        return polygon(outer[0], concept, width, height, **more)
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [concept]}
    return region("brushlabels", value, width, height, **more)


def _is_one(mask: NDArray[np.bool_], ring: Ring) -> bool:
    """Whether the largest outline, filled, is the mask."""
    filled = fill([ring], *mask.shape)
    both = np.count_nonzero(filled & mask)
    return both >= WHOLE * max(np.count_nonzero(mask), np.count_nonzero(filled) * 0.97)


def fill(outlines: list[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """Rings (K, 2) xy pixels -> bool (H, W), as COCO's polygons are filled."""
    from pycocotools import mask as coco_mask

    if not outlines:
        return np.zeros((height, width), bool)
    rle = coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist() for ring in outlines], height, width))
    return np.asarray(coco_mask.decode(rle), bool)


def prelabels(row: dict[str, Any], concept: str, prefill: float, how: str = "auto") -> list[dict[str, Any]]:
    """The regions that a manifest row pre-fills, best first, with their scores."""
    out = []
    for one in row["instances"]:
        if one["score"] >= prefill:
            made = mask_region(decoded(one["mask"]), concept, how, score=one["score"])
            out += [made] if made else []
    return out


def outlines_of(result: dict[str, Any], width: int, height: int) -> list[Ring] | None:
    """What a region outlines, rings (K, 2) xy in pixels of a picture of this size; None for what is no outline.

    Raises:
        BadInput: a region that is none of Label Studio's shapes, or has numbers that are none.
    """
    value, kind = result.get("value") or {}, result.get("type")
    try:
        if kind in ("polygonlabels", "polygon"):
            return [_pixels(value["points"], width, height)]
        if kind in ("rectanglelabels", "rectangle"):
            return [_box(value, width, height)]
        if kind in ("ellipselabels", "ellipse"):
            return [_ellipse(value, width, height)]
        if kind in ("brushlabels", "brush"):
            mask = decode_brush(value["rle"], int(result["original_height"]), int(result["original_width"]))
            return [ring * (width / mask.shape[1], height / mask.shape[0]) for ring in rings(mask)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"a {kind} region without usable numbers ({error}). Draw it again.") from error
    return None


def _pixels(points: Any, width: int, height: int) -> Ring:
    array = np.asarray(points, float)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError("expected points as [x, y]")
    return array * (width / 100, height / 100)


def _box(value: dict[str, Any], width: int, height: int) -> Ring:
    """Corners of a rectangle, turned about its top left corner by `rotation` degrees clockwise, in pixels."""
    x, y = value["x"] * width / 100, value["y"] * height / 100
    w, h = value["width"] * width / 100, value["height"] * height / 100
    angle = math.radians(value.get("rotation") or 0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.array([(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)]) @ turn + (x, y)


def _ellipse(value: dict[str, Any], width: int, height: int) -> Ring:
    """An ellipse as 48 corners; radii in percent of width and height."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([np.cos(angle) * value["radiusX"] * width, np.sin(angle) * value["radiusY"] * height], 1) / 100
    turned = math.radians(value.get("rotation") or 0)
    turn = np.array([[math.cos(turned), math.sin(turned)], [-math.sin(turned), math.cos(turned)]])
    return ring @ turn + (value["x"] * width / 100, value["y"] * height / 100)
