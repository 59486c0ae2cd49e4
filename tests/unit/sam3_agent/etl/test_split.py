"""Splitting: who must stay together, and how near the sides come to what was asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from raw_folder import RawFolder

from sam3.errors import BadInput
from sam3_agent.etl.allocation import choose_validation, strata
from sam3_agent.etl.grouping import group_pictures
from sam3_agent.etl.likeness import NEAR, Likeness, difference_hash, look_at, near_pairs
from sam3_agent.etl.saco import SacoFile
from sam3_agent.etl.split import Sides, choose_sides, read_individuals, split_report


@pytest.fixture
def raw(tmp_path: Path) -> RawFolder:
    return RawFolder(tmp_path / "raw")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda image: image.resize((200, 150)), True),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.8), True),
        (lambda image: image.convert("L").convert("RGB"), True),
        (lambda image: ImageOps.mirror(image), False),
        (lambda image: image.crop((0, 0, 200, 150)), False),
    ],
)
def test_a_near_copy_is_recognised(raw: RawFolder, change, same: bool) -> None:
    path = raw.picture("a.png", (400, 300))
    with Image.open(path) as image:
        change(image.convert("RGB")).save(path.with_name("b.png"))
    first, second = look_at(path), look_at(path.with_name("b.png"))
    assert first.digest != second.digest
    assert ((first.dhash ^ second.dhash).bit_count() <= NEAR) == same


def test_a_picture_stored_on_its_side_is_a_near_copy(raw: RawFolder) -> None:
    path = raw.picture("a.png", (400, 300))
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path.with_name("b.png"), exif=exif)
    assert look_at(path).dhash == look_at(path.with_name("b.png")).dhash


def test_a_flat_picture_is_like_no_other() -> None:
    assert difference_hash(np.full((8, 9), 90, np.int16)) is None
    assert difference_hash(np.tile(np.arange(9, dtype=np.int16) * 9, (8, 1))) == 2**64 - 1


@pytest.mark.parametrize(("content", "words"), [(None, "not found"), (b"x", "cannot be decoded")])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.jpg: {words}\. Run"):
        look_at(tmp_path / "a.jpg")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=20), st.data())
def test_every_near_pair_is_found_and_no_other(hashes: list[int], data: st.DataObject) -> None:
    bits = data.draw(st.sets(st.integers(0, 63), max_size=NEAR + 1))
    hashes.append(hashes[0] ^ sum(1 << bit for bit in bits))
    found = {frozenset((i, int(j))) for i, js in near_pairs(np.array(hashes, np.uint64)) for j in js}
    expected = {
        frozenset((i, j)) for j in range(len(hashes)) for i in range(j) if (hashes[i] ^ hashes[j]).bit_count() <= NEAR
    }
    assert found == expected


def look(name: str, dhash: int | None = None) -> Likeness:
    return Likeness(name.encode(), dhash)


@pytest.mark.parametrize(
    ("sources", "looks", "groups"),
    [
        (["a", "b", "a"], [look("1"), look("2"), look("3")], [0, 1, 0]),
        (["a", "b", "c"], [look("1"), look("2"), look("1")], [0, 1, 0]),
        (["a", "b", "c"], [look("1", 7), look("2", 2**60 - 1), look("3", 6)], [0, 1, 0]),
        (["a", "b", "b", "c"], [look("1"), look("1"), look("2", 9), look("3", 8)], [0, 0, 0, 0]),  # a chain
        (["a", "b"], [look("1"), look("2")], [0, 1]),
    ],
)
def test_groups(sources: list[str], looks: list[Likeness], groups: list[int]) -> None:
    assert group_pictures(sources, looks).tolist() == groups


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), min_size=2, max_size=200),
    st.floats(0.05, 0.6),
    st.integers(0, 5),
)
def test_a_group_is_on_one_side_and_the_choice_repeats(rows: list, share: float, seed: int) -> None:
    _, groups = np.unique([group for group, _ in rows], return_inverse=True)
    stratum = strata(np.array([count for _, count in rows]))
    chosen = choose_validation(groups, stratum, share, seed)
    assert not np.intersect1d(groups[chosen], groups[~chosen]).size
    if groups.max():
        assert chosen.any() and not chosen.all()
    np.testing.assert_array_equal(chosen, choose_validation(groups, stratum, share, seed))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
def test_sides_come_near_to_share_and_mixture(share: float) -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), random.integers(2, 20, 60))
    counts = random.integers(0, 4, len(groups)) * (random.random(len(groups)) < 0.6)
    chosen = choose_validation(groups, strata(counts), share, 7)
    assert chosen.mean() == pytest.approx(share, abs=0.005)
    assert (counts[chosen] > 0).mean() == pytest.approx((counts > 0).mean(), abs=0.02)
    for number in (1, 2, 3):
        assert (counts[chosen] == number).mean() == pytest.approx((counts == number).mean(), abs=0.03)


def rows(*groups: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Group and stratum of each picture, from (negatives, with one instance, with two) of each group."""
    group = np.repeat(np.arange(len(groups)), [sum(counts) for counts in groups])
    return group, np.concatenate([np.repeat([0, 1, 2], counts) for counts in groups])


