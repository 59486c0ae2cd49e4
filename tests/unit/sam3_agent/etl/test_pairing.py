"""Folder and label together decide: positive, negative or left out, each by a named rule."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from raw_folder import RawFolder, labelme_shape

from sam3_agent.etl import pairing, pictures
from sam3_agent.etl.catalogue import Catalogue
from sam3_agent.etl.labels_yolo import read_class_names
from sam3_agent.etl.naming import Vocabulary
from sam3_agent.etl.pairing import Pairing, Verdict

HEN, DUCK, UNKNOWN, ROOSTER = (f"{i} 0.5 0.5 0.2 0.4" for i in range(4))
NAN_HEN, OUTSIDE_HEN, CLASS_9 = "0 nan 0.5 0.2 0.4", "0 1.5 0.5 0.2 0.4", "9 0.5 0.5 0.2 0.4"


@pytest.fixture
def raw(tmp_path: Path) -> RawFolder:
    return RawFolder(tmp_path / "raw")


def judge(raw: RawFolder, *, verify: bool = True) -> dict[str, Verdict]:
    """Path -> verdict for every picture of the folder."""
    vocabulary = Vocabulary.of("hen", ["Rooster"], ["Unknown_Bird"])
    names = read_class_names(raw.root / "labels" / "classes.txt")
    judging = Pairing(raw.root, vocabulary, names, 16.0, re.compile(r"^(farm\d+)"), verify)
    return {entry.path: judging.judge(i, entry) for i, entry in enumerate(Catalogue(raw.root).pictures(), 1)}


def judge_one(raw: RawFolder, folder: str, lines: list[str] | None) -> Verdict:
    raw.picture(f"{folder}/a.jpg")
    if lines is not None:
        raw.yolo("a", *lines)
    return judge(raw)[f"{folder}/a.jpg"]


@pytest.mark.parametrize(
    ("folder", "lines", "instances", "exhaustive"),
    [
        ("hen", [HEN], 1, True),
        ("hen", [HEN, ROOSTER, DUCK], 2, True),
        ("HEN", [HEN], 1, True),
        ("mixed", [HEN], 1, True),  # labels alone are enough
        ("not_duck", [HEN], 1, True),  # sorted for another concept
        ("hen", [HEN, NAN_HEN], 1, False),  # somebody is there whom no shape covers
        ("hen", [HEN, CLASS_9], 1, False),
        ("hen", [HEN, "1 nan 0.5 0.2 0.4"], 1, True),  # a duck whose shape is lost hides nobody
        ("hen", [HEN, OUTSIDE_HEN], 1, True),  # nobody can be seen outside
        ("hen", [HEN, "0 0.5 0.5 0.01 0.01"], 1, True),
    ],
)
def test_positive(raw: RawFolder, folder: str, lines: list[str], instances: int, exhaustive: bool) -> None:
    pair = judge_one(raw, folder, lines).pair
    assert pair is not None
    assert (pair.kind, len(pair.instances), pair.exhaustive) == ("positive", instances, exhaustive)


@pytest.mark.parametrize(
    ("folder", "lines", "because"),
    [
        ("not_hen", None, "folder"),
        ("not_hen", [], "folder"),
        ("not-Hen", None, "folder"),
        ("not_hen", [DUCK], "other-objects"),
        ("not_hen", [CLASS_9], "folder"),  # the folder's word stands against an unreadable line
        ("mixed", None, "absent-label"),
        ("mixed", [], "empty-label"),
        ("mixed", [DUCK], "other-objects"),
        ("mixed", ["1 nan 0.5 0.2 0.4"], "other-objects"),
        ("not_duck", [], "empty-label"),
        ("hen", [], "empty-label"),
    ],
)
def test_negative(raw: RawFolder, folder: str, lines: list[str] | None, because: str) -> None:
    verdict = judge_one(raw, folder, lines)
    assert verdict.pair is not None
    assert (verdict.pair.kind, verdict.pair.instances, verdict.pair.exhaustive) == ("negative", [], True)
    assert verdict.because == because


@pytest.mark.parametrize(
    ("folder", "lines", "rule", "file", "line"),
    [
        ("hen", None, "unlabelled", "images/hen/a.jpg", 0),
        ("not_duck", None, "unlabelled", "images/not_duck/a.jpg", 0),
        ("hen", [DUCK], "no-concept-in-label", "labels/a.txt", 0),
        ("hen", [HEN, UNKNOWN], "ambiguous-class", "labels/a.txt", 2),
        ("not_hen", [UNKNOWN], "ambiguous-class", "labels/a.txt", 1),
        ("not_hen", [DUCK, HEN], "concept-in-negative-folder", "labels/a.txt", 2),
        ("not_hen", [NAN_HEN], "concept-in-negative-folder", "labels/a.txt", 1),
        ("hen", ["1 nan 0.5 0.2 0.4"], "no-concept-in-label", "labels/a.txt", 0),
        ("hen", [HEN, "2 nan 0.5 0.2 0.4"], "ambiguous-class", "labels/a.txt", 2),
        ("hen", [DUCK, OUTSIDE_HEN], "no-usable-shape", "labels/a.txt", 2),
        ("mixed", [CLASS_9], "no-usable-shape", "labels/a.txt", 0),
    ],
)
def test_excluded(raw: RawFolder, folder: str, lines: list[str] | None, rule: str, file: str, line: int) -> None:
    verdict = judge_one(raw, folder, lines)
    assert verdict.pair is None
    assert verdict.because == rule
    problem = verdict.problems[-1]
    assert (problem.rule, problem.action, problem.file, problem.line) == (rule, "excluded", file, line)


def test_an_empty_label_in_the_positive_folder_is_noted(raw: RawFolder) -> None:
    (problem,) = judge_one(raw, "hen", []).problems
    assert (problem.rule, problem.action) == ("empty-label-in-positive-folder", "noted")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty-picture"),
        (b"no picture at all", "broken-picture"),
        (b"\xff\xd8\xff\xe0", "broken-picture"),
    ],
)
def test_pictures_that_are_none(raw: RawFolder, content: bytes, rule: str) -> None:
    raw.bytes("images/hen/a.jpg", content)
    raw.yolo("a", HEN)
    verdict = judge(raw)["hen/a.jpg"]
    assert (verdict.pair, verdict.because) == (None, rule)
    assert verdict.problems[0].file == "images/hen/a.jpg"
    assert str(raw.root) not in verdict.problems[0].detail


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_picture_is_found_by_decoding_it(raw: RawFolder, name: str) -> None:
    path = raw.picture(f"hen/{name}", (320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    raw.yolo("a", HEN)
    assert judge(raw)[f"hen/{name}"].because == "truncated-picture"
    assert judge(raw, verify=False)[f"hen/{name}"].pair is not None


def test_a_picture_of_one_pixel_is_refused(raw: RawFolder) -> None:
    raw.picture("hen/a.png", (1, 1))
    raw.yolo("a", HEN)
    verdict = judge(raw)["hen/a.png"]
    assert verdict.because == "too-small-picture"
    assert "1x1" in verdict.problems[0].detail


def test_a_picture_beyond_the_bound_is_refused_before_decoding(raw: RawFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 64 * 48 - 1)
    raw.picture("hen/a.jpg")
    verdict = judge(raw)["hen/a.jpg"]
    assert verdict.because == "too-large-picture"
    assert "64x48 pixels; at most 3071" in verdict.problems[0].detail


def test_a_label_file_beyond_the_bound_is_refused(raw: RawFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "MAX_LABEL_BYTES", 30)
    raw.picture("hen/a.jpg")
    raw.yolo("a", HEN, HEN)
    assert judge(raw)["hen/a.jpg"].because == "unreadable-label"


@pytest.mark.parametrize(("orientation", "size"), [(1, (64, 48)), (3, (64, 48)), (6, (48, 64)), (8, (48, 64))])
def test_size_and_shapes_are_of_the_upright_picture(raw: RawFolder, orientation: int, size: tuple[int, int]) -> None:
    raw.picture("hen/a.jpg", (64, 48), orientation=orientation)
    raw.yolo("a", "0 0.5 0.5 1 1")
    pair = judge(raw)["hen/a.jpg"].pair
    assert pair is not None
    assert (pair.width, pair.height) == size
    assert pair.instances[0].bbox == (0, 0, *size)


def test_two_pictures_for_one_label_are_ambiguous(raw: RawFolder) -> None:
    raw.picture("hen/a.jpg")
    raw.picture("hen/a.PNG")
    raw.picture("not_hen/a.jpg")
    raw.yolo("a", HEN)
    verdicts = judge(raw)
    assert {verdict.because for verdict in verdicts.values()} == {"duplicate-name"}
    assert "hen/a.PNG" in verdicts["hen/a.jpg"].problems[0].detail


def test_equal_names_in_two_folders_are_fine_without_a_shared_label(raw: RawFolder) -> None:
    raw.picture("hen/a.jpg")
    raw.picture("not_hen/a.jpg")
    raw.yolo("hen/a", HEN)
    assert [verdict.because for verdict in judge(raw).values()] == ["labels", "folder"]


def test_two_forms_of_one_picture_are_fine_without_a_label(raw: RawFolder) -> None:
    raw.picture("not_hen/a.jpg")
    raw.picture("not_hen/a.png")
    assert [verdict.because for verdict in judge(raw).values()] == ["folder", "folder"]


def test_of_two_label_files_labelme_is_used(raw: RawFolder) -> None:
    raw.picture("hen/a.jpg")
    raw.yolo("a", HEN, HEN)
    raw.labelme("a", labelme_shape("hen", [(1, 1), (30, 1), (1, 30)]))
    verdict = judge(raw)["hen/a.jpg"]
    assert verdict.pair is not None and len(verdict.pair.instances) == 1
    assert [(p.file, p.rule) for p in verdict.problems] == [("labels/a.txt", "two-label-files")]


def test_broken_json_excludes_its_picture_only(raw: RawFolder) -> None:
    raw.picture("hen/a.jpg")
    raw.picture("hen/b.jpg")
    raw.bytes("labels/a.json", b'{"shapes": [\n,]}')
    raw.yolo("b", HEN)
    verdicts = judge(raw)
    assert verdicts["hen/a.jpg"].because == "broken-json"
    assert verdicts["hen/a.jpg"].problems[0].line == 2
    assert verdicts["hen/b.jpg"].pair is not None


@pytest.mark.parametrize("label_suffix", [".TXT", ".txt"])
def test_names_meet_across_unicode_forms_and_suffix_cases(raw: RawFolder, label_suffix: str) -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    raw.picture(f"hen/{decomposed}.JPG")
    raw.bytes(f"labels/{composed}{label_suffix}", f"{HEN}\n".encode())
    (verdict,) = judge(raw).values()
    assert verdict.pair is not None
    assert verdict.pair.file_name == f"hen/{decomposed}.JPG"  # as on disk: it has to be opened again


def test_the_source_is_the_group_of_the_pattern_or_the_path(raw: RawFolder) -> None:
    raw.picture("hen/farm12_003.jpg")
    raw.picture("hen/barn.jpg")
    raw.yolo("farm12_003", HEN)
    raw.yolo("barn", HEN)
    sources = [verdict.pair.source for verdict in judge(raw).values() if verdict.pair]
    assert sources == ["hen/barn", "farm12"]


def test_paths_inside_a_label_are_never_followed(raw: RawFolder, tmp_path: Path) -> None:
    raw.picture("hen/a.jpg")
    outside = tmp_path / "outside.jpg"
    raw.labelme("a", labelme_shape("hen", [(1, 1), (30, 1), (1, 30)]))
    sheet = json.loads((raw.root / "labels/a.json").read_text())
    sheet["imagePath"] = str(outside)  # does not exist: following it would fail
    (raw.root / "labels/a.json").write_text(json.dumps(sheet))
    assert judge(raw)["hen/a.jpg"].pair is not None


def test_outlines_of_one_labelme_group_are_one_individual(tmp_path: Path) -> None:
    """A hen behind a post has two parts and is one hen; a number without a group is nobody's part."""
    from sam3_agent.etl.records import Shape

    def box(x: float, group: int | None) -> Shape:
        points = np.array([(x, 10), (x + 20, 10), (x + 20, 40), (x, 40)], float)
        return Shape("hen", points, "polygon", 1, group)

    from sam3_agent.etl.pictures import Picture
    from sam3_agent.etl.records import LabelSheet

    pairing = Pairing(tmp_path, Vocabulary.of("hen"), [], 4.0, re.compile("^(x)"))
    shapes = [box(0, 1), box(50, 1), box(100, None), box(130, None), box(160, 2)]
    found, complete = pairing._instances(LabelSheet(shapes), Picture(200, 60), "labels/a.json", Verdict())
    assert complete and [len(one.polygons) for one in found] == [2, 1, 1, 1]
    assert found[0].area == 1200 and found[0].bbox == (0, 10, 70, 30)
