"""How far a run is, in a file that anybody may read: `progress.json` in its work folder, at most once a second.

The follower of a cluster job shows it as a progress bar; a person may `cat` it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import lightning as L

from sam3.files import write_json

PROGRESS = "progress.json"
EVERY = 1.0  # seconds


class Heartbeat(L.Callback):
    """Writes step, total, loss and samples a second of a run; the first process does."""

    def __init__(self, path: Path, total: int, batch_size: int) -> None:
        self.path, self.total, self.batch_size = path, total, batch_size
        self._written, self._begun, self._first = 0.0, 0.0, 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self._begun, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Write, if the last time is long enough ago."""
        now = time.monotonic()
        if trainer.is_global_zero and (now - self._written > EVERY or trainer.global_step >= self.total):
            self._written = now
            done = trainer.global_step - self._first
            rate = done * self.batch_size * trainer.accumulate_grad_batches / max(now - self._begun, 1e-9)
            loss = trainer.callback_metrics.get("train/loss")
            row = {
                "step": trainer.global_step,
                "of": self.total,
                "loss": None if loss is None else round(float(loss), 5),
                "samples_per_second": round(rate, 2),
                "processes": trainer.world_size,
                "job": os.environ.get("SLURM_JOB_ID"),
                "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
            }
            write_json(self.path, json.loads(json.dumps(row)))
