"""A folder is there whole or not at all, and nobody's rubbish stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sam3 import folders
from sam3.errors import BadInput
from sam3.folders import fresh_folder, swap_folder

HOLDING = """
import os, sys, time
from pathlib import Path
from sam3.folders import fresh_folder
with fresh_folder(sys.argv[1]) as fresh:
    (fresh / "half").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


def old_enough(path: Path) -> None:
    os.utime(path, (0, 0))


@pytest.mark.parametrize("exchange", [True, False])
def test_the_new_folder_takes_the_place_of_the_old_one(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    for content in ("one", "two"):
        with fresh_folder(tmp_path / "model") as fresh:
            (fresh / content).write_text(content)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "two"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "model") as fresh:
        (fresh / "weights").write_text("good")
    with pytest.raises(ValueError, match="no"), fresh_folder(tmp_path / "model") as fresh:
        (fresh / "weights").write_text("half")
        raise ValueError("no")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model/weights").read_text() == "good"


def test_what_a_killed_process_had_begun_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "model"
    begun = []
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", HOLDING, str(target)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        begun.append(process)
    killed = begun[0]
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait(30)
        assert len(list(tmp_path.glob(".model.*"))) == 2
        for path in tmp_path.glob(".model.*"):
            old_enough(path)
        with fresh_folder(target) as fresh:
            (fresh / "weights").write_text("good")
        assert len(list(tmp_path.glob(".model.*"))) == 1 and (target / "weights").is_file()
    finally:
        for process in begun:
            process.kill()
            process.wait(30)


def test_a_full_disk_is_one_line_about_the_target(tmp_path: Path) -> None:
    class OfALibrary(Exception):
        """safetensors and SQLite have errors of their own."""

    for error in (OSError(errno.ENOSPC, "No space left on device"), OfALibrary("I/O error: No space left on device")):
        with (
            pytest.raises(BadInput, match=r"model: cannot be written .*No space left"),
            fresh_folder(tmp_path / "model"),
        ):
            raise error
    assert not list(tmp_path.iterdir())


def test_at_every_moment_there_is_a_folder(tmp_path: Path) -> None:
    """Nothing else is done to the target's name than the exchange."""
    for name in ("model", "fresh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    before = (tmp_path / "fresh").stat().st_ino
    swap_folder(tmp_path / "fresh", tmp_path / "model")
    assert (tmp_path / "model").stat().st_ino == before and not (tmp_path / "fresh").exists()
