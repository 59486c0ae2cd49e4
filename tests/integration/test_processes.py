"""Several processes train as one does, and a lost one costs nothing but time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from made_pairs import make_pairs, make_tiny, train_command

STEPS = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    make_pairs(folder / "pairs", 10)
    make_pairs(folder / "odd", 9)
    make_tiny(folder)
    return folder


def run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=280)


def curve(out: Path, column: str = "train/loss") -> list[float]:
    return [float(row[column]) for row in csv.DictReader((out / "out/metrics.csv").open()) if row.get(column)]


@pytest.mark.slow
def test_two_processes_lose_what_one_loses(repo_root: Path, place: Path) -> None:
    """sam3-lite, fp32, the same global batch of 4 (and short last ones), 20 steps: every loss within 1e-5."""
    curves, terms = {}, {}
    for processes in (1, 2):
        out = place / f"lite{processes}"
        more = [
            "train.batch_size=4",
            "train.max_epochs=7",
            "trainer.validate_every=7",
            "data.augment.blur=0.5",
            *(["trainer.threads=2"] if processes == 1 else ["--cpu-processes", "2"]),
        ]
        done = run(train_command(repo_root, place / "odd/pairs.json", "sam3-lite", out, *more), place)
        assert done.returncode == 0, done.stderr[-3000:]
        curves[processes] = curve(out)
        terms[processes] = [curve(out, f"train/{name}") for name in ("presence_negative", "mask", "giou")]
        assert json.loads((out / "out/training.json").read_text())["processes"] == processes
    assert len(curves[1]) >= STEPS
    difference = np.abs(np.array(curves[1][:STEPS]) - np.array(curves[2][:STEPS])) / np.array(curves[1][:STEPS])
    print("largest relative difference of the loss:", difference.max())
    assert difference.max() < 1e-5
    for one, two in zip(terms[1], terms[2], strict=True):
        np.testing.assert_allclose(two[:STEPS], one[:STEPS], rtol=1e-3)
    assert curve(place / "lite1", "val/cgf1") == pytest.approx(curve(place / "lite2", "val/cgf1"), abs=1e-6)


def settings(*more: str) -> list[str]:
    return ["train.batch_size=2", "train.max_epochs=6", "trainer.validate_every=3", *more]


@pytest.fixture(scope="module")
def whole(repo_root: Path, place: Path) -> Path:
    """A run of one process that nothing happened to."""
    done = run(
        train_command(repo_root, place / "pairs/pairs.json", place / "tiny", place / "whole", *settings()), place
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return place / "whole"


@pytest.mark.slow
def test_a_killed_process_costs_no_step(repo_root: Path, place: Path, whole: Path) -> None:
    pairs, tiny = place / "pairs/pairs.json", place / "tiny"
    process = subprocess.Popen(
        train_command(repo_root, pairs, tiny, place / "killed", *settings("--cpu-processes", "2")),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    os.kill(rank(process, 1, place / "killed/run/last.ckpt", 6), signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0 and "a process was lost; going on from the last checkpoint (1 of 3)" in output
    one = torch.load(whole / "run/last.ckpt", weights_only=True)
    other = torch.load(place / "killed/run/last.ckpt", weights_only=True)
    assert one["global_step"] == other["global_step"] == 30
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert curve(whole, "val/cgf1")[-1] == pytest.approx(curve(place / "killed", "val/cgf1")[-1], abs=1e-6)


def rank(process: subprocess.Popen[str], number: int, checkpoint: Path, step: int) -> int:
    """Pid of a rank, once the run has saved a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if checkpoint.is_file() and torch.load(checkpoint, weights_only=True)["global_step"] >= step:
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.environ().get("RANK") == str(number):
                    return child.pid
        time.sleep(0.05)
    pytest.fail(f"no rank {number} at step {step} (exit status {process.poll()})")


@pytest.mark.slow
def test_what_a_process_refuses_is_said_once_and_not_tried_again(repo_root: Path, place: Path) -> None:
    make_pairs(place / "broken", 4)
    (place / "broken/3.png").write_bytes(b"no picture")
    command = train_command(
        repo_root, place / "broken/pairs.json", place / "tiny", place / "refused", *settings("--cpu-processes", "2")
    )
    done = run(command, place)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: process ")]
    assert done.returncode == 1 and len(errors) == 1 and "3.png" in errors[0], done.stderr[-1500:]
    assert "going on" not in done.stdout


@pytest.mark.slow
def test_told_to_stop_it_saves_the_step_and_goes_on_from_there_on_two_processes(
    repo_root: Path, place: Path, whole: Path
) -> None:
    pairs, out = place / "pairs/pairs.json", place / "stopped"
    command = train_command(repo_root, pairs, place / "tiny", out, *settings("trainer.save_every=4"))
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out / "run/last.ckpt").is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "SIGTERM: step" in output
    step = torch.load(out / "run/last.ckpt", weights_only=True)["global_step"]
    assert f"SIGTERM: step {step} saved" in output and step < 30
    assert run([*command, "--cpu-processes", "2"], place).returncode == 0
    assert json.loads((out / "run/progress.json").read_text())["step"] == 30
    # every step once, those before the signal too; the same pairs in the same order, however many share them
    np.testing.assert_allclose(curve(out), curve(whole), rtol=1e-3)
