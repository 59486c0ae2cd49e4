"""The barnyard: folders in the shape users have, true labels, farms that share nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from sam3.errors import BadInput
from sam3.scenes.pack import Pack
from sam3_agent.barnyard import staging
from sam3_agent.barnyard.farms import Farm, plan_farms
from sam3_agent.barnyard.generate import Order, generate
from sam3_agent.barnyard.labels import Naming

NAMES = {"chicken": ("chicken", "rooster", "hen", "chick"), "duck": ("duck", "drake")}


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.load()


def order(farms: list[Farm], concept: str = "chicken", **changes: Any) -> Order:
    others = sorted({c.concept for farm in farms for c in farm.near})
    naming = Naming(NAMES[concept], "unknown bird", tuple(others))
    settings = {"seed": 7, "pictures": 48, "inbox": 12, "image_size": (240, 180)} | changes
    return Order(concept=concept, naming=naming, **settings)


def make(pack: Pack, where: Path, concept: str = "chicken", **changes: Any) -> dict[str, Any]:
    farms = plan_farms(pack, concept, seed=7)
    return generate(order(farms, concept, **changes), farms, where / "raw", where / "inbox")


@pytest.fixture(scope="module")
def yard(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("yard")
    make(pack, where)
    return where


def pictures(yard: Path, side: str = "*") -> list[Path]:
    return sorted(path for path in (yard / "raw/images").glob(f"{side}/*"))


def labels(yard: Path, suffix: str) -> Iterator[Path]:
    return (path for path in (yard / "raw/labels").glob(f"*{suffix}") if path.name != "classes.txt")


def test_half_the_pictures_show_the_concept_and_farms_have_equal_shares(yard: Path) -> None:
    assert len(pictures(yard, "chicken")) == len(pictures(yard, "not_chicken")) == 24
    assert len(list((yard / "inbox").iterdir())) == 12
    farms = [path.name[:6] for path in pictures(yard)]
    assert {name: farms.count(name) for name in farms} == {f"farm{n:02d}": 8 for n in range(1, 7)}


def test_the_blemishes_of_real_folders_are_there(yard: Path) -> None:
    names = [path.name for path in pictures(yard)]
    stems = {path.stem for path in pictures(yard)}
    labelled = {path.stem for path in (*labels(yard, ".txt"), *labels(yard, ".json"))}
    shapes = [s for path in labels(yard, ".json") for s in json.loads(path.read_text())["shapes"]]
    lines = [line.split() for path in labels(yard, ".txt") for line in path.read_text().splitlines()]
    assert {"polygon", "rectangle", "circle"} == {shape["shape_type"] for shape in shapes}
    assert {len(line) == 5 for line in lines} == {True, False}, "YOLO boxes and YOLO polygons"
    assert any(path.stat().st_size == 0 for path in labels(yard, ".txt")), "empty label files"
    assert stems - labelled, "missing label files"
    assert any(Path(name).suffix.isupper() for name in names)
    assert any(not name.isascii() for name in names)
    assert {".png", ".webp"} <= {Path(name).suffix.lower() for name in names}
    assert "unknown bird" in {shape["label"] for shape in shapes}
    classes = (yard / "raw/labels/classes.txt").read_text().splitlines()
    used = {shape["label"] for shape in shapes} | {classes[int(line[0])] for line in lines}
    assert used & {"rooster", "hen", "chick"} and "chicken" in used


def test_every_positive_has_a_label_and_no_label_lacks_a_picture(yard: Path) -> None:
    stems = {path.stem for path in pictures(yard)}
    labelled = {path.stem for path in (*labels(yard, ".txt"), *labels(yard, ".json"))}
    assert labelled <= stems and {path.stem for path in pictures(yard, "chicken")} <= labelled
    assert len(stems) == len(pictures(yard)), "no two pictures share a stem"


def test_rotated_pictures_are_stored_turned_and_labelled_upright(yard: Path) -> None:
    turned = [p for p in pictures(yard) if Image.open(p).getexif().get(274, 1) != 1]
    assert turned
    for path in labels(yard, ".json"):
        sheet = json.loads(path.read_text())
        [picture] = [p for p in pictures(yard) if p.stem == path.stem]
        upright = ImageOps.exif_transpose(Image.open(picture))
        assert upright.size == (sheet["imageWidth"], sheet["imageHeight"])


def test_inbox_truth_is_in_the_upright_frame_and_half_of_it_empty(yard: Path) -> None:
    truth = json.loads((yard / "inbox_truth.json").read_text())["pictures"]
    assert set(truth) == {path.name for path in (yard / "inbox").iterdir()}
    assert sum(not facts["objects"] for facts in truth.values()) == 6
    for name, facts in truth.items():
        size = ImageOps.exif_transpose(Image.open(yard / "inbox" / name)).size
        assert size == (facts["width"], facts["height"])
        assert all(thing["segmentation"]["size"] == list(size[::-1]) for thing in facts["objects"])


def test_no_cutout_and_no_photograph_behind_is_on_two_farms(pack: Pack) -> None:
    farms = plan_farms(pack, "chicken", seed=3)
    files = [c.file for farm in farms for c in farm.cutouts()]
    sources = [source for farm in farms for source in {b.source for b in farm.backgrounds}]
    assert len(files) == len(set(files)) and len(sources) == len(set(sources))
    assert all(farm.individuals and farm.near and farm.others and farm.backgrounds for farm in farms)


def test_each_photographed_chicken_has_its_own_farm_and_the_inbox_has_none(pack: Pack) -> None:
    *farms, inbox = plan_farms(pack, "chicken", seed=7)
    photographed = [sum(c.is_photo for c in farm.individuals) for farm in farms]
    assert sorted(photographed) == [0, 0, 0, 1, 1, 1]
    assert not any(c.is_photo for c in inbox.individuals) and len(inbox.individuals) > 5
    assert all(c.holdout for farm in farms for c in farm.individuals), "pretraining has seen none of them"


def test_a_photographed_chicken_may_be_kept_for_the_inbox(pack: Pack) -> None:
    *farms, inbox = plan_farms(pack, "chicken", seed=7, inbox_photographs=1)
    assert [c.is_photo for c in inbox.individuals] == [True]
    assert sum(c.is_photo for farm in farms for c in farm.individuals) == 2
    *farms, inbox = plan_farms(pack, "chicken", seed=7, inbox_photographs=5)
    assert sum(c.is_photo for farm in farms for c in farm.individuals) == 2, "training and validation need one each"


def test_with_visitors_the_animals_of_every_farm_walk_through_the_inbox_and_its_backgrounds_stay_its_own(
    pack: Pack,
) -> None:
    *farms, inbox = plan_farms(pack, "chicken", seed=7, inbox_photographs=1, visitors=True)
    *_, alone = plan_farms(pack, "chicken", seed=7, inbox_photographs=1)
    for farm in farms:
        assert {c.file for c in farm.individuals} < {c.file for c in inbox.individuals}
        assert {c.file for c in farm.near} < {c.file for c in inbox.near}
    assert {c.file for c in alone.individuals} <= {c.file for c in inbox.individuals}, "its own stay"
    assert inbox.backgrounds == alone.backgrounds


@pytest.mark.parametrize(("share", "shown"), [(0.0, 0), (0.1, 3), (0.5, 15), (1.0, 30)])
def test_the_inbox_may_show_the_concept_rarely(pack: Pack, tmp_path: Path, share: float, shown: int) -> None:
    made = make(pack, tmp_path, pictures=12, inbox=30, inbox_share=share)
    truth = json.loads((tmp_path / "inbox_truth.json").read_text())["pictures"].values()
    assert sum(bool(row["objects"]) for row in truth) == shown and made["inbox_share"] == share
    assert len(pictures(tmp_path, "chicken")) == 6, "what is labelled is half and half as ever"


def test_where_the_chicken_is_a_photograph_everything_is(pack: Pack) -> None:
    farms = [farm for farm in plan_farms(pack, "chicken", seed=7) if any(c.is_photo for c in farm.individuals)]
    assert len(farms) == 3 and all(c.is_photo for farm in farms for c in farm.cutouts())


def test_a_farm_of_photographs_takes_drawn_negatives_where_there_are_no_others(pack: Pack) -> None:
    birds = [c for c in pack.cutouts if c.kind == "bird"]
    chickens = [c for c in birds if "chicken" in c.synonyms]
    drawn = [c for c in birds if not c.is_photo and "chicken" not in c.synonyms]
    for farm in plan_farms(replace(pack, cutouts=(*chickens, *drawn)), "chicken", seed=7):
        assert farm.near


def test_negatives_are_hard(pack: Pack) -> None:
    for farm in plan_farms(pack, "chicken", seed=7):
        assert sum(c.is_photo and c.kind == "bird" for c in farm.near) >= 4
        assert not any("chicken" in c.synonyms for c in (*farm.near, *farm.others, *farm.clutter))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(pack: Pack, tmp_path: Path) -> None:
    def snapshot(where: str, **changes: Any) -> dict[str, bytes]:
        make(pack, tmp_path / where, pictures=12, inbox=3, **changes)
        root = tmp_path / where
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    first = snapshot("a")
    assert first == snapshot("b")
    assert first == snapshot("a"), "a second run over the first"
    assert first != snapshot("c", seed=8)


def test_a_picture_that_does_not_show_what_was_asked_is_staged_again(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = plan_farms(pack, "chicken", seed=7)[0]
    casts = iter([[], farm.near[:1], [farm.individuals[0]]])
    monkeypatch.setattr(staging, "_cast", lambda *_, **__: next(casts))
    picture = staging.stage(np.random.default_rng(0), farm, (240, 180), positive=True)
    assert [subject.thing.cutout for subject in picture.shown] == [farm.individuals[0]]


def test_another_concept_needs_no_other_code(pack: Pack, tmp_path: Path) -> None:
    manifest = make(pack, tmp_path, "duck", pictures=14, inbox=2)
    assert {path.name for path in (tmp_path / "raw/images").iterdir()} == {"duck", "not_duck"}
    assert manifest["photographed_individuals"] >= 2 and manifest["counts"]["positive"] >= 7


@pytest.mark.parametrize("concept", ["sasquatch", "wombat"])
def test_a_concept_the_pack_lacks_is_refused(pack: Pack, concept: str) -> None:
    with pytest.raises(BadInput, match=f"{concept}.*three are the least"):
        plan_farms(pack, concept, seed=7)


def test_a_folder_of_the_users_own_is_never_replaced(pack: Pack, tmp_path: Path) -> None:
    mine = tmp_path / "raw/images/precious.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(BadInput, match="holds files that the barnyard did not make"):
        make(pack, tmp_path)
    assert mine.read_bytes() == b"mine" and not list(tmp_path.glob(".*part"))


def test_the_manifest_says_who_lives_where(yard: Path) -> None:
    manifest = json.loads((yard / "raw/barnyard.json").read_text())
    assert manifest["photographed_individuals"] == 3 and len(manifest["farms"]) == 6
    assert manifest["counts"]["positive"] == 24
    assert np.prod(manifest["image_size"]) == 240 * 180
