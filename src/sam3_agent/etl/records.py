"""The words of this room: a `Shape` is read from a label file, an `Instance` is what geometry makes of it,
a `Pair` is one picture with the concept, and a `LabelProblem` is anything that was repaired or left out.

Everything here is plain data. Pixels are those of the upright picture (EXIF rotation applied), x to the
right, y down, (0, 0) the outer corner of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Drawn = Literal["box", "polygon", "circle"]
Kind = Literal["positive", "negative"]
Action = Literal["repaired", "dropped", "excluded", "noted"]


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """One thing in the raw folder that was repaired or left out.

    Attributes:
        file: path relative to the raw folder, with forward slashes.
        line: 1-based line in that file; 0 when the whole file is meant.
        rule: a short name, e.g. "outside-image".
        action: "repaired" (the shape stays), "dropped" (the shape or file goes), "excluded" (the whole
            picture goes), "noted" (nothing is lost, somebody should look).
        detail: what was found and what to do about it.
    """

    file: str
    line: int
    rule: str
    action: Action
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One outline as somebody drew it: `points` (K, 2) xy in pixels, finite, possibly outside the picture.

    `group`: outlines of one name and group are parts of one individual; None: it stands alone.
    """

    name: str
    points: Points
    drawn_as: Drawn
    line: int
    group: int | None = None


@dataclass(slots=True)
class LabelSheet:
    """What one label file says.

    Attributes:
        shapes: the readable shapes of every class, in file order.
        problems: lines that could not be read.
        lost: class name and line of each shape that could not be read; "" where even the class could not.
        readable: False when the file as a whole is broken.
    """

    shapes: list[Shape] = field(default_factory=list)
    problems: list[LabelProblem] = field(default_factory=list)
    lost: list[tuple[str, int]] = field(default_factory=list)
    readable: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One individual of the concept.

    Attributes:
        polygons: rings (K, 2) xy in pixels inside the picture, not closed, valid and disjoint.
        area: pixels squared.
        bbox: x, y, width, height in pixels.
        drawn_as: "box" and "circle" outlines are not the silhouette; only "polygon" is.
        file, line: where it was drawn.
    """

    polygons: list[Points]
    area: float
    bbox: tuple[float, float, float, float]
    drawn_as: Drawn
    file: str
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One picture with the concept: positive with instances, or negative without any.

    Attributes:
        image_id: 1, 2, 3... in the order of the NFC-normalised paths.
        file_name: relative to the images folder, as it is spelt on disk.
        width, height: pixels of the upright picture.
        exhaustive: False when an instance is known to be there but its shape could not be used.
        source: group key for the split (same farm, same camera).
    """

    image_id: int
    file_name: str
    width: int
    height: int
    kind: Kind
    exhaustive: bool
    source: str
    instances: list[Instance] = field(default_factory=list)
