"""LabelMe files: which shapes become outlines, and on which line the others are reported."""

from __future__ import annotations

import json

import numpy as np
import pytest
from raw_folder import labelme_shape

from sam3_agent.etl.labels_labelme import read_labelme

TRIANGLE = [(1, 1), (20, 1), (1, 20)]


def read(*shapes: dict, width: int = 64, height: int = 48, **keys: object):
    sheet = {"imageData": None, "shapes": shapes, "imageWidth": 64, "imageHeight": 48} | keys
    return read_labelme(json.dumps(sheet, indent=1).encode(), "labels/a.json", width, height)


@pytest.mark.parametrize(
    ("points", "kind", "drawn_as", "expected"),
    [
        (TRIANGLE, "polygon", "polygon", TRIANGLE),
        ([(30, 20), (10, 5)], "rectangle", "box", [(10, 5), (30, 5), (30, 20), (10, 20)]),
        ([(10, 5), (30, 5), (30, 20), (10, 20)], "rectangle", "box", [(10, 5), (30, 5), (30, 20), (10, 20)]),
        (TRIANGLE, None, "polygon", TRIANGLE),
    ],
)
def test_outlines(points: list, kind: str, drawn_as: str, expected: list) -> None:
    (shape,) = read(labelme_shape("Hen", points, kind)).shapes
    assert (shape.name, shape.drawn_as) == ("Hen", drawn_as)
    np.testing.assert_allclose(shape.points, expected)


def test_a_circle_keeps_its_centre_and_area() -> None:
    (shape,) = read(labelme_shape("hen", [(30, 20), (34, 23)], "circle")).shapes
    x, y = shape.points.T
    assert shape.drawn_as == "circle"
    np.testing.assert_allclose((x.mean(), y.mean()), (30, 20))
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(np.pi * 25)


@pytest.mark.parametrize(
    ("row", "rule", "words"),
    [
        (labelme_shape("hen", TRIANGLE[:2], "linestrip"), "no-outline", "a linestrip has no outline"),
        (labelme_shape("hen", TRIANGLE[:1], "point"), "no-outline", "a point"),
        (labelme_shape("hen", TRIANGLE[:2], "mask"), "no-outline", "a mask"),
        (labelme_shape("hen", TRIANGLE, "circle"), "too-few-points", "a circle has 2 points, found 3"),
        (labelme_shape("hen", TRIANGLE[:1], "rectangle"), "too-few-points", "found 1"),
        (labelme_shape("hen", [(1, 1), (float("nan"), 2), (3, 3)]), "not-finite", "NaN"),
        (labelme_shape("hen", [(1, 1), (float("-inf"), 2), (3, 3)]), "not-finite", "infinity"),
        (labelme_shape("hen", [(1, 1), (1e300, 2), (3, 3)]), "outside-image", "1e+300"),
        (labelme_shape("hen", [(1, 1, 1)] * 3), "not-numbers", "[x, y]"),
        ({"label": "hen", "points": [["a", "b"]]}, "not-numbers", "[x, y]"),
        ({"label": "hen", "points": None}, "not-numbers", "[x, y]"),
        ({"label": "hen", "points": [[1, 2], [3]]}, "not-numbers", "[x, y]"),
        ({"label": "hen", "points": [[1, 10**400], [3, 4]]}, "not-numbers", "[x, y]"),
        ({"label": "  ", "points": TRIANGLE}, "bad-class", "no label"),
        ({"label": 7, "points": TRIANGLE}, "bad-class", "no label"),
        ("hen", "not-labelme", "label and points"),
    ],
)
def test_a_bad_shape_is_dropped_and_the_good_ones_stay(row: object, rule: str, words: str) -> None:
    good = labelme_shape("hen", TRIANGLE)
    content = json.dumps({"version": "5", "shapes": [good, row, good]}, indent=1)
    sheet = read_labelme(content.encode(), "labels/a.json", 64, 48)
    assert len(sheet.shapes) == 2
    (problem,) = sheet.problems
    assert (problem.file, problem.rule, problem.action) == ("labels/a.json", rule, "dropped")
    assert words in problem.detail
    # the first line of the second row of "shapes"
    before = json.dumps({"version": "5", "shapes": [good]}, indent=1)
    assert problem.line == before.count("\n") + 1 - 1
    assert sheet.lost == [("" if rule in ("bad-class", "not-labelme") else "hen", problem.line)]


@pytest.mark.parametrize(
    ("content", "rule", "line"),
    [
        (b'{"shapes": [\n{"label": "hen",\n}]}', "broken-json", 3),
        (b'{"shapes": [', "broken-json", 1),
        (b"\xff\xfe{}", "broken-json", 0),
        (b"[" * 100_000, "broken-json", 0),
        (b"[1, 2]", "not-labelme", 1),
        (b'{"shapes": {"a": 1}}', "not-labelme", 1),
        (b'{"shapes": [], "imageWidth": 48, "imageHeight": 64}', "size-mismatch", 1),
        (b'{"shapes": [], "imageWidth": 640, "imageHeight": 100}', "size-mismatch", 1),
    ],
)
def test_a_broken_file_is_refused_whole(content: bytes, rule: str, line: int) -> None:
    sheet = read_labelme(content, "labels/a.json", 64, 48)
    assert not sheet.readable
    (problem,) = sheet.problems
    assert (problem.rule, problem.line, problem.action) == (rule, line, "excluded")


def test_labels_of_a_resized_copy_are_scaled() -> None:
    sheet = read(labelme_shape("hen", [(2, 2), (40, 2), (2, 40)]), imageWidth=128, imageHeight=96)
    np.testing.assert_allclose(sheet.shapes[0].points, [(1, 1), (20, 1), (1, 20)])
    assert [(p.rule, p.action) for p in sheet.problems] == [("size-mismatch", "repaired")]


@pytest.mark.parametrize(
    "keys", [{"imageWidth": None}, {"imageHeight": "48"}, {"imageWidth": -3}, {"imageWidth": True}]
)
def test_an_unusable_size_is_no_evidence(keys: dict) -> None:
    assert read(labelme_shape("hen", TRIANGLE), **keys).readable


def test_the_word_shapes_inside_other_text_does_not_mislead() -> None:
    content = json.dumps({"note": '"shapes": [', "shapes": [labelme_shape("hen", TRIANGLE)]})
    (shape,) = read_labelme(content.encode(), "labels/a.json", 64, 48).shapes
    assert shape.line == 1
