"""A batch's answers as COCO (`found.coco.json`) and as CSV (`answers.csv`, `instances.csv`)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam3.files import atomic_write, write_json
from sam3_agent.batch.journal import Line


def write_coco(path: Path, lines: Sequence[Line]) -> Path:
    """A COCO data set: one category a label, masks as RLE, bbox xywh pixels, and the score of each instance."""
    from pycocotools import mask as coco_mask

    answered = [line for line in lines if not line.problem]
    names = sorted({row["label"] for line in answered for row in line.annotations})
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, line in enumerate(answered, start=1):
        images.append({"id": number, "file_name": printable(line.file), "height": line.height, "width": line.width})
        for row in line.annotations:
            rle = {"size": row["segmentation"]["size"], "counts": row["segmentation"]["counts"].encode("ascii")}
            annotations.append(
                {
                    **{key: row[key] for key in ("bbox", "score", "segmentation", "sure") if key in row},
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(row["label"]) + 1,
                    "area": float(coco_mask.area(rle)),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": at, "name": name} for at, name in enumerate(names, start=1)]
    write_json(path, {"images": images, "categories": categories, "annotations": annotations}, indent=None)
    return path


def write_csv(folder: Path, lines: Sequence[Line]) -> list[Path]:
    """`answers.csv`, one row a picture, and `instances.csv`, one row a thing."""
    answers, instances = folder / "answers.csv", folder / "instances.csv"
    _write(
        answers,
        ("file", "status", "answer", "found", "uncertain", "text", "problem"),
        [
            [_cell(x.file), x.status, x.answer, len(x.annotations), x.uncertain, _cell(x.text), _cell(x.problem)]
            for x in lines
        ],
    )
    _write(
        instances,
        ("file", "label", "score", "x0", "y0", "x1", "y1", "sure"),
        [[_cell(line.file), *_instance(row)] for line in lines for row in line.annotations],
    )
    return [answers, instances]


def _instance(row: dict[str, Any]) -> list[Any]:
    x, y, width, height = row["bbox"]
    corners = [round(value, 2) for value in (x, y, x + width, y + height)]
    return [_cell(row["label"]), round(row["score"], 4), *corners, row.get("sure", True)]


def printable(text: str) -> str:
    """Text in UTF-8: bytes of a file's name that are none come as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cell(text: str) -> str:
    """A spreadsheet must not run a file's name."""
    text = printable(text)
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic_write(path) as stream:
        table = csv.writer(stream)
        table.writerow(header)
        table.writerows(rows)
