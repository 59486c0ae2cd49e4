"""YOLO label files: one line an object, numbers as fractions of the upright picture.

`class cx cy w h` is a box, `class x1 y1 x2 y2 x3 y3 ...` a polygon; classes.txt names the classes, one a
line. A line that cannot be read is dropped and reported; the other lines stay. Called by `pairing`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sam3.errors import BadInput
from sam3_agent.etl.geometry import box_points
from sam3_agent.etl.records import LabelProblem, LabelSheet, Shape

FAR = 2.0  # a fraction beyond -2..2 is no label that slipped over the edge; somebody wrote pixels


def read_class_names(path: Path) -> list[str]:
    """The names in classes.txt; line n is class n - 1 (blank lines inside the file keep their number).

    Raises:
        BadInput: the file is not UTF-8 text or names nothing.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as UTF-8 text. One class name a line is expected.") from error
    while names and not names[-1]:
        names.pop()
    if not names:
        raise BadInput(f"{path}: is empty. Write one class name a line, class 0 first.")
    return names


def read_yolo(content: bytes, file: str, names: list[str], width: int, height: int) -> LabelSheet:
    """Read one YOLO label file.

    Args:
        content: the bytes of the file; empty means "looked at, nothing there".
        file: its name for reports.
        names: class names in the order of classes.txt.
        width, height: of the upright picture, pixels.
    """
    sheet = LabelSheet()
    scale = np.array((width, height), np.float64)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        name = ""
        try:
            name = _class_name(columns[0], names)
            sheet.shapes.append(_read_line(name, columns[1:], scale, number))
        except _LineError as bad:
            sheet.lost.append((name, number))
            sheet.problems.append(LabelProblem(file, number, bad.rule, "dropped", bad.detail))
    return sheet


class _LineError(Exception):
    """A line that is no shape."""

    def __init__(self, rule: str, detail: str) -> None:
        self.rule, self.detail = rule, detail


def _read_line(name: str, columns: list[bytes], scale: np.ndarray, number: int) -> Shape:
    count = len(columns)
    if count != 4 and (count < 6 or count % 2):
        raise _LineError(
            "wrong-column-count",
            f"{count + 1} columns; expected a class and 4 numbers (box) or 6, 8, 10... (polygon)",
        )
    try:
        values = [float(column) for column in columns]
    except ValueError:
        raise _LineError("not-numbers", f"expected numbers after the class, found {_show(columns)}") from None
    if not all(map(math.isfinite, values)):
        raise _LineError("not-finite", f"NaN or infinity among the coordinates: {_show(columns)}")
    if max(map(abs, values)) > FAR:
        raise _LineError("not-fractions", f"coordinates {_show(columns)} look like pixels; fractions 0..1 expected")
    if count > 4:
        return Shape(name, np.array(values).reshape(-1, 2) * scale, "polygon", number)
    cx, cy, w, h = values
    if w <= 0 or h <= 0:
        raise _LineError("zero-area", f"box width {w:g} and height {h:g}; both must be above 0")
    corners = box_points(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    return Shape(name, corners * scale, "box", number)


def _class_name(column: bytes, names: list[str]) -> str:
    try:
        number = float(column)  # some exporters write every column as a float
        index = int(number)
    except (ValueError, OverflowError):
        index, number = 0, math.nan
    if index != number:
        raise _LineError("bad-class", f"class {_show([column])} is not a whole number")
    if not 0 <= index < len(names):
        raise _LineError("unknown-class", f"class {index} is not in classes.txt ({len(names)} names). Add it there.")
    return names[index]


def _show(columns: list[bytes]) -> str:
    text = b" ".join(columns).decode("utf-8", "replace")
    return text if len(text) <= 40 else text[:37] + "..."
