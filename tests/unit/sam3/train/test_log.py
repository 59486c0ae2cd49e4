"""The curve of a run is whole, however often it was killed."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pandas as pd
import pytest

from sam3.train.log import RunLog, set_aside, whole_log


def write(folder: Path, steps: range, loss: float) -> None:
    pd.DataFrame({"step": list(steps), "train/loss": loss}).to_csv(folder / "metrics.csv", index=False)


def test_steps_run_twice_count_as_they_were_run_last(tmp_path: Path) -> None:
    write(tmp_path, range(0, 6), 3.0)
    set_aside(tmp_path)
    write(tmp_path, range(4, 8), 2.0)
    set_aside(tmp_path)
    write(tmp_path, range(7, 9), 1.0)
    (tmp_path / "whole.csv").write_text(whole_log(tmp_path))
    rows = pd.read_csv(tmp_path / "whole.csv")
    assert rows["step"].tolist() == list(range(9))
    assert rows["train/loss"].tolist() == [3.0] * 4 + [2.0] * 3 + [1.0] * 2


def test_a_run_that_was_never_killed_is_its_own_log(tmp_path: Path) -> None:
    write(tmp_path, range(3), 1.0)
    assert whole_log(tmp_path) == (tmp_path / "metrics.csv").read_text()
    set_aside(tmp_path / "nowhere")


def test_a_row_that_the_kill_came_before_is_taken_from_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, range(0, 5), 3.0)
    row = {"step": 5, "train/loss": 2.5}
    set_aside(tmp_path, row)
    set_aside(tmp_path, row)  # killed again before its first step
    write(tmp_path, range(6, 8), 2.0)
    (tmp_path / "whole.csv").write_text(whole_log(tmp_path))
    rows = pd.read_csv(tmp_path / "whole.csv")
    assert rows["step"].tolist() == list(range(8))
    assert rows["train/loss"].tolist() == [3.0] * 5 + [2.5] + [2.0] * 2


def test_a_row_that_was_written_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, range(0, 6), 3.0)
    before = (tmp_path / "metrics.csv").read_text()
    set_aside(tmp_path, {"step": 3, "train/loss": 3.0})
    assert whole_log(tmp_path) == before


def test_the_first_row_of_all_may_be_the_missing_one(tmp_path: Path) -> None:
    set_aside(tmp_path / "log", {"step": 0, "train/loss": 4.0})
    (tmp_path / "whole.csv").write_text(whole_log(tmp_path / "log"))
    assert pd.read_csv(tmp_path / "whole.csv").to_dict("records") == [{"step": 0, "train/loss": 4.0}]


def test_a_row_that_was_cut_off_does_not_hide_the_rows_before_it(tmp_path: Path) -> None:
    write(tmp_path, range(0, 20), 3.0)
    log = tmp_path / "metrics.csv"
    log.write_text(log.read_text().removesuffix("9,3.0\n"))  # "1" is left of "19,3.0"
    set_aside(tmp_path)
    write(tmp_path, range(19, 21), 2.0)
    (tmp_path / "whole.csv").write_text(whole_log(tmp_path))
    assert pd.read_csv(tmp_path / "whole.csv")["step"].tolist() == list(range(21))


@pytest.mark.parametrize("damage", [b"\n\n\n", b"\xff\xfe\x00\n", b"a,b\n1,2\n", b'step,train/loss\n0,"1\n1,2\n'])
def test_a_log_that_cannot_be_read_stops_no_training(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(damage)
    (tmp_path / "before_x.csv").write_text("a note of somebody's")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_aside(tmp_path, {"step": 5, "train/loss": 2.5})
        write(tmp_path, range(6, 8), 2.0)
        (tmp_path / "whole.csv").write_text(whole_log(tmp_path))
    assert pd.read_csv(tmp_path / "whole.csv")["step"].dropna().tolist()[-3:] == [5, 6, 7]


def test_a_kill_while_a_column_is_added_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(tmp_path, name="log", version="")
    for step in range(3):
        log.log_metrics({"train/loss": 3.0 - step}, step)
    log.save()
    log.log_metrics({"val/loss": 1.0}, 2)
    with monkeypatch.context() as patch:
        patch.setattr(csv.DictWriter, "writerows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.save()
    assert pd.read_csv(tmp_path / "log/metrics.csv")["train/loss"].tolist() == [3.0, 2.0, 1.0]
