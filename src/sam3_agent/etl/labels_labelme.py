"""LabelMe label files: JSON, shapes in pixels of the upright picture.

Polygons, rectangles and circles become outlines; lines, points and masks have none and are dropped with a
row. `imagePath` and `imageData` are never followed: a label belongs to the picture with its name. Called by
`pairing`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from sam3_agent.etl.geometry import box_points, circle_points
from sam3_agent.etl.records import Drawn, LabelProblem, LabelSheet, Points, Shape

_SHAPES = re.compile(r'"shapes"\s*:\s*\[')
_GAP = re.compile(r"[\s,]*")
_FAR = 1e6  # pixels; beyond any picture, and squares of it stay exact


def read_labelme(content: bytes, file: str, width: int, height: int) -> LabelSheet:
    """Read one LabelMe file.

    Args:
        content: the bytes of the file.
        file: its name for reports.
        width, height: of the upright picture, pixels. A file made for a resized copy of the picture (same
            proportions) is scaled; one for other proportions belongs to another picture and is refused.
    """
    try:
        text = content.decode("utf-8-sig")
        sheet = json.loads(text)
    except json.JSONDecodeError as error:
        return _broken(file, error.lineno, "broken-json", f"not valid JSON ({error.msg})")
    except UnicodeDecodeError as error:
        return _broken(file, 0, "broken-json", f"not UTF-8 text (byte {error.start})")
    except (RecursionError, ValueError) as error:
        return _broken(file, 0, "broken-json", f"not usable JSON ({error})")
    rows = sheet.get("shapes") if isinstance(sheet, dict) else None
    if not isinstance(rows, list):
        return _broken(file, 1, "not-labelme", 'expected an object with a list "shapes"')
    scale = _scale(sheet, width, height)
    if scale is None:
        detail = f"made for {sheet.get('imageWidth')}x{sheet.get('imageHeight')}, the picture is {width}x{height}"
        return _broken(file, 1, "size-mismatch", detail)
    result = LabelSheet()
    if scale != 1.0:
        detail = f"made for a picture of width {sheet['imageWidth']}, scaled to {width}"
        result.problems.append(LabelProblem(file, 1, "size-mismatch", "repaired", detail))
    for row, line in zip(rows, _lines(text, len(rows)), strict=True):
        name = ""
        try:
            name = _name(row)
            result.shapes.append(_read_shape(name, row, line, scale))
        except _ShapeError as bad:
            result.lost.append((name, line))
            result.problems.append(LabelProblem(file, line, bad.rule, "dropped", bad.detail))
    return result


class _ShapeError(Exception):
    """A row of "shapes" that is no outline."""

    def __init__(self, rule: str, detail: str) -> None:
        self.rule, self.detail = rule, detail


def _broken(file: str, line: int, rule: str, detail: str) -> LabelSheet:
    return LabelSheet(problems=[LabelProblem(file, line, rule, "excluded", detail)], readable=False)


def _scale(sheet: dict[str, Any], width: int, height: int) -> float | None:
    """Factor from the label file's pixels to the picture's; None when it is for another picture."""
    w, h = sheet.get("imageWidth"), sheet.get("imageHeight")
    if not (type(w) is int and type(h) is int and w > 0 and h > 0) or (w, h) == (width, height):
        return 1.0
    scale = width / w
    # a resized side is off by up to one pixel of rounding
    return scale if abs(h * scale - height) <= max(1.0, scale) else None


def _lines(text: str, count: int) -> list[int]:
    """The 1-based line on which each of the `count` rows of "shapes" begins."""
    start = _SHAPES.search(text)
    if start is None:  # the key is written with escapes; JSON allows that, people do not do it
        return [1] * count
    decode, lines = json.JSONDecoder().raw_decode, []
    line, seen, at = 1, 0, start.end()
    for _ in range(count):
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]
        line, seen = line + text.count("\n", seen, at), at
        lines.append(line)
        try:
            _, at = decode(text, at)
        except ValueError:  # "shapes" also stood inside some other text: better no line than a wrong one
            return [1] * count
    return lines


def _name(row: Any) -> str:
    if not isinstance(row, dict):
        raise _ShapeError("not-labelme", "expected an object with label and points")
    name = row.get("label")
    if not isinstance(name, str) or not name.strip():
        raise _ShapeError("bad-class", "the shape has no label")
    return name


def _read_shape(name: str, row: dict[str, Any], line: int, scale: float) -> Shape:
    points = _points(row.get("points")) * scale
    drawn, outline = _outline(row.get("shape_type") or "polygon", points)
    group = row.get("group_id")
    return Shape(name, outline, drawn, line, group if type(group) is int else None)


def _points(value: Any) -> Points:
    try:
        points = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise _ShapeError("not-numbers", "expected points as a list of [x, y]")
    if (np.abs(points) <= _FAR).all():  # False for NaN as well
        return points
    if not np.isfinite(points).all():
        raise _ShapeError("not-finite", "NaN or infinity among the points")
    far = np.abs(points).max()
    raise _ShapeError("outside-image", f"a coordinate is {far:.3g} pixels from the corner")


def _outline(kind: Any, points: Points) -> tuple[Drawn, Points]:
    """How the shape was drawn, and its outline (K, 2)."""
    if kind in ("polygon", "oriented_rectangle"):
        return "polygon", points
    if kind == "rectangle" and len(points) in (2, 4):
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        return "box", box_points(x0, y0, x1, y1)
    if kind == "circle" and len(points) == 2:
        (cx, cy), (x, y) = points
        return "circle", circle_points(cx, cy, math.hypot(x - cx, y - cy))
    if kind in ("rectangle", "circle"):
        raise _ShapeError("too-few-points", f"a {kind} has 2 points, found {len(points)}")
    raise _ShapeError("no-outline", f"a {kind} has no outline; draw a polygon, rectangle or circle")
