"""YOLO lines: what is read, what is dropped, and that a bad line costs only itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3_agent.etl.labels_yolo import read_class_names, read_yolo

NAMES = ["hen", "duck"]


def read(text: str):
    return read_yolo(text.encode(), "labels/a.txt", NAMES, width=100, height=50)


@pytest.mark.parametrize(
    ("line", "name", "drawn_as", "points"),
    [
        ("0 0.5 0.5 0.2 0.4", "hen", "box", [(40, 15), (60, 15), (60, 35), (40, 35)]),
        ("1 0 0 0.5 0 0.5 1", "duck", "polygon", [(0, 0), (50, 0), (50, 50)]),
        ("0.0 0.5 0.5 1 1", "hen", "box", [(0, 0), (100, 0), (100, 50), (0, 50)]),
        ("1 0 0 1 0 1 1 0 1", "duck", "polygon", [(0, 0), (100, 0), (100, 50), (0, 50)]),
        ("\t0   5e-1 .5 0.2 0.4\r", "hen", "box", [(40, 15), (60, 15), (60, 35), (40, 35)]),
        ("0 0.95 0.5 0.2 0.4", "hen", "box", [(85, 15), (105, 15), (105, 35), (85, 35)]),  # geometry clips it
        ("0 " + " ".join(["0.1 0.2"] * 20), "hen", "polygon", [(10, 10)] * 20),  # 41 columns
    ],
)
def test_a_line_is_a_shape_in_pixels(line: str, name: str, drawn_as: str, points: list) -> None:
    (shape,) = read(line).shapes
    assert (shape.name, shape.drawn_as, shape.line) == (name, drawn_as, 1)
    np.testing.assert_allclose(shape.points, points)


@pytest.mark.parametrize(
    ("line", "rule", "words"),
    [
        ("0 " + " ".join(["0.5"] * 39), "wrong-column-count", "40 columns"),
        ("0 0.5 0.5 0.2", "wrong-column-count", "4 columns"),
        ("0 0.5 0.5 0.2 0.4 0.9", "wrong-column-count", "6 columns"),
        ("0", "wrong-column-count", "1 columns"),
        ("0 nan 0.5 0.2 0.4", "not-finite", "nan 0.5 0.2 0.4"),
        ("0 0.5 0.5 inf 0.4", "not-finite", "inf"),
        ("0 0.5 0.5 1e999 0.4", "not-finite", "1e999"),
        ("0 0.5 half 0.2 0.4", "not-numbers", "half"),
        ("0 0.5,0.5 0.2 0.4 1", "not-numbers", "0.5,0.5"),
        ("7 0.5 0.5 0.2 0.4", "unknown-class", "class 7 is not in classes.txt (2 names)"),
        ("-1 0.5 0.5 0.2 0.4", "unknown-class", "class -1"),
        ("hen 0.5 0.5 0.2 0.4", "bad-class", "class hen"),
        ("0.5 0.5 0.5 0.2 0.4", "bad-class", "class 0.5"),
        ("nan 0.5 0.5 0.2 0.4", "bad-class", "class nan"),
        ("1e999 0.5 0.5 0.2 0.4", "bad-class", "class 1e999"),
        ("0 320 240 40 30", "not-fractions", "look like pixels"),
        ("0 0.5 0.5 0 0.4", "zero-area", "width 0"),
        ("0 0.5 0.5 0.2 -0.4", "zero-area", "height -0.4"),
    ],
)
def test_a_bad_line_is_dropped_and_the_good_ones_stay(line: str, rule: str, words: str) -> None:
    sheet = read(f"1 0.5 0.5 0.2 0.4\n{line}\n\n0 0.5 0.5 0.2 0.4")
    assert [(shape.name, shape.line) for shape in sheet.shapes] == [("duck", 1), ("hen", 4)]
    (problem,) = sheet.problems
    assert (problem.file, problem.line, problem.rule, problem.action) == ("labels/a.txt", 2, rule, "dropped")
    assert words in problem.detail
    assert sheet.lost == [("" if "class" in rule else "hen", 2)]


@pytest.mark.parametrize("content", [b"", b"\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_shapes_and_no_problems(content: bytes) -> None:
    sheet = read_yolo(content, "labels/a.txt", NAMES, 100, 50)
    assert not sheet.shapes and not sheet.problems and sheet.readable


@pytest.mark.parametrize("content", [b"\x00\x01\x02\xff", "0 0.5 0.5 0.2 0.4".encode("utf-16")])
def test_bytes_that_are_no_text_become_findings(content: bytes) -> None:
    sheet = read_yolo(content, "labels/a.txt", NAMES, 100, 50)
    assert not sheet.shapes and sheet.problems


def test_classes_keep_their_number_over_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeffhen\r\n\r\nPoule naïve\n\n".encode())
    assert read_class_names(tmp_path / "classes.txt") == ["hen", "", "Poule naïve"]


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\xff\xfe\x00", "UTF-8")])
def test_unusable_classes_name_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(BadInput, match=f"classes.txt.*{words}"):
        read_class_names(tmp_path / "classes.txt")
