"""An annotator who knows what the generator drew: for demonstrations and tests of the loop, never for real data.

Speaks either through Label Studio's own API, as a person's browser does, or by saving LabelMe files.

    answer_tasks(studio, "turn-001", read_truth(Path("data/inbox_truth.json")))
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from sam3.files import read_json
from sam3_agent.mining import labelme
from sam3_agent.mining.outline import decoded, rings

if TYPE_CHECKING:
    from sam3_agent.annotation.studio import Studio

Truth = Mapping[str, Any]  # file name -> width, height, objects (COCO RLE)


def read_truth(path: Path = Path("data/inbox_truth.json")) -> Truth:
    """What the inbox shows, by file name."""
    return dict(read_json(path)["pictures"])


def answer_tasks(studio: Studio, batch: str, truth: Truth, most: int | None = None) -> int:
    """Answer the open tasks of a batch; how many that were.

    Args:
        most: tasks to answer in this call; None: all.

    Raises:
        KeyError: a picture that the generator did not draw.
    """
    done = 0
    for project in [one for one in studio.projects() if one["batch"] == batch]:
        for task in studio.tasks(project["id"]):
            if task.get("annotations") or (most is not None and done >= most):
                continue
            data = task["data"]
            concept = project["title"].partition(" · ")[0]
            shown = truth[_own_name(data["name"], data["sha256"], truth)]
            body = {"result": regions(shown, concept, int(data["width"]), int(data["height"])), "lead_time": 9.0}
            studio.call("POST", f"/api/tasks/{task['id']}/annotations/", json=body)
            done += 1
    return done


def regions(shown: Mapping[str, Any], concept: str, width: int, height: int) -> list[dict[str, Any]]:
    """What was drawn, as results of Label Studio; without anything, the choice that says so."""
    from sam3_agent.annotation.shapes import IMAGE, PICTURE, mask_region

    masks = [_upright(decoded(one["segmentation"]), width, height) for one in shown["objects"]]
    found = [region for mask in masks if (region := mask_region(mask, concept)) is not None]
    if found:
        return found
    choice = {"choices": [labelme.nothing_here(concept)]}
    return [{"type": "choices", "from_name": PICTURE, "to_name": IMAGE, "value": choice}]


def correct_files(batch: Path, truth: Truth, files: Path | None = None) -> int:
    """Save a LabelMe file for every picture of a batch, as somebody would who corrects them; how many.

    Args:
        batch: folder as `mine` made it. files: where to save; in place when None.
    """
    facts, place, done = read_json(batch / "batch.json"), files or batch / "images", 0
    concept = facts["concept"]
    for line in (batch / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = PurePosixPath(row["file"]).name
        shown = truth[_own_name(PurePosixPath(row["name"]).name, row["sha256"], truth)]
        shapes = []
        for number, one in enumerate(shown["objects"], start=1):
            drawn = rings(_upright(decoded(one["segmentation"]), row["width"], row["height"]))
            group = number if len(drawn) > 1 else None
            shapes += [labelme.shape(concept, ring.round(2).tolist(), "corrected", group) for ring in drawn]
        flags = {labelme.nothing_here(concept): not shapes, labelme.AMBIGUOUS: False}
        page = labelme.page(shapes, name, row["width"], row["height"], flags)
        labelme.write(place / f"{PurePosixPath(name).stem}.json", {**page, "corrected": True})
        done += 1
    return done


def _own_name(name: str, sha256: str, truth: Truth) -> str:
    """The name in the inbox: a batch adds part of the hash where two have the same stem."""
    if name in truth:
        return name
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    return f"{stem.removesuffix(f'-{sha256[:8]}')}{suffix}"


def _upright(mask: Any, width: int, height: int) -> Any:
    """The mask at the size at which the picture is annotated."""
    import cv2

    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
