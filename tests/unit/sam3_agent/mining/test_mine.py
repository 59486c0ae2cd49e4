"""`mine`: what is flagged, what is chosen, and that no picture is ever handed out twice, whatever is killed when."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam3.errors import BadConfig, BadInput, Unavailable
from sam3.types import Detections
from sam3_agent.etl.labels_labelme import read_labelme
from sam3_agent.mining import mine as mine_module
from sam3_agent.mining.flag import Looker, agreement, reasons
from sam3_agent.mining.ledger import Ledger
from sam3_agent.mining.mine import mine_batch
from sam3_agent.mining.rank import candidates, choose, value, without_copies
from sam3_agent.mining.settings import MineSettings


class Colours:
    """An engine of the tests: finds what is bright; presence is the share of red in the first pixel."""

    def __init__(self) -> None:
        self.threshold, self.encoded = 0.3, 0

    def encode(self, images: Any) -> list[Any]:
        self.encoded += len(images)
        return list(images)

    def ground(self, embeddings: Any, prompts: Any) -> list[Detections]:
        return [self._found(image) for image in embeddings]

    def _found(self, image: Any) -> Detections:
        mask = image[..., 1] > 200
        presence = float(image[0, 0, 0]) / 255
        if not mask.any():
            return Detections.empty(*image.shape[:2], presence)
        ys, xs = np.nonzero(mask)
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        return Detections(box, np.array([0.8], np.float32), mask[None], presence)


def picture(path: Path, presence: float, seed: int, bird: bool = True) -> None:
    """Noise with a bright square; the first pixel says how sure the engine will be."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 150, (6, 8, 3)).astype(np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
    if bird:
        image[10:30, 20:40] = 240
    image[0] = image[:, 0] = image[:, -1] = round(presence * 255)
    cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Twelve pictures; those with an even number are unsure."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for number in range(12):
        picture(folder / f"p{number:02d}.png", 0.5 if number % 2 == 0 else 0.95, number)
    return folder


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Colours:
    made = Colours()
    monkeypatch.setattr("sam3.engines.load_engine", lambda *_, **__: made)
    monkeypatch.setattr(mine_module, "_identity", lambda engine, checkpoint: f"weights of {checkpoint}")
    return made


@pytest.fixture
def settings(inbox: Path, tmp_path: Path) -> MineSettings:
    return MineSettings(
        inbox=str(inbox), concept="bird", out=tmp_path / "out", work=tmp_path / "work", budget=3, pictures_each=5
    )


def handed(folder: Path) -> list[str]:
    return [json.loads(line)["name"] for line in (folder / "manifest.jsonl").read_text().splitlines()]


def row(**more: Any) -> dict[str, Any]:
    sure = {"presence": 0.98, "mirror_agreement": 1.0, "versions": None, "instances": [], "dhash": None, "sha256": "0"}
    return {**sure, **more}


def instance(**more: float | None) -> dict[str, Any]:
    return {"score": 0.9, "flip": 0.95, "cut": 0.9, "box_iou": 0.9, **more}


@pytest.mark.parametrize(("found", "expected"), [
    (row(), []),
    (row(presence=0.4), ["presence"]),
    (row(presence=0.6), ["presence"]),
    (row(presence=0.39), []),
    (row(presence=0.61), []),
    (row(instances=[instance(), instance(flip=0.5)]), ["mask"]),
    (row(instances=[instance(cut=0.5)]), ["mask"]),
    (row(instances=[instance(cut=None)]), []),
    (row(instances=[instance(box_iou=0.4)]), ["box"]),
    (row(versions=0.5), ["versions"]),
    (row(feedback=[{"verdict": "down"}]), ["thumbs-down"]),
])  # fmt: skip
def test_what_flags_a_picture(found: dict[str, Any], expected: list[str]) -> None:
    assert reasons(found, MineSettings(inbox="x", concept="bird")) == expected


