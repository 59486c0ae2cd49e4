"""A checkpoint folder that is not whole is told from one that is, without loading it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sam3.checkpoint_files import safetensors_problem, weights_problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"a": np.zeros((4, 4), np.float32)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_whole_folder_has_no_problem(folder: Path) -> None:
    assert weights_problem(folder) == ""


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in weights_problem(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b"\x00\x01", "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04" + b"x" * 100, "cut short or no safetensors file"),
        ((4).to_bytes(8, "little") + b"[[[[", "no safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "no safetensors file"),
        ((9).to_bytes(8, "little") + b'{"a": {}}', "no safetensors file"),
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert words in safetensors_problem(path)


def test_a_truncated_file_says_how_much_is_there(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert f"has {len(whole) - 10} bytes, its header promises {len(whole)}" in weights_problem(folder)
