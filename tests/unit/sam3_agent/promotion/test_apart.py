"""What is measured on was never trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.errors import BadInput
from sam3.files import write_json
from sam3_agent.promotion.apart import check_apart


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"images/{name}.jpg").write_bytes(name.encode() * 9)
    write_json(tmp_path / "val.json", {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []})
    write_json(tmp_path / "train.json", {"images": [{"id": 2, "file_name": "b.jpg"}], "annotations": []})
    return tmp_path


def test_two_sides_that_share_nothing_pass(place: Path) -> None:
    check_apart(place / "val.json", place / "images", place / "train.json", place / "images")


@pytest.mark.parametrize("name", ["a.jpg", "copy of a.jpg"])
def test_a_shared_picture_is_refused_under_any_name(place: Path, name: str) -> None:
    (place / "images" / name).write_bytes(b"a" * 9)
    write_json(place / "train.json", {"images": [{"id": 2, "file_name": name}], "annotations": []})
    with pytest.raises(BadInput, match="must never be trained on"):
        check_apart(place / "val.json", place / "images", place / "train.json", place / "images")