def test_doubts_about_a_picture_add_up_to_one_mistake_and_each_instance_to_one_more() -> None:
    doubted = row(presence=0.5, mirror_agreement=0.0, versions=1.0)
    values = [value(row()), value(row(presence=0.5)), value(row(presence=0.5, versions=1.0)), value(doubted)]
    assert values == sorted(values) and values[0] < 0.05 and 0.95 < values[-1] <= 1
    lost = instance(flip=0.0, box_iou=0.0)
    assert value({**doubted, "instances": [lost]}) - value(doubted) == pytest.approx(1 - 0.7 * 0.5 * 0.7)


def test_a_picture_of_several_doubtful_birds_is_worth_more_than_of_one_and_sound_ones_count_a_little() -> None:
    doubtful, sound = instance(flip=0.4), instance(flip=1.0, cut=1.0, box_iou=1.0)
    one, three = (value(row(instances=[doubtful] * count)) for count in (1, 3))
    assert three - value(row()) == pytest.approx(3 * (one - value(row())))
    assert value(row()) < value(row(instances=[sound])) < one


def ranked(rows: list[dict[str, Any]], **knobs: Any) -> list[str]:
    """Who is chosen, by the first letter."""
    settings, rng = MineSettings(inbox="x", concept="bird", **knobs), np.random.default_rng(0)
    held = candidates(({**one, "vector": rng.normal(size=4)} for one in rows), settings)
    return [one["sha256"][0] for one in choose(held.rows, [], settings, held.seen_in / held.looked_at)]


def test_complaints_come_first_even_where_the_model_sees_nothing() -> None:
    flock = [instance(flip=0.4)] * 9
    rows = [row(sha256=f"f{at}", instances=flock) for at in range(20)]
    rows += [row(sha256=f"n{at}", presence=0.02) for at in range(200)]
    rows += [row(sha256=f"c{at}", presence=0.02, feedback=[{"verdict": "down"}]) for at in range(5)]
    assert ranked(rows, budget=8) == ["c"] * 5 + ["f"] * 3


def test_what_is_not_flagged_only_fills() -> None:
    rows = [row(sha256=f"s{at}", presence=0.99) for at in range(12)]
    rows += [row(sha256=f"d{at}", presence=0.45) for at in range(6)]
    assert ranked(rows, budget=3, fill=True) == ["d"] * 3
    assert sorted(ranked(rows, budget=8, fill=True)) == ["d"] * 6 + ["s"] * 2


def test_flocks_do_not_fill_a_batch() -> None:
    rows = [{**row(sha256=f"{kind}{at}", reasons=["mask"], value=worth), "vector": (np.eye(8)[kind] * 9).tolist()}
            for kind, worth in enumerate([9.0] + [0.8] * 7) for at in range(20)]  # fmt: skip
    kinds = [one["sha256"][0] for one in choose(rows, [], MineSettings(inbox="x", concept="bird", budget=10))]
    assert 2 <= kinds.count("0") <= 4 and len(set(kinds)) >= 6


def test_what_is_flagged_comes_before_any_number_of_sound_birds() -> None:
    crowd = row(sha256="1", instances=[instance(flip=1.0, cut=1.0, box_iou=1.0)] * 40)
    held, *_ = candidates([crowd, row(sha256="2", presence=0.6)], MineSettings(inbox="x", concept="bird", fill=True))
    assert [one["sha256"] for one in held] == ["2", "1"]


def test_masks_that_change_in_the_mirror_are_seen() -> None:
    class OneEyed(Colours):
        def _found(self, image: Any) -> Detections:
            half = image.copy()
            half[:, : image.shape[1] // 2] = 0  # sees the right half only
            return super()._found(half)

    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:50] = 240
    [found] = Looker(OneEyed(), "bird")([image])
    assert found["instances"][0]["flip"] == 0.0 or found["mirror_agreement"] < 0.6
    [steady] = Looker(Colours(), "bird")([image])
    assert steady["instances"][0]["flip"] == 1.0 and steady["mirror_agreement"] == 1.0
    assert steady["instances"][0]["box_iou"] == 1.0


def test_two_versions_that_see_other_things_disagree() -> None:
    class Blind(Colours):
        def _found(self, image: Any) -> Detections:
            return Detections.empty(*image.shape[:2], 0.1)

    image = np.full((40, 60, 3), 250, np.uint8)
    assert Looker(Colours(), "bird", Blind())([image])[0]["versions"] == 1.0
    assert Looker(Colours(), "bird", Colours())([image])[0]["versions"] == 0.0


