"""The pack in the repository: complete, attributed, small, and loaded with clear errors."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.scenes.pack import DEFAULT_FOLDER, Pack

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.load()


def rows(name: str) -> list[dict[str, str]]:
    with (DEFAULT_FOLDER / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_has_a_file_and_every_file_a_row() -> None:
    listed = {row["file"] for name in ("cutouts.csv", "backgrounds.csv") for row in rows(name)}
    there = {str(path.relative_to(DEFAULT_FOLDER)) for path in DEFAULT_FOLDER.rglob("*.webp")}
    assert listed == there


def test_every_picture_is_attributed_under_a_licence_whose_text_is_there() -> None:
    attributed = {row["file"]: row for row in rows("ATTRIBUTION.csv")}
    assert set(attributed) == {row["file"] for n in ("cutouts.csv", "backgrounds.csv") for row in rows(n)}
    assert all(row["package"] and row["version"] and row["licence"] for row in attributed.values())
    texts = " ".join(path.name for path in (DEFAULT_FOLDER / "licences").iterdir())
    for licence in {row["licence"] for row in attributed.values()}:
        word = licence.split(" AND ")[0].removesuffix("-or-later").removesuffix("-only").split(" ")[0]
        assert word.lower() in texts.lower(), licence


def test_the_pack_is_at_most_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEFAULT_FOLDER.rglob("*") if path.is_file()) <= 20 * MEGABYTE


def test_synonyms_run_from_the_concept_to_the_broadest_word(pack: Pack) -> None:
    assert all(c.synonyms[0] == c.concept and len(set(c.synonyms)) == len(c.synonyms) for c in pack.cutouts)
    assert pack.select(phrase="hen")[0].synonyms == ("hen", "chicken", "bird", "animal")


@pytest.mark.parametrize(
    ("phrase", "also"),
    [
        ("rooster", "chicken"),
        ("drake", "duck"),
        ("chick", "bird"),
        ("red apple", "apple"),
        ("taxi", "vehicle"),
    ],
)
def test_the_narrow_word_implies_the_broad_one(pack: Pack, phrase: str, also: str) -> None:
    assert all(also in c.synonyms for c in pack.select(phrase=phrase))


def test_photographed_chickens_and_one_style_are_held_out_of_pretraining(pack: Pack) -> None:
    allowed = pack.select(holdout=[""])
    assert not [c for c in allowed if c.style == "fxemoji" or (c.is_photo and "chicken" in c.synonyms)]
    assert len(pack.select(phrase="chicken", photos=True)) == 3


def test_a_cutout_is_straight_alpha_and_premultiplied_on_request(pack: Pack) -> None:
    cutout = pack.select(phrase="hen", photos=True)[0]
    rgba, flat = cutout.rgba, cutout.premultiplied
    assert rgba.dtype == np.uint8 and rgba.shape[2] == 4
    assert rgba[..., 3].min() == 0 and rgba[..., 3].max() == 255
    assert (flat[..., :3].max(-1) <= flat[..., 3]).all()
    assert cutout.rgba is rgba


def test_a_missing_folder_says_what_was_expected_where(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: no such folder"):
        Pack.load(tmp_path / "nowhere")


def test_a_table_without_a_column_names_it(tmp_path: Path) -> None:
    (tmp_path / "cutouts.csv").write_text("file,style\na.webp,photo\n")
    with pytest.raises(BadInput, match=r"cutouts\.csv: column 'concept' is missing"):
        Pack.load(tmp_path)
