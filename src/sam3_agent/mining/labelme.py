"""LabelMe files for people to correct: an outline an instance, and the two things one may say of the whole picture.

    labelme data/to_annotate/batch-0001/images      # opens them

The flags "no <concept> here" and "ambiguous" are check boxes in LabelMe. `written_as` tells a file that somebody saved
from one that nobody touched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sam3.files import atomic_write
from sam3_agent.mining.outline import decoded, rings

VERSION = "5.5.0"  # of the format; LabelMe 5 and later read it
AMBIGUOUS = "ambiguous"


def nothing_here(concept: str) -> str:
    """The choice that makes a picture a negative."""
    return f"no {concept} here"


def sheet(row: dict[str, Any], file: str, concept: str, prefill: float) -> dict[str, Any]:
    """The content of one file.

    Args:
        row: of a picture that was looked at. file: its name, beside the label file.
        prefill: instances with at least this score become shapes.
    """
    shapes = []
    for number, one in enumerate(row.get("instances", ())):
        if one["score"] < prefill:
            continue
        for ring in rings(decoded(one["mask"])):
            shapes.append(shape(concept, ring.round(2).tolist(), f"score {one['score']:.2f}", number + 1))
    parts = [one["group_id"] for one in shapes]
    for one in shapes:  # a group says that several outlines are one individual
        one["group_id"] = one["group_id"] if parts.count(one["group_id"]) > 1 else None
    return page(shapes, file, row["width"], row["height"], {nothing_here(concept): False, AMBIGUOUS: False})


def shape(label: str, points: list[list[float]], description: str = "", group: int | None = None) -> dict[str, Any]:
    """One outline in LabelMe's words."""
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": description,
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


def page(shapes: list[dict[str, Any]], file: str, width: int, height: int, flags: dict[str, bool]) -> dict[str, Any]:
    """A LabelMe file around shapes; sizes in pixels of the upright picture."""
    return {
        "version": VERSION,
        "flags": flags,
        "shapes": shapes,
        "imagePath": file,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def write(path: Path, content: dict[str, Any]) -> str:
    """Write a file; returns the SHA-256 of its bytes."""
    data = (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
    with atomic_write(path, "wb") as stream:
        stream.write(data)
    return hashlib.sha256(data).hexdigest()