def test_agreement_is_one_for_equals_and_counts_what_is_missing() -> None:
    a = np.zeros((2, 10, 10), bool)
    a[0, :4, :4], a[1, 6:, 6:] = True, True
    assert agreement(a, a[::-1]) == 1.0 and agreement(a[:0], a[:0]) == 1.0
    assert agreement(a, a[:1]) == pytest.approx(2 / 3) and agreement(a, a[:0]) == 0.0


def test_a_batch_has_pictures_labels_manifest_and_sheet(settings: MineSettings, engine: Colours) -> None:
    batch = mine_batch(settings)
    assert batch.name == "batch-0001" and batch.pictures == batch.flagged == 3
    assert batch.reasons["presence"] == 3 and batch.looked_at == 12
    names = handed(batch.folder)
    assert len(names) == 3 and all(int(name[1:3]) % 2 == 0 for name in names)
    for name in names:
        assert (batch.folder / "images" / name).read_bytes() == (Path(settings.inbox) / name).read_bytes()
        data = (batch.folder / "images" / name).with_suffix(".json").read_bytes()
        sheet = read_labelme(data, name, 64, 48)
        assert [shape.name for shape in sheet.shapes] == ["bird"] and not sheet.problems
        (x0, y0), (x1, y1) = sheet.shapes[0].points.min(0), sheet.shapes[0].points.max(0)
        assert np.abs(np.array([x0, y0, x1, y1]) - [20, 10, 40, 30]).max() <= 1.0
        assert json.loads(data)["imagePath"] == name
        assert json.loads(data)["flags"] == {"no bird here": False, "ambiguous": False}
    assert cv2.imread(str(batch.folder / "contact_sheet.jpg")).shape[1] > 600


def test_asked_again_by_name_it_is_the_same_batch(settings: MineSettings, engine: Colours) -> None:
    first = mine_batch(replace(settings, name="june"))
    stamp = (first.folder / "manifest.jsonl").stat().st_mtime_ns
    again = mine_batch(replace(settings, name="june"))
    assert again == replace(first, new=False) and (first.folder / "manifest.jsonl").stat().st_mtime_ns == stamp


def test_no_picture_is_handed_out_twice_and_nothing_is_looked_at_twice(settings: MineSettings, engine: Colours) -> None:
    first = mine_batch(settings)
    looked = engine.encoded
    second = mine_batch(settings)
    assert engine.encoded == looked and not set(handed(first.folder)) & set(handed(second.folder))
    with pytest.raises(BadInput, match="none is flagged"):
        mine_batch(settings)
    rest = mine_batch(replace(settings, budget=100, fill=True))
    assert rest.pictures == 6 and rest.flagged == 0
    with pytest.raises(BadInput, match="nothing to hand out"):
        mine_batch(replace(settings, fill=True))


def test_the_same_bytes_under_another_name_are_the_same_picture(settings: MineSettings, engine: Colours) -> None:
    first = mine_batch(settings)
    name = handed(first.folder)[0]
    (Path(settings.inbox) / "copy.png").write_bytes((Path(settings.inbox) / name).read_bytes())
    rest = mine_batch(replace(settings, budget=100, fill=True))
    assert "copy.png" not in handed(rest.folder)


def test_looks_are_rationed_and_go_on_where_they_stopped(settings: MineSettings, engine: Colours) -> None:
    one = mine_batch(replace(settings, looks=5, budget=1))
    assert (one.looked_at, engine.encoded) == (5, 10)  # each picture and its mirror image
    assert mine_batch(replace(settings, looks=5, budget=1)).looked_at == 9  # ten, of which one was handed out


