"""What lies in a raw folder: what is taken, what is refused and why, in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from raw_folder import RawFolder

from sam3.errors import BadInput
from sam3_agent.etl.catalogue import Catalogue


@pytest.fixture
def raw(tmp_path: Path) -> RawFolder:
    return RawFolder(tmp_path / "raw")


def refusals(raw: RawFolder) -> list[tuple[str, str]]:
    return [(problem.file, problem.rule) for problem in Catalogue(raw.root).problems]


def test_order_is_that_of_composed_paths(raw: RawFolder) -> None:
    for name in ("b/z.jpg", "a/e\u0301.jpg", "a/f.jpg", "a/\u00e8.jpg", "top.jpg"):
        raw.picture(name)
    paths = [entry.path for entry in Catalogue(raw.root).pictures()]
    assert paths == ["a/f.jpg", "a/\u00e8.jpg", "a/e\u0301.jpg", "b/z.jpg", "top.jpg"]


def test_folder_is_the_first_one(raw: RawFolder) -> None:
    raw.picture("hen/2024/may/a.jpg")
    raw.picture("b.jpg")
    assert [(e.folder, e.stem) for e in Catalogue(raw.root).pictures()] == [("", "b"), ("hen", "a")]


def test_hidden_files_are_passed_over_and_odd_ones_noted(raw: RawFolder) -> None:
    raw.bytes("images/.DS_Store", b"x")
    raw.bytes("images/hen/notes.doc", b"x")
    raw.bytes("images/hen/a.heic", b"x")
    assert sorted(refusals(raw)) == [
        ("images/hen/a.heic", "unknown-suffix"),
        ("images/hen/notes.doc", "unknown-suffix"),
    ]


def test_links_out_of_the_folder_are_refused(raw: RawFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(raw.picture("hen/a.jpg").read_bytes())
    (raw.root / "images/hen/b.jpg").symlink_to(secret)
    (raw.root / "images/hen/c.jpg").symlink_to("../../../secret.jpg")
    (raw.root / "images/hen/d.jpg").symlink_to("a.jpg")  # inside: fine
    (raw.root / "images/more").symlink_to(tmp_path)
    (raw.root / "images/again").symlink_to("hen")
    (raw.root / "labels/b.txt").symlink_to(tmp_path / "nothing.txt")
    (raw.root / "labels/c.txt").symlink_to("nothing.txt")
    assert sorted(refusals(raw)) == [
        ("images/again", "linked-folder"),
        ("images/hen/b.jpg", "outside-folder"),
        ("images/hen/c.jpg", "outside-folder"),
        ("images/more", "outside-folder"),
        ("labels/b.txt", "outside-folder"),
        ("labels/c.txt", "not-a-file"),
    ]
    assert [entry.stem for entry in Catalogue(raw.root).pictures()] == ["a", "d"]


def test_images_may_itself_be_a_link_to_another_disk(raw: RawFolder, tmp_path: Path) -> None:
    raw.picture("hen/a.jpg")
    (raw.root / "images").rename(tmp_path / "disk")
    (raw.root / "images").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/hen/b.jpg").symlink_to("a.jpg")
    assert len(Catalogue(raw.root)) == 2


def test_pipes_and_names_that_are_no_text_are_refused(raw: RawFolder) -> None:
    os.mkfifo(raw.root / "images/a.jpg")
    bad = os.fsencode(raw.root / "images") + b"/\xff.jpg"
    Path(os.fsdecode(bad)).write_bytes(b"x")
    assert sorted(refusals(raw)) == [
        ("images/\\udcff.jpg", "undecodable-name"),
        ("images/a.jpg", "not-a-file"),
    ]


def test_labels_without_a_picture_are_orphans(raw: RawFolder) -> None:
    raw.picture("hen/a.jpg")
    for name in ("a", "b", "duck/a", "hen/a"):
        raw.yolo(name)
    assert list(Catalogue(raw.root).orphans()) == ["b.txt", "duck/a.txt"]
    (entry,) = Catalogue(raw.root).pictures()
    assert entry.labels == ("a.txt", "hen/a.txt")


@pytest.mark.parametrize("missing", ["raw", "raw/images"])
def test_a_missing_folder_is_named_with_what_is_expected(tmp_path: Path, missing: str) -> None:
    (tmp_path / missing).parent.mkdir(exist_ok=True)
    with pytest.raises(BadInput, match=r"raw: has no folder images/\. Expected .*data\.raw in params\.yaml"):
        Catalogue(tmp_path / "raw")
