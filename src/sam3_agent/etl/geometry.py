"""A drawn outline -> valid polygons inside the picture, or the rule by which it is rejected.

The one place of the pipeline that repairs shapes (shapely does the geometry). Most outlines are fine and take
the short way: round, check, measure. Pure functions; try them with `pytest tests/unit/etl/test_geometry.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from sam3_agent.etl.records import Points

GRID = 0.01  # pixels; coordinates are stored to two decimals
TOUCH = 0.5  # pixels; labelling tools overshoot the edge by rounding, which is no finding
SLIVER = 1.0  # pixels squared; crumbs left by cutting a self-crossing outline


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The result of `repair`.

    Attributes:
        polygons: rings (K, 2) xy pixels, not closed; empty when the outline was rejected.
        area: pixels squared; 0 when rejected.
        bbox: x, y, width, height in pixels.
        rules: what was done, in order: "self-crossing", "outside-image" (clipped).
        rejected: "too-few-points", "outside-image", "zero-area" or "too-small"; "" when accepted.
    """

    polygons: list[Points]
    area: float
    bbox: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    rules: tuple[str, ...] = ()
    rejected: str = ""


def box_points(x0: float, y0: float, x1: float, y1: float) -> Points:
    """The four corners of a box, in pixels, clockwise from (x0, y0)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def _unit_circle(count: int) -> Points:
    """A regular polygon of `count` corners with the area of the unit circle, (count, 2)."""
    step = 2 * math.pi / count
    # an inscribed polygon is smaller than its circle: widen it until the areas are equal
    reach = math.sqrt(step / math.sin(step))
    angle = np.arange(count) * step
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)


_CIRCLE = _unit_circle(32)


def circle_points(cx: float, cy: float, radius: float) -> Points:
    """A 32-cornered polygon with the centre and area of the circle, (32, 2) pixels."""
    return np.array((cx, cy)) + radius * _CIRCLE


def repair(points: Points, width: int, height: int, min_area: float = 0.0) -> Outline:
    """Make an outline valid and put it inside the picture, or say why it cannot be used.

    Args:
        points: (K, 2) xy in pixels, finite; a repeated last point is allowed.
        width, height: of the upright picture, pixels.
        min_area: pixels squared; less is rejected as "too-small".

    Returns:
        Rings on a grid of 0.01 px. A self-crossing outline becomes the parts it encloses, with their holes
        filled (SA-Co polygons cannot have holes).
    """
    if len(points) < 3:
        return Outline([], 0.0, rejected="too-few-points")
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    overshoot = max(-left, -top, right - width, bottom - height)
    clipped = overshoot > TOUCH
    if 0 < overshoot <= TOUCH:
        points = np.clip(points, 0.0, (width, height))
    polygon: BaseGeometry = shapely.polygons(np.round(points, 2))
    crossing = not polygon.is_valid
    if not (crossing or clipped):
        return _measured(polygon, min_area, ())
    if crossing:
        polygon = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    if polygon.area == 0:
        return Outline([], 0.0, rejected="zero-area")
    if clipped:
        # not clip_by_rect: that one may return invalid polygons along the edge
        polygon = shapely.intersection(polygon, shapely.box(0, 0, width, height))
        if polygon.area == 0:
            return Outline([], 0.0, rejected="outside-image")
    rules = ("self-crossing",) * crossing + ("outside-image",) * clipped
    return _measured(_tidy(polygon), min_area, rules)


def union(rings: list[Points]) -> Outline:
    """The outlines of what any of several valid rings (K, 2) encloses."""
    return _measured(_tidy(shapely.union_all([shapely.polygons(ring) for ring in rings])), 0.0, ())


def _tidy(geometry: BaseGeometry) -> BaseGeometry:
    """Snap to the grid without breaking validity, drop lines and crumbs, fill holes."""
    parts = sorted(_parts(shapely.set_precision(geometry, GRID)), key=lambda part: -part.area)
    kept = [part for i, part in enumerate(parts) if i == 0 or part.area >= SLIVER]
    return shapely.union_all([shapely.polygons(part.exterior) for part in kept])


def _parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    return [part for part in shapely.get_parts(geometry, return_index=False) if part.geom_type == "Polygon"]


def _measured(geometry: BaseGeometry, min_area: float, rules: tuple[str, ...]) -> Outline:
    area = float(geometry.area)
    if area == 0:
        return Outline([], 0.0, rules=rules, rejected="zero-area")
    if area < min_area:
        return Outline([], 0.0, rules=rules, rejected="too-small")
    if geometry.geom_type == "Polygon":
        rings = [shapely.get_coordinates(shapely.get_exterior_ring(geometry))[:-1]]
    else:
        rings = [np.round(shapely.get_coordinates(part.exterior)[:-1], 2) for part in _parts(geometry)]
    x0, y0, x1, y1 = geometry.bounds
    bbox = (round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2))
    return Outline(rings, area, bbox, rules)
