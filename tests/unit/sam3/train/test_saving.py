"""Checkpoints of a run survive a full disk and a kill, wherever the temporary folder is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.errors import BadCheckpoint, BadInput, Unavailable
from sam3.train.saving import WholeCheckpoints, alone, clear_leftovers, read_state


def test_the_only_checkpoint_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"global_step": 3, "state_dict": {"w": torch.ones(2)}}, last)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"last\.ckpt: cannot be written \(No space left on device\)"):
        WholeCheckpoints().save_checkpoint({"global_step": 4}, last)
    assert read_state(last)["global_step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_bytes_are_written_beside_the_target_and_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move from a temporary folder on another disk is a copy, and half a copy is what a kill leaves."""
    moves: list[tuple[str, str]] = []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moves.append((str(a), str(b))), rename(a, b))[1])
    WholeCheckpoints().save_checkpoint({"global_step": 1}, tmp_path / "last.ckpt")
    assert [Path(source).parent for source, _ in moves] == [tmp_path]


def test_what_a_killed_run_had_begun_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".last.ckpt.x1y2").write_bytes(b"half")
    (tmp_path / "last.ckpt").write_bytes(b"whole")
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_broken_checkpoint_is_one_line(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"global_step": 3}, last)
    last.write_bytes(last.read_bytes()[:-200])
    with pytest.raises(BadCheckpoint, match=r"last\.ckpt: cut short or damaged.*--fresh"):
        read_state(last)


HOLDING = """
import sys, time
from pathlib import Path
from sam3.train.saving import alone
with alone(Path(sys.argv[1])):
    print("begun", flush=True)
    time.sleep(600)
"""


def test_two_runs_do_not_train_in_one_folder(tmp_path: Path) -> None:
    """A pipeline that was killed leaves its training at work; the next one must not write the same checkpoints."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        with pytest.raises(Unavailable, match="another run is training there"), alone(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        with alone(tmp_path):
            pass
    finally:
        process.kill()
        process.wait(30)


def test_ctrl_c_while_libraries_are_imported_is_no_stack_trace(repo_root: Path) -> None:
    """The script itself imports nothing heavy; what is heavy is imported where Ctrl-C is caught."""
    said = "import sys; import sam3.train.train; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", said], cwd=repo_root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
