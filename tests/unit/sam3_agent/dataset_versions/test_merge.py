"""Settled annotations into the data set: checked, never into validation, conflicts told, versions that can be compared."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from sam3.errors import BadInput, Unavailable
from sam3_agent.annotation.annotated import Annotation, deliver
from sam3_agent.dataset_versions.facts import read_lineage
from sam3_agent.dataset_versions.merge import merge_batch
from sam3_agent.dataset_versions.version import version_dataset
from sam3_agent.etl.convert import etl
from sam3_agent.etl.split import split

HEN = [[[20.0, 10.0], [50.0, 10.0], [50.0, 40.0], [20.0, 40.0]]]


def paint(path: Path, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8), (96, 72), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path.read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> Path:
    """A project with raw pictures of four farms, its pairs and its split; the working folder."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((repo_root / "params.yaml").read_text())
    params["concept"], params["split"]["val_share"] = "hen", 0.3
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("data/raw/labels").mkdir(parents=True)
    Path("data/raw/labels/classes.txt").write_text("hen\n")
    for farm in range(4):
        for number in range(4):
            name = f"farm{farm:02d}_{number}"
            positive = number % 2 == 0
            paint(Path(f"data/raw/images/{'hen' if positive else 'not_hen'}/{name}.png"), 10 * farm + number)
            if positive:
                Path(f"data/raw/labels/{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    convert()
    split(Path("data/saco/pairs.json"), Path("data/splits"), Path("reports"), None, Path("params.yaml"))
    return tmp_path


def convert() -> None:
    etl(
        reports=Path("reports"),
        raw=None,
        out=Path("data/saco/pairs.json"),
        params=Path("params.yaml"),
        dry_run=False,
        verify_pixels=True,
    )


def annotated(pictures: dict[str, Any], updated: str = "2026-01-01", batch: str = "b1") -> Path:
    """A batch in which somebody said something of each picture: outlines, or "ambiguous"."""
    data: dict[str, bytes] = {}
    rows = []
    for at, (name, instances) in enumerate(pictures.items()):
        data[name] = paint(Path("inbox") / name, 1000 + sum(map(ord, name))) if not name.startswith("=") else b""
        rows.append(Annotation(
            id=f"{batch}-{at}", batch=batch, file=name, sha256=hashlib.sha256(data[name]).hexdigest(), width=96,
            height=72, annotator="ann", task=f"t{at}", model_version="m@1", created=updated, updated=updated,
            instances=[] if instances == "ambiguous" else instances, ambiguous=instances == "ambiguous",
        ))  # fmt: skip
    folder = Path("data/annotated") / batch
    deliver(folder, rows, lambda row: data[row.file], concept="hen")
    return folder


def validation() -> set[str]:
    return {row["file_name"] for row in json.loads(Path("data/splits/val.json").read_text())["images"]}


def merged(folder: Path, **more: Any) -> Any:
    return merge_batch(folder, Path("data/dataset"), **more)


def test_positives_and_negatives_go_in_and_their_origin_is_known(project: Path) -> None:
    folder = annotated({"farm09_a.png": [HEN], "farm09_Süd.png": [], "farm09_c.png": "ambiguous"})
    report = merged(folder)
    assert sorted(report.added) == ["hen/farm09_a.png", "not_hen/farm09_Süd.png"]
    assert (report.positives, report.negatives) == (1, 1)
    assert [(one.file, one.rule) for one in report.refused] == [("farm09_c.png", "ambiguous")]
    rows = {row["file"]: row for row in read_lineage(Path("data/dataset"))}
    assert rows["hen/farm09_a.png"] | {"created": ""} == {
        "file": "hen/farm09_a.png", "sha256": hashlib.sha256(Path("inbox/farm09_a.png").read_bytes()).hexdigest(),
        "batch": "b1", "annotation": "b1-0", "annotator": "ann", "task": "t0", "model_version": "m@1", "created": "",
        "updated": "2026-01-01",
    }  # fmt: skip
    assert not list(Path("data/raw").rglob("*farm09*")), "the raw folder stays as it was"
    again = merged(folder)
    assert not again.changed and again.unchanged == 2 and len(list(read_lineage(Path("data/dataset")))) == 2


def test_the_validation_side_stays_byte_for_byte_and_nothing_like_it_is_merged(project: Path) -> None:
    before, held = Path("data/splits/val.json").read_bytes(), sorted(validation())[0]
    source = held.split("/")[1].split("_")[0]
    folder = annotated(
        {"farm09_a.png": [HEN], f"{source}_new.png": [HEN], "farm09_copy.png": [], "farm09_near.png": []}
    )
    data = (Path("data/raw/images") / held).read_bytes()
    near = cv2.imencode(".png", np.clip(cv2.imread(f"data/raw/images/{held}").astype(int) + 3, 0, 255))[1].tobytes()
    for name, content in (("farm09_copy.png", data), ("farm09_near.png", near)):
        (folder / "images" / name).write_bytes(content)
    report = merged(folder)
    assert report.added == ["hen/farm09_a.png"]
    assert {one.file: one.rule for one in report.refused} == {
        f"{source}_new.png": "in-validation", "farm09_copy.png": "in-validation", "farm09_near.png": "in-validation",
    }  # fmt: skip
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["data"]["raw"] = "data/dataset"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    # somebody put one there by hand: the split leaves it out
    Path("data/dataset/images/not_hen").mkdir(exist_ok=True)
    Path(f"data/dataset/images/not_hen/{source}_smuggled.png").write_bytes(
        Path("inbox/farm09_a.png").read_bytes() + b"\0"
    )
    convert()
    split(Path("data/saco/pairs.json"), Path("data/splits"), Path("reports"), None, Path("params.yaml"))
    assert Path("data/splits/val.json").read_bytes() == before
    train = {row["file_name"] for row in json.loads(Path("data/splits/train.json").read_text())["images"]}
    assert "hen/farm09_a.png" in train and not any(name.split("/")[1].startswith(source) for name in train)
    assert json.loads(Path("reports/split.json").read_text())["left_out"] == 1


def test_another_label_for_a_known_picture_is_a_conflict_until_somebody_decides(project: Path) -> None:
    train = sorted({row["file_name"] for row in json.loads(Path("data/splits/train.json").read_text())["images"]})
    known = next(name for name in train if name.startswith("hen/"))
    folder = annotated({"farm09_x.png": []})
    (folder / "images/farm09_x.png").write_bytes((Path("data/raw/images") / known).read_bytes())
    report = merged(folder)
    assert not report.added and report.conflicts[0].detail.startswith(f"as {known}: positive with 1, now negative")
    assert merged(folder, replace=True).updated == [known.replace("hen/", "not_hen/")]
    assert not (Path("data/dataset/images") / known).exists()
    assert not list(Path("data/dataset/labels").glob(f"{Path(known).stem}.txt"))


def test_a_later_word_of_the_same_batch_replaces_the_earlier(project: Path) -> None:
    merged(annotated({"farm09_a.png": [HEN]}))
    report = merged(annotated({"farm09_a.png": []}, updated="2026-01-02"))
    assert report.updated == ["not_hen/farm09_a.png"] and not report.conflicts
    assert not Path("data/dataset/images/hen/farm09_a.png").exists()
    assert [row["file"] for row in read_lineage(Path("data/dataset"))] == ["not_hen/farm09_a.png"]


def test_a_near_copy_with_the_opposite_label_is_a_conflict(project: Path) -> None:
    train = sorted({row["file_name"] for row in json.loads(Path("data/splits/train.json").read_text())["images"]})
    known = next(name for name in train if name.startswith("hen/"))
    folder = annotated({"farm09_x.png": [], "farm09_y.png": [HEN]})
    brighter = np.clip(cv2.imread(f"data/raw/images/{known}").astype(int) + 3, 0, 255)
    (folder / "images/farm09_x.png").write_bytes(cv2.imencode(".png", brighter)[1].tobytes())
    report = merged(folder)
    assert report.added == ["hen/farm09_y.png"]
    assert [(one.file, one.rule) for one in report.conflicts] == [("farm09_x.png", "near-copy")]
    assert known in report.conflicts[0].detail


def test_a_picture_that_was_there_and_is_confirmed_keeps_its_origin(project: Path) -> None:
    train = sorted({row["file_name"] for row in json.loads(Path("data/splits/train.json").read_text())["images"]})
    known = next(name for name in train if name.startswith("not_hen/"))
    folder = annotated({"farm09_x.png": []})
    (folder / "images/farm09_x.png").write_bytes((Path("data/raw/images") / known).read_bytes())
    assert merged(folder).unchanged == 1 and not list(read_lineage(Path("data/dataset")))


def test_names_that_are_taken_get_apart(project: Path) -> None:
    train = next(row["file_name"] for row in json.loads(Path("data/splits/train.json").read_text())["images"])
    name = Path(train).name
    report = merged(annotated({name: [HEN]}))
    [added] = report.added
    assert Path(added).name != name and Path(added).name.startswith(Path(name).stem + "-")


def test_shapes_that_the_etl_refuses_are_refused_here(project: Path) -> None:
    line = [[[5.0, 5.0], [20.0, 5.0], [30.0, 5.0]]]
    report = merged(annotated({"farm09_a.png": [HEN], "farm09_bad.png": [line]}))
    assert report.added == ["hen/farm09_a.png"]
    assert [(one.file, one.rule) for one in report.refused] == [("farm09_bad.png", "no-usable-shape")]


@pytest.mark.parametrize("step", ["write_json", "atomic_write", "_write_lineage"])
def test_killed_in_the_middle_it_ends_the_same(project: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    from sam3_agent.dataset_versions import merge as module

    folder = annotated({f"farm09_{at}.png": [HEN] if at % 2 else [] for at in range(4)})
    real, calls = getattr(module, step), []

    def killed(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == (1 if step == "_write_lineage" else 3):
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            merged(folder)
    report = merged(folder)
    assert len(report.added) + report.unchanged == 4 and not report.conflicts
    assert len(list(read_lineage(Path("data/dataset")))) == 4
    assert len(list(Path("data/dataset/images").rglob("farm09*"))) == 4


@pytest.mark.parametrize(("change", "words"), [
    (lambda: Path("data/splits/val.json").unlink(), "no validation split to freeze"),
    (lambda: (Path("data/annotated/b1/batch.json")).unlink(), "no annotated batch"),
    (lambda: Path("params.yaml").write_text(Path("params.yaml").read_text().replace("concept: hen", "concept: cat")), "about 'hen'"),
])  # fmt: skip
def test_what_cannot_be_merged_is_said(project: Path, change: Any, words: str) -> None:
    folder = annotated({"farm09_a.png": [HEN]})
    change()
    with pytest.raises(BadInput, match=words):
        merged(folder)


@pytest.fixture
def repository(project: Path) -> Path:
    for command in (
        ["git", "init", "-q"], ["git", "config", "user.email", "a@b.c"], ["git", "config", "user.name", "a"],
        ["python", "-m", "dvc", "init", "-q"], ["git", "commit", "-qm", "start"],
    ):  # fmt: skip
        subprocess.run(
            [sys.executable if word == "python" else word for word in command], check=True, capture_output=True
        )
    return project


@pytest.mark.slow
def test_each_merge_is_a_version_with_a_tag_and_a_diff(repository: Path) -> None:
    merged(annotated({"farm09_a.png": [HEN], "farm09_b.png": []}))
    first = version_dataset(Path("data/dataset"))
    assert (first.tag, first.previous, first.new) == ("data-v1.1", "data-v1.0", True)
    assert first.diff.added == ["hen/farm09_a.png", "not_hen/farm09_b.png"] and not first.diff.removed
    assert first.diff.batches == {"b1": 2} and first.diff.after["pictures"] == first.diff.before["pictures"] + 2
    same = version_dataset(Path("data/dataset"))
    assert (same.tag, same.new) == ("data-v1.1", False)
    merged(annotated({"farm09_b.png": [HEN], "farm09_c.png": []}, updated="2026-01-02"))
    second = version_dataset(Path("data/dataset"))
    assert second.tag == "data-v1.2" and second.diff.added == ["not_hen/farm09_c.png"]
    assert second.diff.changed == {
        "hen/farm09_b.png": "was not_hen/farm09_b.png, negative -> positive, 0 -> 1 outlines"
    }
    text = Path("data/versions/data-v1.2.diff.md").read_text()
    assert "| pictures |" in text and "`hen/farm09_b.png`" in text
    told = subprocess.run(["git", "show", "--stat", "data-v1.2"], capture_output=True, text=True).stdout
    assert "data/dataset.dvc" in told and "data-v1.2.diff.md" in told
    assert not subprocess.run(["git", "status", "--porcelain", "data/dataset.dvc"], capture_output=True).stdout
    Path("data/dataset/images/hen/farm09_b.png").unlink()  # the bytes of a version come back from the store
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q", "--force", "data/dataset.dvc"], check=True)
    assert Path("data/dataset/images/hen/farm09_b.png").is_file()


def test_where_git_refuses_the_words_are_gits(project: Path) -> None:
    merged(annotated({"farm09_a.png": [HEN]}))
    with pytest.raises(Unavailable, match="git tag --list"):
        version_dataset(Path("data/dataset"))
