"""Outlines: repaired to valid polygons inside the picture, or rejected by a named rule."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from sam3_agent.etl.geometry import GRID, box_points, circle_points, repair

WIDTH, HEIGHT = 100, 50
BOW_TIE = [(10, 10), (30, 30), (30, 10), (10, 30)]


def fixed(points: list, min_area: float = 0.0):
    return repair(np.array(points, float), WIDTH, HEIGHT, min_area)


@pytest.mark.parametrize(
    ("points", "area", "rules"),
    [
        (box_points(10, 10, 30, 20), 200, ()),
        (box_points(-10, 10, 30, 20), 300, ("outside-image",)),
        (box_points(-0.4, -0.4, 100.4, 50.4), 5000, ()),  # rounding at the edge is no finding
        (box_points(-2, 10, 30, 20), 300, ("outside-image",)),
        (box_points(-500, -500, 500, 500), 5000, ("outside-image",)),
        (BOW_TIE, 200, ("self-crossing",)),
        ([(-10, 10), (10, 30), (10, 10), (-10, 30)], 100, ("self-crossing", "outside-image")),
        # drawn partly twice: what is enclosed counts, not how often
        ([(20, 10), (30, 0), (10, 20), (20, 30), (20, 0), (0, 20)], 200, ("self-crossing",)),
        ([(10, 10), (30, 10), (30, 30), (10, 30), (10, 10)], 400, ()),  # closed by hand
        ([(10, 10), (10, 10), (30, 10), (30, 30), (30, 30), (10, 30)], 400, ()),  # double clicks
        (circle_points(50, 25, 10), np.pi * 100, ()),
    ],
)
def test_repaired(points: list, area: float, rules: tuple[str, ...]) -> None:
    outline = fixed(points)
    assert outline.rejected == ""
    assert outline.rules == rules
    assert outline.area == pytest.approx(area, rel=1e-3)


@pytest.mark.parametrize(
    ("points", "min_area", "rule"),
    [
        ([(10, 10), (20, 20)], 0, "too-few-points"),
        ([(10, 10)], 0, "too-few-points"),
        ([(10, 10), (10, 10), (10, 10)], 0, "zero-area"),
        ([(10, 10), (20, 20), (30, 30)], 0, "zero-area"),
        ([(10, 10), (20, 10), (10, 10), (20, 10)], 0, "zero-area"),
        (box_points(200, 10, 300, 20), 0, "outside-image"),
        (box_points(-20, 10, -5, 20), 0, "outside-image"),
        ([(-60, 10), (-50, 20), (-40, 30)], 0, "zero-area"),
        (box_points(10, 10, 13.9, 14), 16, "too-small"),
        (box_points(-10, 10, 1, 20), 16, "too-small"),  # what is left in the picture counts
    ],
)
def test_rejected(points: list, min_area: float, rule: str) -> None:
    outline = fixed(points, min_area)
    assert (outline.rejected, outline.polygons, outline.area) == (rule, [], 0)


def test_holes_are_filled_because_polygons_have_none() -> None:
    ring = [
        (10, 10),
        (40, 10),
        (40, 40),
        (10, 40),
        (10, 10),
        (20, 20),
        (20, 30),
        (30, 30),
        (30, 20),
        (20, 20),
    ]
    outline = fixed(ring)
    assert len(outline.polygons) == 1
    assert outline.area == pytest.approx(900)


def test_crumbs_of_a_cut_are_left_out() -> None:
    outline = fixed([(10, 10), (40, 25.5), (40, 24.5), (10, 40)])  # a bow tie with one tiny wing
    assert len(outline.polygons) == 1
    assert outline.bbox[2] < 30


def test_bbox_is_that_of_all_parts() -> None:
    assert fixed(BOW_TIE).bbox == (10, 10, 20, 20)


coordinate = st.one_of(
    st.floats(-150, 250, allow_nan=False),
    st.integers(-20, 120).map(float),
    st.sampled_from([0.0, 50.0, 100.0]),
)
outlines = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=24)


@settings(max_examples=400, deadline=None)
@given(outlines)
def test_whatever_was_drawn_the_result_is_valid_and_inside(points: list) -> None:
    outline = fixed(points)
    if outline.rejected:
        assert not outline.polygons
        return
    parts = [shapely.Polygon(ring) for ring in outline.polygons]
    for ring, part in zip(outline.polygons, parts, strict=True):
        assert part.is_valid and part.area > 0
        assert ring.min() >= 0 and (ring <= (WIDTH, HEIGHT)).all()
        np.testing.assert_allclose(ring, np.round(ring / GRID) * GRID, atol=1e-9)
    assert 0 < outline.area <= WIDTH * HEIGHT + 1e-6
    # disjoint parts: their areas add up to the area of their union and to the stored one
    assert sum(part.area for part in parts) == pytest.approx(outline.area, abs=1e-6)
    assert shapely.union_all(parts).area == pytest.approx(outline.area, abs=1e-6)
    x, y, w, h = outline.bbox
    np.testing.assert_allclose((x, y, x + w, y + h), shapely.union_all(parts).bounds, atol=0.011)