def test_random_does_not_ask_the_model_and_repeats_itself(
    settings: MineSettings, engine: Colours, tmp_path: Path
) -> None:
    drawn = [
        handed(mine_batch(replace(settings, out=tmp_path / str(at), strategy="random", budget=6, seed=seed)).folder)
        for at, seed in enumerate([1, 1, 2])
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert any(int(name[1:3]) % 2 for name in drawn[0])


def test_near_copies_are_dropped_but_flat_pictures_are_not() -> None:
    rows = [row(sha256=str(at), dhash=dhash) for at, dhash in enumerate([0b1011, 0b1010, 0xFFFF0000, None, None])]
    assert [one["sha256"] for one in without_copies(rows, [])] == ["0", "2", "3", "4"]
    assert [one["sha256"] for one in without_copies(rows, [0xFFFF0001])] == ["0", "3", "4"]


def test_one_cluster_does_not_take_the_whole_budget() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for kind, (count, presence) in enumerate([(30, 0.5), (5, 0.42)]):  # many of one kind, a little more doubtful
        for at in range(count):
            vector = (np.eye(64)[kind] + 0.01 * rng.standard_normal(64)).tolist()
            rows.append(
                row(sha256=f"{kind}-{at}", presence=presence, vector=vector, value=0.7 - 0.1 * kind, reasons=["p"])
            )
    chosen = choose(rows, [], MineSettings(inbox="x", concept="bird", budget=8))
    assert len(chosen) == 8 and sum(one["sha256"].startswith("1-") for one in chosen) >= 2


@pytest.mark.parametrize(("present", "absent", "seen", "expected"), [
    (20, 20, 0.5, (6, 2)), (20, 20, 1.0, (4, 4)), (20, 20, 0.1, (8, 0)), (20, 1, 0.5, (7, 1)), (1, 20, 0.5, (1, 7)),
])  # fmt: skip
def test_the_commoner_the_concept_the_more_pictures_in_which_the_model_does_not_see_it(
    present: int, absent: int, seen: float, expected: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"reasons": ["mask"] if shows else ["presence"], "value": 0.9 if shows else 0.2, "presence": 0.9 if shows else 0.45,
         "vector": rng.normal(size=4), "dhash": None, "sha256": f"{shows}{at}"}
        for shows, count in ((True, present), (False, absent)) for at in range(count)
    ]  # fmt: skip
    chosen = choose(rows, [], MineSettings(inbox="x", concept="bird", budget=8), seen)
    sees = [row["presence"] >= 0.5 for row in chosen]
    assert (sum(sees), len(sees) - sum(sees)) == expected


def test_candidates_hold_no_more_than_they_need() -> None:
    settings = MineSettings(inbox="x", concept="bird", budget=2)
    many = (row(sha256=str(at), presence=0.4 + 0.2 * (at % 1000) / 1000) for at in range(5000))
    held, seen, shown = candidates(many, settings)
    assert seen == 5000 and shown == 2500 and len(held) == 200 and held[0]["value"] == max(one["value"] for one in held)


def test_a_thumb_down_brings_the_picture(settings: MineSettings, engine: Colours, tmp_path: Path) -> None:
    from sam3_agent.execution.media import Medium, Picture
    from sam3_agent.sessions.store import SessionStore

    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    store = SessionStore(url)
    talk = store.create("ann")
    picture(tmp_path / "seen.png", 0.97, 99)
    pixels = cv2.imread(str(tmp_path / "seen.png"))[..., ::-1].copy()
    reply = {"explain": {"model": "m@1"}, "results": [{"media": 0}]}
    turn = {"id": "r1", "query": "how many birds?", "reply": reply}
    store.save(talk, "ann", {}, {0: Medium((Picture.of(pixels),), is_clip=False)}, turn)
    store.note("ann", "r1", "down", {"note": "there are two"})
    store.close()
    batch = mine_batch(replace(settings, sessions=url, budget=100))
    lines = [json.loads(line) for line in (batch.folder / "manifest.jsonl").read_text().splitlines()]
    [liked] = [line for line in lines if "thumbs-down" in line["reasons"]]
    assert liked["feedback"] == [
        {"reply": "r1", "verdict": "down", "note": "there are two", "query": "how many birds?", "model": "m@1"}
    ]
    assert np.array_equal(cv2.imread(str(batch.folder / liked["file"]))[..., ::-1], pixels)


