"""Label files as annotators leave them: YOLO boxes, YOLO polygons, LabelMe JSON, empty ones.

Coordinates are those of the upright picture, as every annotation tool that honours EXIF writes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam3.scenes.pack import Cutout
from sam3_agent.barnyard.blemishes import LabelForm
from sam3_agent.barnyard.staging import Picture, Subject


@dataclass(frozen=True, slots=True)
class Naming:
    """What annotators of these folders call things.

    Attributes:
        accepted: names of the concept, the concept itself first.
        ambiguous: a name that leaves open what it is, or None.
        others: class names of near misses, for the YOLO class list.
    """

    accepted: tuple[str, ...]
    ambiguous: str | None
    others: tuple[str, ...]

    @property
    def classes(self) -> list[str]:
        """classes.txt, in order."""
        vague = [self.ambiguous] if self.ambiguous else []
        return list(dict.fromkeys([*self.accepted, *vague, *self.others]))

    def call(self, rng: np.random.Generator, cutout: Cutout) -> str:
        """A name for an individual of the concept: half the time the narrow one, if there is one."""
        narrow = [name for name in cutout.synonyms if name in self.accepted and name != self.accepted[0]]
        return narrow[0] if narrow and rng.random() < 0.5 else self.accepted[0]


@dataclass(frozen=True, slots=True)
class Label:
    """A class name and the object it belongs to."""

    name: str
    subject: Subject


def label_file(
    rng: np.random.Generator, picture: Picture, form: LabelForm, naming: Naming, *, ambiguous: bool
) -> tuple[str, str] | None:
    """The suffix and text of a picture's label file, or None when it has none.

    Args:
        form: see `blemishes`; "others" labels the near misses with their own names.
        ambiguous: call the first near miss by the ambiguous name.
    """
    if form == "missing":
        return None
    labels = [Label(naming.call(rng, s.thing.cutout), s) for s in picture.shown]
    if form == "others":
        labels += [Label(s.thing.cutout.concept, s) for s in picture.near]
    if ambiguous and naming.ambiguous and picture.near:
        labels.append(Label(naming.ambiguous, picture.near[0]))
    height, width = picture.image.shape[:2]
    if form.startswith("labelme"):
        return ".json", _labelme(labels, width, height, form)
    return ".txt", "".join(_yolo_line(label, width, height, form, naming.classes) for label in labels)


def write_classes(folder: Path, naming: Naming) -> None:
    """classes.txt for the YOLO files."""
    (folder / "classes.txt").write_text("\n".join(naming.classes) + "\n", encoding="utf-8")


def _yolo_line(label: Label, width: int, height: int, form: LabelForm, classes: list[str]) -> str:
    size = np.array([width, height], dtype=np.float64)
    if form == "yolo-boxes":
        low, high = label.subject.thing.box[:2], label.subject.thing.box[2:]
        numbers: Sequence[float] = [*((low + high) / 2 / size), *((high - low) / size)]
    else:
        numbers = (label.subject.outline / size).ravel().tolist()
    return f"{classes.index(label.name)} " + " ".join(f"{number:.6f}" for number in numbers) + "\n"


def _labelme(labels: list[Label], width: int, height: int, form: LabelForm) -> str:
    sheet: dict[str, Any] = {
        "version": "5.4.1",
        "flags": {},
        "shapes": [_shape(label, form) for label in labels],
        "imagePath": "",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(sheet, indent=1, ensure_ascii=False) + "\n"


def _shape(label: Label, form: LabelForm) -> dict[str, Any]:
    thing = label.subject.thing
    kind, points = "polygon", label.subject.outline.round(2).tolist()
    if form == "labelme-rectangle":
        kind, points = "rectangle", [thing.box[:2].tolist(), thing.box[2:].tolist()]
    elif form == "labelme-circle":
        (x, y), _ = cv2.minEnclosingCircle(label.subject.outline)
        radius = float(np.sqrt(thing.mask.sum() / np.pi))  # the disc as large as the object
        kind, points = "circle", [[round(x, 2), round(y, 2)], [round(x + radius, 2), round(y, 2)]]
    return {"label": label.name, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
