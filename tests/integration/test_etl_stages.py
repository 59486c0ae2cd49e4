"""etl, validate and split over one small folder with every blemish that real folders have."""

from __future__ import annotations

import csv
import errno
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps
from raw_folder import RawFolder, labelme_shape

from sam3.errors import BadInput
from sam3_agent.cli import main
from sam3_agent.etl.saco import SacoWriter, read_saco

HEN = "0 0.5 0.5 0.4 0.4"
STAR = labelme_shape("Rooster", [(5, 5), (40, 40), (40, 5), (5, 40)])


@pytest.fixture
def project(tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, with the repository's params.yaml set to the concept "hen"."""
    params = yaml.safe_load((repo_root / "params.yaml").read_text())
    params["concept"] = "hen"
    params["etl"]["synonyms"] = {"hen": ["rooster", "poule"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raw(project: Path) -> RawFolder:
    """40 good pictures of ten farms, positive and negative in turn, and nothing wrong with them."""
    raw = RawFolder(project / "data" / "raw")
    for index in range(40):
        folder = ("hen", "not_hen")[index % 2]
        stem = f"farm{index // 4:02d}_{index:03d}"
        raw.picture(f"{folder}/{stem}.jpg")
        if folder == "hen":
            raw.yolo(stem, *[HEN] * (index % 3 + 1))
    return raw


def blemish(raw: RawFolder) -> None:
    """Everything that goes wrong in folders, beside the good pictures."""
    for name in (
        "zero",
        "cut",
        "nan",
        "forty",
        "broken",
        "star",
        "unknown",
        "contra",
        "bare",
        "empty",
        "json_box",
    ):
        folder = "not_hen" if name == "contra" else "hen"
        raw.picture(f"{folder}/{name}.jpg", (64, 48))
    raw.bytes("images/hen/zero.jpg", b"")
    cut = raw.root / "images/hen/cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-400])
    raw.picture("hen/dot.png", (1, 1))
    raw.picture("hen/turned.JPG", (64, 48), orientation=6)
    raw.picture("hen/cafe\u0301.jpg")
    raw.picture("hen/twin.jpg")
    raw.picture("hen/twin.PNG")
    for name in ("zero", "cut", "dot", "turned", "twin", "contra", "caf\u00e9"):
        raw.yolo(name, HEN)
    raw.yolo("nan", HEN, "0 nan 0.5 0.2 0.2")
    raw.yolo("forty", HEN, "0 " + " ".join(["0.5"] * 39))
    raw.yolo("unknown", HEN, "2 0.5 0.5 0.2 0.2")
    raw.yolo("empty")
    raw.yolo("gone", HEN)
    raw.bytes("labels/broken.json", b'{"shapes": [\n{"label": }\n]}')
    raw.labelme("star", STAR, labelme_shape("hen", [(1, 1), (2, 2)], "linestrip"))
    raw.labelme("json_box", labelme_shape("poule", [(-5, 5), (30, 30)], "rectangle"))
    (raw.root / "images/hen/link.jpg").symlink_to("/etc/hostname")


EXPECTED_ISSUES = {
    ("images/hen/link.jpg", "0", "outside-folder", "dropped"),
    ("images/hen/bare.jpg", "0", "unlabelled", "excluded"),
    ("labels/broken.json", "2", "broken-json", "excluded"),
    ("labels/contra.txt", "1", "concept-in-negative-folder", "excluded"),
    ("images/hen/cut.jpg", "0", "truncated-picture", "excluded"),
    ("images/hen/dot.png", "0", "too-small-picture", "excluded"),
    ("labels/empty.txt", "0", "empty-label-in-positive-folder", "noted"),
    ("labels/forty.txt", "2", "wrong-column-count", "dropped"),
    ("labels/json_box.json", "3", "outside-image", "repaired"),
    ("labels/nan.txt", "2", "not-finite", "dropped"),
    ("labels/star.json", "3", "self-crossing", "repaired"),
    ("labels/star.json", "26", "no-outline", "dropped"),
    ("images/hen/twin.PNG", "0", "duplicate-name", "excluded"),
    ("images/hen/twin.jpg", "0", "duplicate-name", "excluded"),
    ("labels/unknown.txt", "2", "ambiguous-class", "excluded"),
    ("images/hen/zero.jpg", "0", "empty-picture", "excluded"),
    ("labels/gone.txt", "0", "label-without-picture", "dropped"),
}


def run(*words: str) -> None:
    """A verb as the shell runs it, errors raised instead of printed."""
    try:
        main([*words])
    except SystemExit as end:
        if end.code:
            raise


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line a refused verb prints."""
    with pytest.raises(SystemExit) as end:
        main([*words])
    assert end.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def test_every_blemish_is_found_and_no_good_picture_is_lost(raw: RawFolder, project: Path) -> None:
    blemish(raw)
    run("etl")
    issues = list(csv.reader((project / "reports/etl_issues.csv").open(encoding="utf-8")))
    assert issues[0] == ["file", "line", "rule", "action", "detail"]
    assert {tuple(row[:4]) for row in issues[1:]} == EXPECTED_ISSUES
    assert len(issues) - 1 == len(EXPECTED_ISSUES)

    saco = read_saco(project / "data/saco/pairs.json")
    names = [row["file_name"] for row in saco.images]
    assert sum(name.startswith(("hen/farm", "not_hen/farm")) for name in names) == 40
    others = {name for name in names if "farm" not in name}
    kept = ("cafe\u0301.jpg", "empty.jpg", "forty.jpg", "json_box.jpg", "nan.jpg", "star.jpg", "turned.JPG")
    assert others == {f"hen/{name}" for name in kept}
    report = json.loads((project / "reports/etl.json").read_text())
    assert (report["pairs"], report["positives"], report["negatives"]) == (47, 26, 21)
    assert report["not_exhaustive"] == 3  # nan, forty, and the linestrip beside the star
    assert report["ambiguous_images"] == ["hen/unknown.jpg"]
    assert report["outlines"] == {"labelme box": 1, "labelme polygon": 1, "yolo box": 44}
    assert report["label_files"] == {"labelme": 3, "yolo": 27}


def test_the_file_is_saco(raw: RawFolder, project: Path) -> None:
    blemish(raw)
    run("etl")
    saco = read_saco(project / "data/saco/pairs.json")
    assert [row["id"] for row in saco.images] == sorted({row["id"] for row in saco.images})
    assert {row["text_input"] for row in saco.images} == {"hen"}
    rows = {row["file_name"]: row for row in saco.images}
    assert (rows["hen/turned.JPG"]["width"], rows["hen/turned.JPG"]["height"]) == (48, 64)
    assert rows["hen/nan.jpg"]["is_instance_exhaustive"] == 0
    assert rows["hen/farm00_000.jpg"]["source"] == "farm00"
    assert rows["hen/star.jpg"]["kind"] == "positive" and rows["hen/empty.jpg"]["kind"] == "negative"
    boxes = {row["source_file"]: row for row in saco.annotations}
    clipped = boxes["labels/json_box.json"]
    np.testing.assert_allclose(clipped["bbox"], [0, 5 / 48, 30 / 64, 25 / 48], atol=1e-6)
    assert clipped["area"] == pytest.approx(30 * 25 / (64 * 48))
    assert sorted(zip(*[iter(clipped["segmentation"][0])] * 2, strict=True)) == [
        (0, 5),
        (0, 30),
        (30, 5),
        (30, 30),
    ]
    assert len(boxes["labels/star.json"]["segmentation"]) == 2


def test_three_stages_in_a_row(raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blemish(raw)
    run("etl")
    run("validate")
    run("split")
    assert "all expectations hold" in capsys.readouterr().out
    assert json.loads((project / "reports/validate.json").read_text())["ok"]
    index = (project / "reports/data_docs/index.html").read_text()
    assert index.count(": as expected") == 2 and 'href="static/styles/offline.css"' in index
    report = json.loads((project / "reports/split.json").read_text())
    assert report["groups_on_both_sides"] == 0
    assert report["share"] == pytest.approx(0.2, abs=0.05)
    sides = {name: read_saco(project / f"data/splits/{name}.json") for name in ("train", "val", "negatives")}
    sources = {name: {row["source"] for row in side.images} for name, side in sides.items()}
    assert not sources["train"] & sources["val"]
    assert len(sides["train"].images) + len(sides["val"].images) == 47
    assert {row["id"] for row in sides["negatives"].images} == {
        row["id"] for row in sides["val"].images if row["kind"] == "negative"
    }
    assert not sides["negatives"].annotations


def test_the_same_input_gives_the_same_bytes(raw: RawFolder, project: Path) -> None:
    blemish(raw)
    files = ("data/saco/pairs.json", "reports/etl.json", "data/splits/train.json", "data/splits/val.json")
    contents = []
    for _ in range(2):
        run("etl")
        run("split")
        contents.append([(project / name).read_bytes() for name in files])
    assert contents[0] == contents[1]


def test_a_dry_run_prints_and_writes_nothing(raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("etl", "--dry-run", "data/raw")
    assert "positives" in capsys.readouterr().out
    assert not (project / "data/saco").exists() and not (project / "reports").exists()


def test_a_folder_without_negatives_is_told_so(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (raw.root / "images/not_hen").iterdir():
        path.unlink()
    for verb in ("etl", "validate", "split"):
        run(verb)
        printed = " ".join(capsys.readouterr().out.split())
        assert "no negatives" in printed and "cgF1 will be 0" in printed, verb


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: (raw.root / "labels/classes.txt").unlink(), "classes.txt: not found, and 20 YOLO"),
        (lambda raw: (raw.root / "labels/classes.txt").write_text(""), "classes.txt: is empty"),
        (
            lambda raw: (raw.root / "labels/classes.txt").write_text("goose\n"),
            'none of 40 pictures shows "hen"',
        ),
        (lambda raw: (raw.root / "images").rename(raw.root / "pictures"), "has no folder images/"),
    ],
)
def test_a_folder_that_cannot_work_is_one_line(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str], damage, words: str
) -> None:
    damage(raw)
    assert words in refused(capsys, "etl")
    assert not (project / "data/saco/pairs.json").exists()


def test_an_unwritable_target_is_found_before_the_work(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "data/saco").write_text("a file where the folder should be")
    assert "data/saco: cannot be written" in refused(capsys, "etl")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file["images"][3].update(id=1), "ids are unique: 2 rows, id 1 (hen/farm00_000.jpg)"),
        (
            lambda file: file["images"][2].update(width=0),
            "width is 1 or more: 1 rows, id 3 (hen/farm01_004.jpg)",
        ),
        (lambda file: file["images"][0].update(text_input=" "), "text_input is not empty: 1 rows, id 1 ("),
        (lambda file: file["images"][0].update(is_instance_exhaustive=2), "is_instance_exhaustive is 0 or 1"),
        (lambda file: file["images"][0].update(kind="negative"), "negatives have no annotations"),
        (
            lambda file: file["images"][0].update(file_name="../../x.jpg"),
            "stays in the images folder: 1 rows, id 1",
        ),
        (
            lambda file: file["images"][1].update(file_name="hen/farm00_000.jpg"),
            "the same words once: 2 rows",
        ),
        (lambda file: [row.pop("source") for row in file["images"]], "there is a column source"),
        (
            lambda file: file["annotations"][0].update(area=1.5),
            "area is a fraction of the picture, above 0: 1 rows",
        ),
        (
            lambda file: file["annotations"][0].update(area=0.5),
            "the decoded mask has the stored area: 1 rows, id 1",
        ),
        (lambda file: file["annotations"][0].update(bbox=[0.9, 0, 0.2, 0.2]), "bbox is xywh inside 0..1"),
        (lambda file: file["annotations"][0].update(bbox="no"), "bbox is xywh inside 0..1"),
        (
            lambda file: file["annotations"][0].update(image_id=999),
            "image_id is that of a pair: 1 rows, id 1",
        ),
        (lambda file: file["annotations"][0].update(segmentation=[[1, 2]]), "decodes to the size"),
        (
            lambda file: file["annotations"][0].update(segmentation={"size": [9, 9], "counts": "Q2"}),
            "decodes to the size",
        ),
        (lambda file: file["annotations"].clear(), "some pair is positive"),
    ],
)
def test_a_failed_expectation_stops_and_names_the_rows(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str], damage, words: str
) -> None:
    run("etl")
    path = project / "data/saco/pairs.json"
    file = json.loads(path.read_text())
    damage(file)
    path.write_text(json.dumps(file))
    line = refused(capsys, "validate")
    assert words in line and "reports/data_docs/index.html" in line
    assert ": NOT as expected" in (project / "reports/data_docs/index.html").read_text()
    assert not json.loads((project / "reports/validate.json").read_text())["ok"]


def test_ten_rows_are_named_and_the_rest_counted(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("etl")
    path = project / "data/saco/pairs.json"
    file = json.loads(path.read_text())
    for row in file["images"]:
        row["height"] = 0
    path.write_text(json.dumps(file))
    line = refused(capsys, "validate")
    assert "height is 1 or more: 40 rows, id 1 (hen/farm00_000.jpg), id 2" in line
    assert line.split("height is 1 or more")[1].split(";")[0].count("id ") == 10


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "pairs.json: not found. Run `sam3-agent etl` first"),
        ("{", "line 1: not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"images": []}', "expected a list under annotations"),
        ('{"images": [], "annotations": []}', "no pairs"),
        ('{"images": [{"id": 1}], "annotations": []}', "images[0] has no usable file_name"),
        ('{"images": [], "annotations": [7]}', "annotations[0] has no usable id"),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "split"])
def test_a_file_that_is_no_saco_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], verb: str, content: str | None, words: str
) -> None:
    if content is not None:
        (project / "data/saco").mkdir(parents=True)
        (project / "data/saco/pairs.json").write_text(content)
    assert words in refused(capsys, verb)


def test_killed_midway_leaves_the_old_file_and_nothing_half_written(raw: RawFolder, project: Path) -> None:
    run("etl")
    before = (project / "data/saco/pairs.json").read_bytes()
    for index in range(3000):
        raw.picture(f"not_hen/more_{index:05d}.jpg", (16, 16))
    process = subprocess.Popen([sys.executable, "-m", "sam3_agent.cli", "etl"], stderr=subprocess.DEVNULL)
    spools = Path(f"/proc/{process.pid}/fd")
    # the spools are open once the pairs are being written
    while process.poll() is None and sum("(deleted)" in _target(fd) for fd in _listed(spools)) < 3:
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (project / "data/saco/pairs.json").read_bytes() == before
    assert [path.name for path in (project / "data/saco").iterdir()] == ["pairs.json"]


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_outlines_lie_on_what_they_outline_in_a_turned_picture(raw: RawFolder, project: Path) -> None:
    """A white block in a picture stored on its side, labelled where people see it."""
    upright = Image.new("RGB", (48, 64), "black")
    upright.paste("white", (10, 20, 30, 50))
    exif = Image.Exif()
    exif[274] = 6  # stored turned left; viewers turn it right
    upright.transpose(Image.Transpose.ROTATE_90).save(raw.root / "images/hen/side.png", exif=exif)
    raw.labelme("side", labelme_shape("hen", [(10, 20), (30, 20), (30, 50), (10, 50)]), size=(48, 64))
    run("etl")
    saco = read_saco(project / "data/saco/pairs.json")
    (image,) = [row for row in saco.images if row["file_name"] == "hen/side.png"]
    (annotation,) = [row for row in saco.annotations if row["image_id"] == image["id"]]
    x, y, w, h = (np.array(annotation["bbox"]) * [48, 64, 48, 64]).round().astype(int)
    with Image.open(raw.root / "images/hen/side.png") as stored:
        pixels = np.asarray(ImageOps.exif_transpose(stored))
    assert pixels[y : y + h, x : x + w].min() == 255
    assert (pixels == 255).sum() == w * h * 3


def test_split_refuses_a_path_out_of_the_folder(raw: RawFolder, project: Path) -> None:
    from sam3_agent.etl.saco import SacoFile
    from sam3_agent.etl.split import choose_sides

    row = {"id": 4, "file_name": "../secret.jpg", "text_input": "hen", "height": 9, "width": 9}
    with pytest.raises(BadInput, match=r"images id 4: file_name \.\./secret\.jpg leads out"):
        choose_sides(SacoFile([row], []), raw.root / "images", 0.2, 7)


def test_a_full_temporary_folder_is_one_line_and_leaves_the_old_file(
    raw: RawFolder, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs wait there while the folder is read."""
    run("etl")
    before = (project / "data/saco/pairs.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SacoWriter, "_put", full)
    assert f"{tempfile.gettempdir()}: cannot be written (No space left on device)" in refused(capsys, "etl")
    assert (project / "data/saco/pairs.json").read_bytes() == before
