"""Checkpoint folders: what is saved comes back, and what is not a checkpoint is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam3.checkpoint import checkpoint_folder, load_checkpoint, save_checkpoint, tiny_config
from sam3.detector import Sam3Detector
from sam3.errors import BadCheckpoint, BadInput
from sam3.tokenizer import build_tokenizer_file


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer_file(path)
    return path


@pytest.fixture
def saved(tmp_path: Path, tokenizer_file: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(tmp_path / "tiny", Sam3Detector(tiny_config()), tokenizer_file, extra={"note.txt": "hen"})


def test_what_is_saved_comes_back(saved: Path) -> None:
    torch.manual_seed(0)
    expected = Sam3Detector(tiny_config()).state_dict()
    loaded = load_checkpoint(saved)
    assert loaded.image_size == 64 and len(loaded.sha256) == 64 and not loaded.model.training
    for name, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert (saved / "note.txt").read_text() == "hen"
    assert sorted(path.name for path in saved.parent.iterdir()) == ["tiny"]


def test_half_precision_on_disk_is_single_in_memory(tmp_path: Path, tokenizer_file: Path) -> None:
    folder = save_checkpoint(tmp_path / "half", Sam3Detector(tiny_config()), tokenizer_file, dtype=torch.float16)
    floats = [value.dtype for value in load_file(folder / "model.safetensors").values() if value.is_floating_point()]
    assert set(floats) == {torch.float16}
    assert next(load_checkpoint(folder).model.parameters()).dtype == torch.float32


def test_the_published_folder_of_the_video_model_holds_the_detector(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    renamed = {f"detector_model.{name}": value for name, value in state.items()}
    save_file(
        renamed | {"tracker_model.weight": torch.zeros(1)}, saved / "model.safetensors", metadata={"format": "pt"}
    )
    config = {"model_type": "sam3_video", "detector_config": json.loads((saved / "config.json").read_text())}
    (saved / "config.json").write_text(json.dumps(config))
    loaded = load_checkpoint(saved)
    assert loaded.image_size == 64
    for name, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_weights_of_another_model_are_named(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    lost = next(name for name in state if name.startswith("detr_decoder"))
    save_file({name: value for name, value in state.items() if name != lost}, saved / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=rf"1 weights .* e\.g\. {lost}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_truncated_file_is_one_line(saved: Path, broken: str) -> None:
    content = (saved / broken).read_bytes()
    (saved / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadCheckpoint, match=str(saved)) as error:
        load_checkpoint(saved)
    assert "\n" not in str(error.value)


def test_names_that_are_no_checkpoint_say_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadCheckpoint, match="sam3-agent download facebook/sam3"):
        checkpoint_folder("facebook/sam3")
    with pytest.raises(BadCheckpoint, match="no such checkpoint"):
        checkpoint_folder("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadCheckpoint, match=r"no config\.json"):
        checkpoint_folder("empty")
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match="Convert it first"):
        checkpoint_folder("weights.pt")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, tokenizer_file: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "out", Sam3Detector(tiny_config()), tokenizer_file)
