"""Pairs on paper: the rows of a SA-Co file, and that the file is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3_agent.etl.records import Instance, Pair
from sam3_agent.etl.saco import SacoWriter, image_row, read_saco

RING = np.array([(10, 5), (30, 5), (30, 15), (10, 15)], float)


def pair(image_id: int = 1, *, drawn_as: str = "polygon", exhaustive: bool = True, count: int = 1) -> Pair:
    instance = Instance([RING], 200.0, (10, 5, 20, 10), drawn_as, "labels/a.txt", 3)
    kind = "positive" if count else "negative"
    return Pair(image_id, f"hen/{image_id}.jpg", 100, 50, kind, exhaustive, "farm01", [instance] * count)


def test_numbers_are_fractions_and_outlines_are_pixels(tmp_path: Path) -> None:
    with SacoWriter(tmp_path / "pairs.json", "hen") as writer:
        writer.add(pair(1, count=2))
        writer.add(pair(2, count=0))
        writer.add(pair(3))
    saco = read_saco(tmp_path / "pairs.json")
    assert [(row["id"], row["kind"], row["text_input"]) for row in saco.images] == [
        (1, "positive", "hen"),
        (2, "negative", "hen"),
        (3, "positive", "hen"),
    ]
    assert [(row["id"], row["image_id"]) for row in saco.annotations] == [(1, 1), (2, 1), (3, 3)]
    assert saco.annotations[0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "area": 0.04,
        "bbox": [0.1, 0.1, 0.2, 0.2],
        "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]],
        "drawn_as": "polygon",
        "source_file": "labels/a.txt",
        "source_line": 3,
    }


@pytest.mark.parametrize(
    ("drawn_as", "exhaustive", "instances", "pixels"),
    [("polygon", True, 1, 1), ("box", True, 1, 0), ("circle", True, 1, 0), ("polygon", False, 0, 0)],
)
def test_exhaustive_flags(drawn_as: str, exhaustive: bool, instances: int, pixels: int) -> None:
    row = image_row(pair(drawn_as=drawn_as, exhaustive=exhaustive), "hen")
    assert (row["is_instance_exhaustive"], row["is_pixel_exhaustive"]) == (instances, pixels)


def test_an_error_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), SacoWriter(path, "hen") as writer:
        writer.add(pair())
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_of_a_file_keeps_its_annotations_and_the_rest(tmp_path: Path) -> None:
    with SacoWriter(tmp_path / "pairs.json", "hen") as writer:
        for image_id in (1, 2, 3):
            writer.add(pair(image_id))
    read_saco(tmp_path / "pairs.json").subset({2}).write(tmp_path / "part.json")
    part = json.loads((tmp_path / "part.json").read_text())
    assert [row["id"] for row in part["images"]] == [2]
    assert [row["image_id"] for row in part["annotations"]] == [2]
    assert part["categories"] == [{"id": 1, "name": "object"}]


def test_an_id_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [{"id": 1, "image_id": "x"}]}')
    with pytest.raises(BadInput, match=r"a\.json: annotations\[0\] has no usable image_id"):
        read_saco(tmp_path / "a.json")