def test_the_share_of_positives_goes_before_the_numbers_of_instances() -> None:
    group, stratum = rows((10, 10, 0), (14, 2, 4), (26, 13, 21))
    assert set(group[choose_validation(group, stratum, 0.2, 7)]) == {0}


def test_a_side_without_negatives_is_avoided_even_if_it_fits_better() -> None:
    group, stratum = rows(*[(10, 0, 0)] * 2, *[(0, 10, 0)] * 8)
    chosen = choose_validation(group, stratum, 0.2, 7)
    assert (stratum[chosen] == 0).any() and (stratum[chosen] > 0).any()


def pairs(raw: RawFolder, rows: list[tuple[str, int]], seed: int | None = None) -> SacoFile:
    """One picture for each (source, number of instances)."""
    images, annotations = [], []
    for index, (source, count) in enumerate(rows, start=1):
        raw.picture(f"{index}.png", seed=seed)
        images.append({"id": index, "file_name": f"{index}.png", "source": source})
        annotations += [{"id": len(annotations) + 1, "image_id": index} for _ in range(count)]
    return SacoFile(images, annotations)


@pytest.mark.parametrize(
    ("rows", "seed", "words"),
    [
        ([("a", 1), ("a", 0)], None, "all 2 pictures are one group"),
        ([("a", 1), ("b", 0), ("c", 1)], 5, "all 3 pictures are one group"),  # copies of each other
        ([("a", 1), ("b", 0), ("c", 0)], None, "has no positives: 1 of 3 groups show the concept"),
        ([], None, "no pairs to split"),
    ],
)
def test_what_cannot_be_split_says_why(raw: RawFolder, rows: list, seed: int | None, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        choose_sides(pairs(raw, rows, seed), raw.root / "images", 0.2, 7)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", 1), ("b", 1), ("c", 1)], "no negatives"),
        ([("a", 1), ("b", 1), ("b", 0)], "has none and cgF1 will be 0|no negatives; the model will not"),
        ([("a", 1)] * 5 + [("b", 2), ("b", 0), ("a", 0)] * 3, "of the pairs are held back instead of 20%"),
    ],
)
def test_a_poor_split_is_warned_of(raw: RawFolder, rows: list, words: str) -> None:
    sides = choose_sides(pairs(raw, rows), raw.root / "images", 0.2, 7)
    assert re.search(words, " ".join(split_report(sides, 0.2, {})["warnings"]))


def test_distinct_individuals_are_counted_on_each_side(raw: RawFolder) -> None:
    manifest = raw.root / "barnyard.json"
    assert read_individuals(manifest) == {}  # a folder of one's own
    farm_a = {"name": "a", "photographed": ["hen7"], "drawn": ["hen8", "hen9"]}
    manifest.write_text(json.dumps({"farms": [farm_a, {"name": "b", "photographed": [], "drawn": ["hen9"]}]}))
    file = pairs(raw, [("a", 1), ("b", 1), ("c", 0)])
    sides = Sides(file, np.arange(3, dtype=np.int32), np.array([False, True, True]), np.array([1, 1, 0]))
    report = split_report(sides, 0.2, read_individuals(manifest))
    assert report["distinct_individuals"] == {
        "train": {"photographed": 1, "drawn": 2},
        "val": {"photographed": 0, "drawn": 1},
        "on_both_sides": ["hen9"],
    }
    assert "1 individuals are on both sides, hen9 first." in report["warnings"]


@pytest.mark.parametrize("content", ["{}", "[]", '{"farms": [1]}', '{"farms": [{"name": "a"}]}'])
def test_a_manifest_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "barnyard.json").write_text(content)
    with pytest.raises(BadInput, match=r"barnyard\.json: farms must list"):
        read_individuals(tmp_path / "barnyard.json")
