"""The verbs `chat` and `batch`, with a stand-in for the model."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run
from PIL import Image
from scene_service import SCENES, SceneEngine

import sam3.engines
from sam3.errors import BadInput
from sam3_agent import Agent
from sam3_agent.batch.journal import Asked, Journal, Line
from sam3_agent.batch.run import carry_out, listed, write


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SceneEngine:
    engine = SceneEngine()
    monkeypatch.setattr(sam3.engines, "load_engine", lambda name, **_: engine)
    return engine


@pytest.fixture
def folder(engine: SceneEngine, tmp_path: Path) -> Path:
    """Twelve pictures in two folders, one of them broken."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(11):
        scene = SCENES["park" if number % 2 else "street"]
        Image.fromarray(engine.draw(scene)).save(folder / ("deep" if number % 3 else ".") / f"p{number:02}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG not really")
    (folder / "notes.txt").write_text("no picture")
    return folder


def talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *lines: str, pictures: tuple[str, ...] = ()
) -> str:
    said: Iterator[str] = iter(lines)

    def answer(_: str = "") -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    assert run("chat", *pictures) == 0
    return capsys.readouterr().out


@pytest.fixture
def park(engine: SceneEngine, tmp_path: Path) -> Path:
    Image.fromarray(engine.draw(SCENES["park"])).save(tmp_path / "the park.png")
    return tmp_path / "the park.png"


