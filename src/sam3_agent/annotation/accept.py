"""Corrections made elsewhere -> the same rows: LabelMe files edited by hand, or COCO as CVAT exports it.

    sam3-agent annotate accept data/to_annotate/batch-0001/images --batch batch-0001 --annotator ann
    sam3-agent annotate accept instances_default.json --batch batch-0001 --annotator ann --empty-is-none

A LabelMe file counts when somebody saved it: one that is byte for byte as it was handed out was not looked at. COCO
cannot say whether a picture without outlines was looked at, so such a picture is left alone unless --empty-is-none.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.files import read_json
from sam3_agent.annotation.annotated import Annotation, Delivery, deliver
from sam3_agent.annotation.pull import ANNOTATED
from sam3_agent.annotation.push import model_version, read_batch
from sam3_agent.etl.labels_labelme import read_labelme
from sam3_agent.etl.naming import plain
from sam3_agent.mining.labelme import AMBIGUOUS, nothing_here
from sam3_agent.mining.outline import decoded, rings

Instances = list[list[list[list[float]]]]


def accept(
    target: Path, batch: Path, out: Path = ANNOTATED, *, annotator: str = "unknown", empty_is_none: bool = False
) -> Delivery:
    """Take a folder of LabelMe files or a COCO file as somebody's word on a batch; twice is once.

    Args:
        target: folder of `<picture>.json`, or a COCO .json. batch: the mined batch that it is about.
        empty_is_none: of COCO: pictures listed without outlines were looked at, and show nothing.

    Raises:
        BadInput: neither of both, or nothing in it belongs to the batch.
    """
    facts, manifest = read_batch(batch)
    problems: list[str] = []
    if target.is_dir():
        rows = list(_labelme(target, facts, manifest, annotator, problems))
    elif target.is_file():
        rows = list(_coco(target, facts, manifest, annotator, empty_is_none, problems))
    else:
        raise BadInput(f"{target}: expected a folder of LabelMe files or a COCO file.", field="target")
    if not rows and not problems:
        raise BadInput(
            f"{target}: nothing in it is a correction of {batch.name}. LabelMe files count once they were saved; for "
            "pictures without outlines in COCO say --empty-is-none."
        )
    files = {Path(row["file"]).name: row["file"] for row in manifest}
    done = deliver(
        out / facts["name"], rows, lambda row: (batch / files[row.file]).read_bytes(), concept=facts["concept"]
    )
    done.refused += problems
    return done


def _labelme(
    folder: Path, facts: dict[str, Any], manifest: list[dict[str, Any]], annotator: str, problems: list[str]
) -> Iterator[Annotation]:
    for row in manifest:
        path = folder / f"{PurePosixPath(row['file']).stem}.json"
        if not path.is_file():
            continue
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == row["label_sha256"]:
            continue
        sheet = read_labelme(data, path.name, row["width"], row["height"])
        lost = [problem for problem in sheet.problems if problem.action != "repaired"]
        if lost:
            problems.append(f"{path}, line {lost[0].line}: {lost[0].detail}")
            continue
        flags = json.loads(data).get("flags") or {}
        yield _annotation(
            row, facts, annotator, path, "labelme",
            instances=_grouped(sheet.shapes, facts["concept"]),
            none=bool(flags.get(nothing_here(facts["concept"]))), ambiguous=bool(flags.get(AMBIGUOUS)),
        )  # fmt: skip


def _grouped(shapes: Any, concept: str) -> Instances:
    """Outlines of the concept by individual: shapes of one group are one."""
    found: dict[Any, list[list[list[float]]]] = {}
    for number, shape in enumerate(shapes):
        if plain(shape.name) == plain(concept):
            key = ("alone", number) if shape.group is None else ("group", shape.group)
            found.setdefault(key, []).append(shape.points.round(2).tolist())
    return list(found.values())


def _coco(
    path: Path, facts: dict[str, Any], manifest: list[dict[str, Any]], annotator: str, empty: bool, problems: list[str]
) -> Iterator[Annotation]:
    content = read_json(path)
    try:
        names = {row["id"]: plain(str(row["name"])) for row in content["categories"]}
        images = {_nfc(row["file_name"]): row for row in content["images"]}
        drawn: dict[Any, list[dict[str, Any]]] = {}
        for one in content["annotations"]:
            if names.get(one["category_id"]) == plain(facts["concept"]):
                drawn.setdefault(one["image_id"], []).append(one)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path}: not COCO; expected images, annotations and categories ({error}).") from error
    for row in manifest:
        image = images.get(_nfc(row["file"]))
        if image is None or not (drawn.get(image["id"]) or empty):
            continue
        if (image.get("width"), image.get("height")) != (row["width"], row["height"]):
            problems.append(
                f"{image['file_name']}: outlined at {image.get('width')} x {image.get('height')}, the upright picture "
                f"is {row['width']} x {row['height']}. Let the tool turn pictures by their EXIF tag, and export again."
            )
            continue
        try:
            instances = [_outlines(one["segmentation"], row) for one in drawn.get(image["id"], ())]
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{image['file_name']}: an annotation without a usable segmentation ({error}).")
            continue
        yield _annotation(row, facts, annotator, path, "coco", instances=instances, none=not instances, ambiguous=False)


def _outlines(segmentation: Any, row: dict[str, Any]) -> list[list[list[float]]]:
    """Rings of polygons or an RLE, pixels."""
    if isinstance(segmentation, dict):
        from pycocotools import mask as coco_mask

        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, row["height"], row["width"])
            segmentation = {**segmentation, "counts": segmentation["counts"].decode()}
        mask = decoded(segmentation)
        if mask.shape != (row["height"], row["width"]):
            raise ValueError(f"a mask of {mask.shape[1]} x {mask.shape[0]}")
        return [ring.round(2).tolist() for ring in rings(mask)]
    found = [np.asarray(flat, float).reshape(-1, 2) for flat in segmentation]
    if not found or any(len(ring) < 3 or not np.isfinite(ring).all() for ring in found):
        raise ValueError("a polygon needs three points or more")
    return [ring.round(2).tolist() for ring in found]


def _annotation(
    row: dict[str, Any], facts: dict[str, Any], annotator: str, path: Path, kind: str, **said: Any
) -> Annotation:
    when = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z")
    return Annotation(
        id=f"{kind}-{annotator}-{row['sha256'][:12]}",
        batch=facts["name"],
        file=PurePosixPath(row["file"]).name,
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        annotator=annotator,
        task=f"{kind} {path.name}",
        model_version=model_version(facts),
        created=when,
        updated=when,
        **said,
    )


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(str(name).replace("\\", "/")).name)
