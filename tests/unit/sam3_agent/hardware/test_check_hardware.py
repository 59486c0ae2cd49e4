"""`sam3-agent check-hardware` on this very machine, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam3.errors import BadInput
from sam3_agent import cli
from sam3_agent.hardware.check import check_hardware
from sam3_agent.hardware.disk import measure_speed, nearest_folder
from sam3_agent.hardware.machine import survey


def no_tools(argv: object) -> str:
    raise FileNotFoundError


def test_the_verb_prints_a_table_and_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reports" / "hardware.json"
    with pytest.raises(SystemExit) as end:
        cli.main(["check-hardware", "--profile", "demo", "--folder", str(tmp_path), "--out", str(out)])
    report = json.loads(out.read_text())
    assert report["verdict"] in ("ok", "warning", "failed")
    assert end.value.code == (1 if report["verdict"] == "failed" else 0)
    table = capsys.readouterr().out
    assert all(row["name"] in table for row in report["checks"])


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match="--profile is 'big'; expected one of demo, train, serve"):
        check_hardware(profile="big")


def test_a_survey_leaves_nothing_behind(tmp_path: Path) -> None:
    machine = survey(tmp_path / "not" / "made" / "yet", run=no_tools)
    assert machine.gpus == () and machine.nvcc is None
    assert machine.disk_write_mb_s and machine.disk_read_mb_s and machine.ram_gb > 0.5
    assert list(tmp_path.iterdir()) == []


def test_nearest_folder_climbs_to_what_exists(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(BadInput, match="/proc: cannot be written"):
        measure_speed(Path("/proc"), size_mb=1)
