"""A run that dies around a validation, or is told to stop, ends as the run that nothing happened to."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_pairs import make_place, train_command

DUE = 15  # the step after which the first validation is due, and which `save_every` divides
# dies, as by kill -9, when it begins to validate, when that is over, or right after it has written a file; or gets a
# signal after step 4, which is in the middle of everything
WORSE = f"""
import fnmatch, os, runpy, signal, sys
from pathlib import Path
from sam3.train.fine_tuning import FineTuning
from sam3.train.heartbeat import Heartbeat
from sam3.train.last import LastCheckpoint
from sam3.train.saving import WholeCheckpoints

moment = sys.argv.pop(1)
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
write = WholeCheckpoints.save_checkpoint

def save_checkpoint(self, checkpoint, path, storage_options=None):
    write(self, checkpoint, path, storage_options)
    if fnmatch.fnmatch(Path(path).name, moment) and checkpoint["global_step"] == {DUE}:
        die()

WholeCheckpoints.save_checkpoint = save_checkpoint
if moment == "validation":
    FineTuning.validation_step = lambda *_: die()
if moment == "validated":
    over = LastCheckpoint.on_validation_end
    LastCheckpoint.on_validation_end = lambda *given: (over(*given), die())
if moment.isdigit():
    Heartbeat.on_train_batch_end = lambda _, trainer, *__: trainer.global_step == 4 and os.kill(os.getpid(), int(moment))
del sys.argv[0]  # "-c"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("resume"), 10)


def command(repo_root: Path, place: Path, name: str, *more: str) -> list[str]:
    return train_command(
        repo_root, place / "pairs/pairs.json", place / "tiny", place / name, "train.batch_size=2", "train.max_epochs=4",
        "trainer.validate_every=3", "trainer.mean_decay=0.9", *more,
    )  # fmt: skip


def run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200)


def worse(command: list[str], moment: str) -> list[str]:
    """The command, in a process to which something happens at a moment (`WORSE`)."""
    return [command[0], "-c", WORSE, moment, *command[1:]]


@pytest.fixture(scope="module")
def whole(repo_root: Path, place: Path) -> Path:
    done = run(command(repo_root, place, "whole"), place)
    assert done.returncode == 0, done.stderr[-2000:]
    return place / "whole"


def same(one: Path, other: Path) -> None:
    """Every row of the log, every kept checkpoint, the weights and the state of the run."""
    rows = [pd.read_csv(out / "out/metrics.csv").groupby("step").first() for out in (one, other)]
    columns = [name for name in rows[0] if name.startswith(("train/", "val/", "lr-"))]
    pd.testing.assert_frame_equal(rows[0][columns], rows[1][columns], atol=1e-5, rtol=1e-4)
    kept = [sorted(path.name for path in (out / "run").glob("*-*.ckpt")) for out in (one, other)]
    assert kept[0] == kept[1] != []
    for name in (*kept[0], "last.ckpt"):
        states = [torch.load(out / "run" / name, weights_only=True) for out in (one, other)]
        for part in ("state_dict", "current_model_state"):
            for key, value in states[0].get(part, {}).items():
                torch.testing.assert_close(states[1][part][key], value, atol=1e-5, rtol=1e-4, msg=f"{name} {key}")


@pytest.mark.slow
def test_killed_before_in_and_after_a_validation_nothing_of_it_is_missing(
    repo_root: Path, place: Path, whole: Path
) -> None:
    asked = command(repo_root, place, "killed")
    for moment in ("validation", f"loss-{DUE}-*", f"cgf1-{DUE}-*", "last.ckpt"):
        died = run(worse(asked, moment), place)
        assert died.returncode == -9, (moment, died.stderr[-2000:])
    done = run(asked, place)
    assert done.returncode == 0, done.stderr[-2000:]
    same(whole, place / "killed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "says"),
    [(signal.SIGTERM, 75, "step 4 saved"), (signal.SIGINT, 130, "the same command goes on")],
)
def test_told_to_stop_it_validates_nothing_that_was_not_due(
    repo_root: Path, place: Path, whole: Path, number: signal.Signals, status: int, says: str
) -> None:
    asked = command(repo_root, place, f"stopped{status}")
    stopped = run(worse(asked, str(int(number))), place)
    assert stopped.returncode == status and says in stopped.stdout + stopped.stderr, stopped.stderr[-2000:]
    assert not list((place / f"stopped{status}/run").glob("*-*.ckpt"))
    done = run(asked, place)
    assert done.returncode == 0, done.stderr[-2000:]
    same(whole, place / f"stopped{status}")


@pytest.mark.slow
def test_killed_around_a_validation_between_gathered_gradients(repo_root: Path, place: Path) -> None:
    """Two batches a step and an uneven number before the validation: half a step is in no checkpoint."""
    outs = [command(repo_root, place, name, "train.accumulate=2") for name in ("gathered", "gathered_killed")]
    assert run(outs[0], place).returncode == 0
    for moment in ("validation", "validated"):
        assert run(worse(outs[1], moment), place).returncode == -9
    assert run(outs[1], place).returncode == 0
    same(place / "gathered", place / "gathered_killed")
