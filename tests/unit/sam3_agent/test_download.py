"""`sam3-agent download` with what is on this machine: folders, files, and things that are neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sam3.checkpoint_files import weights_problem
from sam3.errors import BadCheckpoint, BadInput
from sam3_agent import cli
from sam3_agent.download import take_folder, take_local


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    save_file({"a": np.zeros(4, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "secret.py").write_text("not wanted")
    return folder


def test_a_folder_is_put_in_place_with_the_vocabulary_it_lacks(checkpoint: Path, tmp_path: Path) -> None:
    target = take_folder(checkpoint, tmp_path / "models" / "mine")
    assert weights_problem(target) == ""
    assert sorted(p.name for p in target.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [p.name for p in target.parent.iterdir()] == ["mine"], "no scratch folder stays"


def test_a_weights_file_stands_for_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    assert weights_problem(take_local(checkpoint / "model.safetensors", tmp_path / "mine")) == ""


def test_a_damaged_folder_is_refused_and_the_old_target_stays(checkpoint: Path, tmp_path: Path) -> None:
    target = take_folder(checkpoint, tmp_path / "mine")
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(BadCheckpoint, match=r"given/model\.safetensors has \d+ bytes, its header promises"):
        take_folder(checkpoint, target)
    assert weights_problem(target) == ""


def test_onto_itself_is_refused(checkpoint: Path) -> None:
    with pytest.raises(BadInput, match="is the target already"):
        take_folder(checkpoint, checkpoint)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights.zip", r"expected a folder, \.safetensors, \.pt or \.pth, not '\.zip'"),
        ("weights", "expected a folder"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadCheckpoint, match=words):
        take_local(tmp_path / name, tmp_path / "mine")


def test_a_pt_file_is_converted_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(SystemExit) as end:
        cli.main(["download", str(tmp_path / "other.pt"), "--to", str(tmp_path / "mine")])
    assert end.value.code == 1
    assert "not a whole SAM 3 detector" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_source_that_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["download", "no such thing"])
    assert "not a hub name like facebook/sam3" in capsys.readouterr().err
