"""The frozen validation set: frozen once, refused when it moves or was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.errors import BadInput
from sam3.files import write_json
from sam3_agent.promotion.frozen import check_apart, check_frozen, freeze


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"images/{name}.jpg").write_bytes(name.encode() * 9)
    write_json(tmp_path / "val.json", {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []})
    write_json(tmp_path / "train.json", {"images": [{"id": 2, "file_name": "b.jpg"}], "annotations": []})
    return tmp_path


def test_what_is_frozen_stays_whatever_the_split_does(place: Path) -> None:
    frozen = freeze(place / "val.json", place / "images", place / "frozen/val.json")
    before = frozen.read_bytes()
    write_json(place / "val.json", {"images": [{"id": 9, "file_name": "c.jpg"}], "annotations": []})
    assert freeze(place / "val.json", place / "images", frozen).read_bytes() == before
    check_apart(frozen, place / "train.json", place / "images")


def test_a_changed_set_is_refused(place: Path) -> None:
    frozen = freeze(place / "val.json", place / "images", place / "frozen/val.json")
    frozen.write_text("{}")
    with pytest.raises(BadInput, match="has changed since it was frozen"):
        check_frozen(frozen)


@pytest.mark.parametrize("renamed", [False, True])
def test_a_frozen_picture_in_training_is_refused_under_any_name(place: Path, renamed: bool) -> None:
    frozen = freeze(place / "val.json", place / "images", place / "frozen/val.json")
    name = "copy of a.jpg" if renamed else "a.jpg"
    (place / "images" / name).write_bytes(b"a" * 9)
    write_json(place / "train.json", {"images": [{"id": 2, "file_name": name}], "annotations": []})
    with pytest.raises(BadInput, match="must never be trained on"):
        check_apart(frozen, place / "train.json", place / "images")