@pytest.mark.parametrize("when", ["before the folder", "with half a folder"])
def test_a_promised_batch_is_finished_after_a_kill(
    settings: MineSettings, engine: Colours, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def killed(folder: Path, *_: Any) -> None:
        if when == "with half a folder":
            (folder / "images").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mine_module, "write_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            mine_batch(settings)
    looked = engine.encoded
    batch = mine_batch(settings)
    assert batch.name == "batch-0001" and batch.pictures == 3 and len(handed(batch.folder)) == 3
    assert engine.encoded == looked
    ledger = Ledger(settings.out)
    assert ledger.names() == ["batch-0001"] and not ledger.unfinished()
    ledger.close()


def test_killed_inside_the_choice_nothing_is_promised(settings: MineSettings, engine: Colours) -> None:
    mine_module.look(settings)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom sam3_agent.mining.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "with ledger.turn():\n"
        "    ledger.add('lost', {}, [{'sha256': 'a', 'dhash': None}])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(settings.out)])
    assert done.returncode == -9
    ledger = Ledger(settings.out)
    assert ledger.names() == [] and not ledger.has("a")
    ledger.close()


def test_a_picture_that_changed_since_is_not_handed_out(settings: MineSettings, engine: Colours) -> None:
    mine_module.look(settings)
    for path in Path(settings.inbox).iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Unavailable, match="gone or changed since it was looked at"):
        mine_batch(settings)


def test_names_of_one_stem_get_apart_and_folders_are_flattened(
    settings: MineSettings, engine: Colours, tmp_path: Path
) -> None:
    inbox = tmp_path / "other"
    for at, name in enumerate(["a/hen.png", "b/hen.png", "contact_sheet.png", "Süd.png"]):
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        picture(inbox / name, 0.5, 40 + at)
    batch = mine_batch(replace(settings, inbox=str(inbox), budget=10))
    files = [json.loads(line)["file"] for line in (batch.folder / "manifest.jsonl").read_text().splitlines()]
    stems = [Path(file).stem for file in files]
    assert len(set(stems)) == 4 and all((batch.folder / file).is_file() for file in files)
    for file in files:
        digest = hashlib.sha256((batch.folder / file).read_bytes()).hexdigest()
        assert any(digest == hashlib.sha256(path.read_bytes()).hexdigest() for path in inbox.rglob("*.png"))


@pytest.mark.parametrize(
    "wrong", [{"budget": 0}, {"strategy": "best"}, {"name": "../up"}, {"name": ".."}, {"concept": " "}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        MineSettings(**{"inbox": "x", "concept": "bird", **wrong})


def test_an_unreadable_picture_costs_only_itself(settings: MineSettings, engine: Colours) -> None:
    (Path(settings.inbox) / "broken.jpg").write_bytes(b"no picture")
    os.truncate(Path(settings.inbox) / "p01.png", 30)
    assert mine_batch(settings).looked_at == 11


def test_the_stability_under_two_thresholds_is_that_of_the_instance() -> None:
    """The surer instance has steep borders and the other one soft ones, though its query comes first."""
    from sam3.engines.answer import Answer

    x = np.arange(40, dtype=np.float32)
    soft, steep = np.full((40, 40), -9, np.float32), np.full((40, 40), -9, np.float32)
    soft[:, :20] = 3 - 0.2 * x[:20]  # falls through the band between the thresholds
    steep[10:30, 25:38] = 9
    planes = np.stack([soft, np.full_like(soft, -9), steep])

    class Logits(Colours):
        def answer(self, embeddings: Any, prompts: Any) -> Answer:
            pairs = len(embeddings)
            boxes = np.tile(
                np.array([[0, 0, 0.5, 1], [0, 0, 1, 1], [0.6, 0.25, 0.95, 0.75]], np.float32), (pairs, 1, 1)
            )
            return Answer(
                np.tile(np.array([1, -9, 3], np.float32), (pairs, 1)), boxes, np.full(pairs, 4, np.float32),
                lambda pairs, queries: [planes[query] for query in queries], [(40, 40)] * pairs, [()] * pairs,
            )  # fmt: skip

    [found] = Looker(Logits(), "bird")([np.zeros((40, 40, 3), np.uint8)])
    assert [round(one["score"], 2) for one in found["instances"]] == [0.94, 0.72]
    assert found["instances"][0]["cut"] == 1.0 and found["instances"][1]["cut"] < 0.7
