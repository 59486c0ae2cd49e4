"""Training as a process: it runs as written, survives kill -9, and refuses what it cannot use in one line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from sam3.checkpoint import load_checkpoint, save_checkpoint, tiny_config
from sam3.detector import Sam3Detector
from sam3.files import write_json
from sam3.tokenizer import build_tokenizer_file

EPOCHS, PAIRS, BATCH = 6, 10, 2
STEPS = EPOCHS * PAIRS // BATCH


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint and ten pictures, half of them with a bright square."""
    folder = tmp_path_factory.mktemp("training")
    build_tokenizer_file(folder / "tokenizer.json")
    torch.manual_seed(0)
    save_checkpoint(folder / "tiny", Sam3Detector(tiny_config()), folder / "tokenizer.json")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for at in range(PAIRS):
        picture = rng.integers(0, 90, (64, 96, 3)).astype(np.uint8)
        images.append(
            {
                "id": at,
                "file_name": f"{at}.png",
                "text_input": "square",
                "height": 64,
                "width": 96,
                "is_instance_exhaustive": 1,
            }
        )
        if at % 2:
            picture[20:50, 30:60] = 230
            polygon = [30, 20, 60, 20, 60, 50, 30, 50]
            annotations.append({"id": at, "image_id": at, "category_id": 1, "iscrowd": 0, "segmentation": [polygon]})
        cv2.imwrite(str(folder / f"{at}.png"), picture)
    write_json(folder / "pairs.json", {"images": images, "annotations": annotations, "categories": [{"id": 1}]})
    return folder


def command(repo: Path, place: Path, name: str, *more: str) -> list[str]:
    """The command of the README on a tiny model."""
    settings = {
        "model.checkpoint": place / "tiny",
        "data.train": place / "pairs.json",
        "data.val": place / "pairs.json",
        "data.images": place,
        "data.workers": 0,
        "train.out": place / name / "out",
        "train.work": place / name / "run",
        "train.max_epochs": EPOCHS,
        "train.batch_size": BATCH,
        "trainer.save_every": 3,
        "trainer.validate_every": 3,
        "trainer.threads": 1,
    }
    script = [sys.executable, str(repo / "sam3/train/train.py"), "-c", str(repo / "configs/sam3_chicken_finetune.yaml")]
    return [
        *script,
        "--use-cluster",
        "0",
        "--num-gpus",
        "1",
        *[f"{key}={value}" for key, value in settings.items()],
        *more,
    ]


def steps_logged(place: Path, name: str) -> list[int]:
    rows = csv.DictReader((place / name / "run/log/metrics.csv").open())
    return [int(row["step"]) for row in rows if row.get("train/loss")]


@pytest.fixture(scope="module")
def whole(repo_root: Path, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(repo_root, place, "whole"), cwd=place, capture_output=True, text=True, timeout=300)


def test_a_run_leaves_weights_and_what_they_were_made_of(whole: subprocess.CompletedProcess[str], place: Path) -> None:
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert "training on the CPU" in whole.stderr  # one GPU was asked for, none is here
    record = json.loads((place / "whole/out/training.json").read_text())
    assert record["steps"] == STEPS and record["data_sha256"] and record["config"]["train"]["max_epochs"] == EPOCHS
    assert load_checkpoint(place / "whole/out").image_size == 64
    header = (place / "whole/out/metrics.csv").read_text().splitlines()[0]
    for column in ("train/presence_positive", "train/presence_negative", "train/grad_norm", "val/cgf1", "lr-AdamW"):
        assert column in header


def test_the_three_best_are_kept_by_loss_and_by_cgf1(whole: subprocess.CompletedProcess[str], place: Path) -> None:
    work = place / "whole/run"
    assert 1 <= len(list(work.glob("loss-*.ckpt"))) <= 3 and 1 <= len(list(work.glob("cgf1-*.ckpt"))) <= 3


def test_killed_twice_it_ends_with_the_same_steps_and_weights(
    whole: subprocess.CompletedProcess[str], repo_root: Path, place: Path
) -> None:
    checkpoint = place / "killed/run/last.ckpt"
    for wanted in (3, 12):
        process = subprocess.Popen(
            command(repo_root, place, "killed"), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_step(checkpoint, wanted, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        forget_rows_from(place / "killed/run/log/metrics.csv", saved_steps(checkpoint) - 1)
    last = subprocess.run(command(repo_root, place, "killed"), cwd=place, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr[-2000:]
    assert saved_steps(checkpoint) == STEPS
    one, other = (pd.read_csv(place / name / "out/metrics.csv") for name in ("whole", "killed"))
    losses = [rows.set_index("step")["train/loss"].dropna() for rows in (one, other)]
    pd.testing.assert_series_equal(losses[0], losses[1], atol=1e-4, check_exact=False)
    one = torch.load(place / "whole/run/last.ckpt", weights_only=True)["state_dict"]
    other = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-4, msg=name)


def saved_steps(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["global_step"])


def forget_rows_from(log: Path, step: int) -> None:
    """As if the kill had come after the checkpoint and before the row of its last step."""
    rows = pd.read_csv(log)
    rows[rows["step"] < step].to_csv(log, index=False)


def wait_for_step(checkpoint: Path, wanted: int, process: subprocess.Popen[bytes]) -> None:
    """Until the run has saved a step; it must not end by itself before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if checkpoint.is_file() and saved_steps(checkpoint) >= wanted:
            return
        time.sleep(0.05)
    pytest.fail(f"no step {wanted} was saved (exit status {process.poll()})")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.checkpoint=nowhere", "nowhere: no such checkpoint"),
        ("data.train=missing.json", "missing.json: cannot be read"),
        ("train.max_epoch=1", "max_epoch"),
        ("trainer.precision=fp7", "precision=fp7"),
        ("--frobnicate", "--frobnicate: not a flag"),
    ],
)
def test_what_cannot_be_used_is_one_line(repo_root: Path, place: Path, override: str, says: str) -> None:
    done = subprocess.run(
        command(repo_root, place, "bad", override), cwd=place, capture_output=True, text=True, timeout=120
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and says in errors[0], done.stderr[-800:]
    assert "Traceback" not in done.stderr and not (place / "bad/out").exists()
