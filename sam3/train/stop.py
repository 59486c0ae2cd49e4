"""A run that is told to stop saves the step it has reached, and goes on from there when SLURM starts it again.

SLURM says SIGTERM before it preempts or cancels a job, and SIGUSR2 (which submitit asks for) some time before the
time limit. All processes agree on the step after which they stop (`sam3.train.last` saves it); the first has the job
requeued, unless somebody cancelled it. Outside SLURM the signals only save and stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment

from sam3.train.world import any_of_us, place

STOPPED = 75  # exit status: try again later (sysexits.h)
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class StopInTime(L.Callback):
    """Takes the signals of a run, and knows whether it was told to stop, and whether it has."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self.stopped = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take the signals over from Lightning and submitit, which would not wait for the end of a step."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def asked_of_any(self, trainer: L.Trainer, module: L.LightningModule) -> bool:
        """Whether any process was told to stop while steps are left; every process has to ask."""
        return any_of_us(self.asked is not None, module.device) and trainer.global_step < trainer.max_steps

    def now(self, trainer: L.Trainer, saved: Path) -> None:
        """End the training after this step, which was saved."""
        trainer.should_stop = self.stopped = True
        if trainer.is_global_zero:
            print(f"{self.asked or 'a signal'}: step {trainer.global_step} saved in {saved}", flush=True)

    def leave(self) -> None:
        """End the process if the run was stopped; under SLURM the job is requeued first.

        Raises:
            SystemExit: with status `STOPPED`.
        """
        if not self.stopped:
            return
        if "SLURM_JOB_ID" in os.environ and job_state() in ("RUNNING", "PREEMPTED", "SUSPENDED"):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # SLURM ends the job itself, and need not wait for us
            if place().first:
                requeue()
            time.sleep(60)  # leaving first would look like a failure
        sys.exit(STOPPED)

    def _note(self, number: int, _: Any) -> None:
        self.asked = signal.Signals(number).name


def job_state() -> str:
    """What SLURM says of the job this process belongs to; empty when it does not answer."""
    command = ["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return next((word.split("=", 1)[1] for word in done.stdout.split() if word.startswith("JobState=")), "")


def requeue() -> None:
    """Have the job run again; it is pending afterwards."""
    done = subprocess.run(
        ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        print(f"scontrol requeue: {done.stderr.strip()}", file=sys.stderr, flush=True)


def environments() -> list[Any]:
    """Who starts processes, for Lightning: SLURM without its own requeueing, torchrun, or nobody."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return []
    return [SLURMEnvironment(auto_requeue=False) if place().size > 1 else LightningEnvironment()]
