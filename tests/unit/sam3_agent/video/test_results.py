"""The record and the formats made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.formats import write_coco_vid, write_mot
from sam3_agent.video.frames import FrameResult
from sam3_agent.video.results import Record, as_row, from_row

HEADER: dict[str, Any] = {"video": "clip.mp4", "phrases": ["duck", "hen"], "width": 40, "height": 30, "rate": 10.0}


def result(number: int, **things: tuple[int, int]) -> FrameResult:
    """Frame with squares: label=(track, left)."""
    masks = np.zeros((len(things), 30, 40), bool)
    for at, (_, left) in enumerate(things.values()):
        masks[at, 5:15, left : left + 10] = True
    boxes = np.array([[left, 5, left + 10, 15] for _, left in things.values()], np.float32).reshape(-1, 4)
    seen = TrackedDetections(
        boxes, np.full(len(things), 0.9, np.float32), masks, 0.9, list(things),
        track_ids=np.array([track for track, _ in things.values()], int),
    )  # fmt: skip
    return FrameResult(number, number / 10, seen, number % 5 == 0, {"duck": 0.9})


@pytest.fixture
def record(tmp_path: Path) -> Record:
    made = Record(tmp_path / "results.jsonl", HEADER)
    for one in (result(0, duck=(1, 2)), result(1, duck=(1, 4), hen=(2, 20)), result(2)):
        made.add(one)
    made.close()
    return made


def test_a_row_says_frame_time_track_and_mask_and_comes_back_the_same() -> None:
    before = result(3, duck=(7, 2), hen=(9, 20))
    row = json.loads(json.dumps(as_row(before)))
    assert (row["frame"], row["time"], [t["id"] for t in row["tracks"]]) == (3, 0.3, [7, 9])
    after = from_row(row, (30, 40))
    np.testing.assert_array_equal(after.seen.masks, before.seen.masks)
    assert after.seen.labels == ["duck", "hen"] and after.seen.track_ids.tolist() == [7, 9]


def test_a_line_cut_off_by_a_crash_is_cut_away(record: Record) -> None:
    whole = record.path.read_text()
    record.path.write_text(whole + '{"frame":3,"time":0.3,"tra')
    again = Record(record.path, HEADER)
    assert again.done == 3
    again.add(result(3))
    again.close()
    assert [row["frame"] for row in again.rows()] == [0, 1, 2, 3]


def test_another_run_is_not_gone_on_with(record: Record) -> None:
    with pytest.raises(BadInput, match="phrases differ"):
        Record(record.path, {**HEADER, "phrases": ["goose"]})
    assert Record(record.path, {**HEADER, "phrases": ["goose"]}, fresh=True).done == 0


def test_a_record_of_nothing_but_half_a_header_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"video": "cl')
    assert Record(path, HEADER).done == 0


def test_a_run_that_stopped_before_its_first_frame_is_in_nobodys_way(tmp_path: Path) -> None:
    Record(tmp_path / "results.jsonl", {**HEADER, "method": "magic"}).close()
    again = Record(tmp_path / "results.jsonl", HEADER)
    again.add(result(0))
    again.close()
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage\n", b"[1, 2]\n{}\n", b"{\n"])
def test_what_is_no_record_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"results\.jsonl"):
        Record(path, HEADER)
    assert path.read_bytes() == content


def test_a_video_whose_name_is_no_utf8_has_a_record(tmp_path: Path) -> None:
    head = {**HEADER, "video": "caf\udce9.mp4"}
    with Record(tmp_path / "results.jsonl", head) as first:
        first.add(result(0))
    assert Record(tmp_path / "results.jsonl", head).done == 1


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from test_results import *; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); one = Record(Path(sys.argv[1]), HEADER)\n"
        "try:\n    [one.add(result(n, duck=(1, 2))) for n in range(9)]\nexcept BadInput as error: print(error)"
    )
    path = tmp_path / "results.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert "results.jsonl: cannot be written (File too large)" in done.stdout, done.stderr
    again = Record(path, HEADER)
    assert 0 < again.done < 9
    again.add(result(again.done))
    again.close()
    assert [row["frame"] for row in again.rows()] == list(range(again.done))


def test_two_runs_do_not_write_one_record(record: Record) -> None:
    before = record.path.read_text()
    with Record(record.path, HEADER) as first:
        for fresh in (False, True):
            with pytest.raises(BadInput, match="another run is writing"):
                Record(record.path, HEADER, fresh=fresh)
        first.add(result(3))
    assert record.path.read_text().startswith(before) and first.done == 4
    assert Record(record.path, HEADER).done == 4


def test_mot_rows(record: Record, tmp_path: Path) -> None:
    assert write_mot(record.path, tmp_path / "mot.txt") == 3
    rows = [line.split(",") for line in (tmp_path / "mot.txt").read_text().splitlines()]
    assert [row[:6] for row in rows] == [
        ["1", "1", "2.0", "5.0", "10.0", "10.0"],
        ["2", "1", "4.0", "5.0", "10.0", "10.0"],
        ["2", "2", "20.0", "5.0", "10.0", "10.0"],
    ]
    assert all(len(row) == 10 for row in rows)


def test_coco_vid_is_a_coco_file_with_videos_and_tracks(record: Record, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = tmp_path / "coco_vid.json"
    assert write_coco_vid(record.path, path) == 3
    coco = COCO(str(path))
    assert sorted(coco.getImgIds()) == [1, 2, 3], "frames without anything are there too"
    data = coco.dataset
    assert data["videos"] == [{"id": 1, "name": "clip.mp4", "width": 40, "height": 30}]
    assert data["tracks"] == [
        {"id": 1, "category_id": 1, "video_id": 1},
        {"id": 2, "category_id": 2, "video_id": 1},
    ]
    assert coco.annToMask(data["annotations"][0]).sum() == 100 == data["annotations"][0]["area"]


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(BadInput, match="not a record"):
        write_coco_vid(path, tmp_path / "out.json")