def test_a_talk_refers_back_saves_and_explains(
    park: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, found = tmp_path / "o.png", tmp_path / "o.json"
    printed = talk(
        monkeypatch, capsys, "find the dogs", "only the black one", f"/save {overlay}", f"/json {found}", "/explain",
        "/quit", "never said", pictures=(str(park),),
    )  # fmt: skip
    assert "Found 3 dogs" in printed and "Found 1" in printed and '"results_cached"' in printed
    assert overlay.is_file() and len(json.loads(found.read_text())["results"][0]["annotations"]) == 1


def test_a_path_is_a_picture_and_what_goes_wrong_ends_nothing(
    park: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = talk(
        monkeypatch, capsys, "/save x.png", "/add nowhere.png", "/threshold 7", "/what", "/add 'unfinished",
        str(park).replace(" ", "\\ "), "how many dogs?", "",
    )  # fmt: skip
    for words in ("ask something first", "no such picture", "from 0 to 1", "/quit", "There are 3 dogs"):
        assert words in printed


def test_a_batch_answers_every_picture_and_names_the_broken_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("batch", "find the dogs", str(folder), "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert "11 pictures answered, 1 left out" in printed and "broken.png" in printed
    rows = list(csv.DictReader((out / "answers.csv").open()))
    assert len(rows) == 12 and sum(int(row["found"]) for row in rows) == 15
    assert len(list(csv.DictReader((out / "instances.csv").open()))) == 15


def test_the_coco_file_is_one_that_pycocotools_reads(folder: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    out = tmp_path / "out"
    run("batch", "find the dogs and the cars", str(folder), "--out", str(out), "--format", "coco")
    coco = COCO(str(out / "found.coco.json"))
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == {"dog", "car"}
    assert len(coco.getImgIds()) == 11 and len(coco.getAnnIds()) == 5 * 3 + 6 * 4
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(annotation).sum() == annotation["area"] > 0
    assert not (out / "answers.csv").exists()


def test_a_killed_batch_goes_on_where_it_stopped(folder: Path, engine: SceneEngine, tmp_path: Path) -> None:
    files, out = listed([str(folder)]), tmp_path / "out"
    carry_out(Agent(engine), "find the dogs", files[:5], out)
    with (out / "journal.jsonl").open("a") as journal:
        journal.write('{"file": "half a li')
    engine.encodes = 0
    journal = carry_out(Agent(engine), "find the dogs", files, out)
    assert engine.encodes == 11 - sum(file.name != "broken.png" for file in files[:5])
    again = carry_out(Agent(engine), "find the dogs", files, out)
    assert set(again.lines) == set(journal.lines) == {str(file) for file in files}
    assert write(again, files, out, "csv")


def test_a_changed_picture_is_asked_about_again(folder: Path, engine: SceneEngine, tmp_path: Path) -> None:
    files, out = listed([str(folder / "deep")]), tmp_path / "out"
    carry_out(Agent(engine), "find the dogs", files, out)
    Image.fromarray(engine.draw(SCENES["street"])).save(files[0])
    engine.encodes = 0
    carry_out(Agent(engine), "find the dogs", files, out)
    assert engine.encodes == 1


def test_answers_to_two_questions_are_not_mixed(folder: Path, engine: SceneEngine, tmp_path: Path) -> None:
    carry_out(Agent(engine), "find the dogs", listed([str(folder)]), tmp_path / "out")
    with pytest.raises(BadInput, match="another --out"):
        carry_out(Agent(engine), "find the cats", listed([str(folder)]), tmp_path / "out")


def test_globs_and_wrong_words(folder: Path, engine: SceneEngine, tmp_path: Path) -> None:
    assert len(listed([str(folder / "**" / "p*.png")])) == 11
    assert len(listed([str(folder), str(folder / "p00.png")])) == 12
    for wrong in (str(folder / "*.gif"), str(tmp_path / "none"), ""):
        with pytest.raises(BadInput, match="no picture there"):
            listed([wrong])
    with pytest.raises(BadInput, match="not understood"):
        carry_out(Agent(engine), "what is love", listed([str(folder)]), tmp_path / "o")
    assert run("batch", "find dogs", str(folder), "--format", "xml") == 1


def test_a_file_name_is_no_formula(engine: SceneEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("=cmd|'calc'!A0.png")
    Image.fromarray(engine.draw(SCENES["park"])).save(name)
    journal = carry_out(Agent(engine), "find the dogs", [name], tmp_path / "out")
    write(journal, [name], tmp_path / "out", "csv")
    assert all(not row["file"].startswith("=") for row in csv.DictReader((tmp_path / "out" / "answers.csv").open()))


def test_two_batches_do_not_write_one_journal(tmp_path: Path) -> None:
    """And the one that comes later knows what the other has answered since it looked."""
    asked, path = Asked("find the dogs", 0.5, "m"), tmp_path / "journal.jsonl"
    first, second = Journal(path, asked), Journal(path, asked)
    with first.writing() as stream:
        first.add(stream, Line("a.png", "1"))
        with pytest.raises(BadInput, match="another batch is writing it"), second.writing():
            pass
    with second.writing() as stream:
        assert second.done("a.png", "1")
        second.add(stream, Line("b.png", "1"))
    assert set(Journal(path, asked).lines) == {"a.png", "b.png"}


def test_a_journal_of_another_version_is_one_line(tmp_path: Path) -> None:
    asked, path = Asked("find the dogs", 0.5, "m"), tmp_path / "journal.jsonl"
    with Journal(path, asked).writing() as stream:
        stream.write('{"picture": "a.png"}\n')
    with pytest.raises(BadInput, match="line 2: not written by this version"):
        Journal(path, asked)


def test_a_disk_that_fills_up_is_one_line_and_what_was_answered_stays(tmp_path: Path) -> None:
    asked, path = Asked("find the dogs", 0.5, "m"), tmp_path / "out/journal.jsonl"
    journal = Journal(path, asked)
    with pytest.raises(BadInput, match=r"journal\.jsonl: cannot be written \(No space"), journal.writing() as stream:
        journal.add(stream, Line("a.png", "1"))
        raise OSError(errno.ENOSPC, "No space left on device")
    assert set(Journal(path, asked).lines) == {"a.png"}
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"), Journal(tmp_path / "file/journal.jsonl", asked).writing():
        pass


def test_a_name_that_is_no_utf8_is_a_row_like_others(
    engine: SceneEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"dog\xff.png", b"broken\xfe.png", b"new\nline.png"):
        try:
            (folder / os.fsdecode(name)).write_bytes(b"no picture")
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
    Image.fromarray(engine.draw(SCENES["park"])).save(folder / os.fsdecode(b"dog\xff.png"))
    for _ in range(2):  # the second reads the journal
        assert run("batch", "find the dogs", str(folder), "--out", str(tmp_path / "out")) == 0
    rows = list(csv.DictReader((tmp_path / "out/answers.csv").open(encoding="utf-8", newline="")))
    names = {Path(row["file"]).name for row in rows}
    assert names == {"broken\\udcfe.png", "dog\\udcff.png", "new\nline.png"}
    assert "broken\\udcfe.png" in capsys.readouterr().out


def test_a_damaged_line_costs_its_own_picture(tmp_path: Path) -> None:
    asked, path = Asked("find the dogs", 0.5, "m"), tmp_path / "journal.jsonl"
    journal = Journal(path, asked)
    with journal.writing() as stream:
        for name in "abc":
            journal.add(stream, Line(name, "1"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"file": "b"', b"\0\0\0\0\0\0\0\0\0\0\0\0"))
    journal = Journal(path, asked)
    with journal.writing() as stream:
        assert set(journal.lines) == {"a", "c"}
        journal.add(stream, Line("b", "1"))
    assert set(Journal(path, asked).lines) == {"a", "b", "c"}


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for content in (b"my diary\nday one\n", b"[]\n"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="something else"):
            Journal(path, Asked("find the dogs", 0.5, "m"))
        assert path.read_bytes() == content
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        Journal(path, Asked("find the dogs", 0.5, "m"))


def test_fewer_pictures_than_before_are_counted_as_such(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pictures in (folder, folder / "p00.png"):
        assert run("batch", "find the dogs", str(pictures), "--out", str(tmp_path / "out")) == 0
    assert "1 pictures answered, 0 left out" in capsys.readouterr().out
