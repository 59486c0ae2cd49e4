"""The doctor looks at everything at once, and one bad probe hides no other."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from sam3_agent import cli
from sam3_agent.checks import Check, print_checks
from sam3_agent.doctor import check


def test_findings_come_in_the_order_of_the_probes() -> None:
    together = threading.Barrier(2)  # passed only by two probes that run at the same time

    def slow() -> Check:
        together.wait(5)
        return Check("slow", "ok", "")

    probes = {"slow": slow, "fast": lambda: Check("fast", "ok", "")}
    found = check.examine({**probes, "slow too": slow})
    assert [(c.name, c.status) for c in found] == [("slow", "ok"), ("fast", "ok"), ("slow", "ok")]


def test_a_probe_that_raises_is_a_failed_row() -> None:
    (row,) = check.examine({"x": lambda: 1 / 0})  # type: ignore[dict-item, return-value]
    assert row.status == "failed" and "ZeroDivisionError" in row.found


def test_a_probe_that_hangs_is_given_up() -> None:
    hung, fine = check.examine({"nfs": lambda: time.sleep(5), "y": lambda: Check("y", "ok", "")}, patience=0.1)  # type: ignore[dict-item, return-value]
    assert (hung.status, hung.found) == ("failed", "no answer in 0.1 s")
    assert fine.status == "ok"


@pytest.mark.parametrize(
    ("needed", "optional", "status", "words"),
    [
        ("ok", "ok", 0, "the demo can run"),
        ("warning", "failed", 0, "the demo can run"),
        ("failed", "ok", 1, "the demo cannot run: mend disk"),
    ],
)
def test_only_what_the_demo_needs_sets_the_exit_status(
    tmp_path: Path, monkeypatch, capsys, needed, optional, status, words
) -> None:
    monkeypatch.setattr(check, "needed_probes", lambda root: {"disk": lambda: Check("disk", needed, "[5 GB]")})
    monkeypatch.setattr(check, "optional_probes", lambda root: {"W&B": lambda: Check("W&B", optional, "")})
    out = tmp_path / "doctor.json"
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", "--root", str(tmp_path), "--out", str(out)])
    assert end.value.code == status
    shown = capsys.readouterr().out
    assert words in shown
    assert "[5 GB]" in shown, "brackets in a finding are text and not markup"
    assert [row["name"] for row in json.loads(out.read_text())["checks"]] == ["disk", "W&B"]


def test_a_root_that_is_no_folder(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", "--root", str(tmp_path / "nowhere")])
    assert end.value.code == 1
    assert "no such folder" in capsys.readouterr().err


def test_an_empty_folder_is_examined_without_a_trace(tmp_path: Path) -> None:
    rows = check.examine({**check.needed_probes(tmp_path), **check.optional_probes(tmp_path)})
    statuses = {row.name: row.status for row in rows}
    assert statuses["git"] == statuses["DVC"] == "failed"
    assert statuses["MLflow"] == "ok"
    assert not any("Error:" in row.found for row in rows)


@pytest.mark.parametrize("terminal", ["80", "40"])
def test_a_long_path_can_be_copied_from_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str
) -> None:
    path = "/mnt/projects/" + "very-long-folder-name/" * 6 + "models"
    monkeypatch.setenv("COLUMNS", terminal)
    checks = [
        Check("folders", "failed", f"{path} cannot be written", f"chmod u+w {path}"),
        Check("W&B", "ok", "not configured"),
    ]
    print_checks("what the pipeline leans on", checks)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].endswith(f"failed   {path} cannot be written")
    assert lines[2].strip() == f"chmod u+w {path}"
    assert len(lines) == 4
