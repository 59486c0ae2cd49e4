"""Options that save memory and time, through the command line: the result is an ordinary checkpoint."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from made_pairs import make_place, train_command

from sam3.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("options"), 8)


def run(repo: Path, place: Path, name: str, *more: str) -> str:
    given = ["train.batch_size=2", "train.max_epochs=2", "trainer.validate_every=2", *more]
    command = train_command(repo, place / "pairs/pairs.json", place / "tiny", place / name, *given)
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_heads_from_stored_features_with_8_bits_of_state_and_masks_at_points(repo_root: Path, place: Path) -> None:
    options = [
        "cache.enabled=true",
        "data.views=2",
        "model.frozen=[vision_encoder,text_encoder]",
        "optimizer.state_bits=8",
        "loss.mask_points=256",
        "train.accumulate=2",
        f"cache.root={place / 'features'}",
    ]
    said = run(repo_root, place, "heads", *options)
    assert "features: 24 views, 24 encoded" in said  # 8 pictures in 2 ways, and as they are for validation
    again = run(repo_root, place, "again", *options, "--fresh")
    assert "features: 24 views, 0 encoded" in again
    record = json.loads((place / "heads/out/training.json").read_text())
    assert record["steps"] == 4 and record["config"]["optimizer"]["state_bits"] == 8
    base, tuned = (load_checkpoint(path).model.state_dict() for path in (place / "tiny", place / "heads/out"))
    changed = {name for name, value in base.items() if not torch.equal(value, tuned[name])}
    assert changed and not any(name.startswith(("vision_encoder", "text_encoder.")) for name in changed)


@pytest.mark.slow
def test_adapters_end_as_weights(repo_root: Path, place: Path) -> None:
    run(
        repo_root,
        place,
        "lora",
        "model.lora.rank=2",
        "model.lora.parts=[vision_encoder.backbone,detr_decoder]",
        "optimizer.learning_rate=1e-2",
    )
    base, tuned = (load_checkpoint(path).model.state_dict() for path in (place / "tiny", place / "lora/out"))
    assert base.keys() == tuned.keys()
    changed = {name for name, value in base.items() if not torch.equal(value, tuned[name])}
    assert any(name.startswith("vision_encoder.backbone") and "q_proj" in name for name in changed)
    learning = ("dot_product_scoring.", "detr_decoder.presence_head.")
    adapted = {name for name in changed if not name.startswith(learning)}
    assert all(name.endswith(("_proj.weight",)) for name in adapted), sorted(adapted)
