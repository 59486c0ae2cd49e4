"""`last.ckpt`: what a run goes on from. Written so that a kill at any moment costs time and nothing else.

Lightning holds a validation for done once a checkpoint of its step exists, whether or not it ran: where one is due,
the step is therefore saved after it and after the best checkpoints it makes, which is why this comes last of all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from sam3.train.stop import StopInTime


class LastCheckpoint(Checkpoint):
    """Saves the state of a run every so many steps, after each validation, and when the run is told to stop.

    Args:
        path: the checkpoint that a resumed run starts from. every: optimiser steps; 0: only when told to stop.
        stop: who knows whether the run was told to.
    """

    def __init__(self, path: Path, every: int, stop: StopInTime) -> None:
        self.path, self.every, self.stop = path, every, stop

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Save, unless a validation of this step comes first."""
        if trainer.fit_loop._should_accumulate():
            return
        asked = self.stop.asked_of_any(trainer, module)
        if validation_is_due(trainer):
            return
        if asked:
            trainer.limit_val_batches = 0  # Lightning would validate before it stops, where nothing is due
        if asked or (self.every and trainer.global_step % self.every == 0):
            self._save(trainer, asked)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save what was validated; somebody may have asked in the meantime."""
        if trainer.fit_loop._should_accumulate():
            return  # gradients that are half gathered are in no checkpoint: the step is run again
        asked = self.stop.asked_of_any(trainer, module)
        if asked or self.every:
            self._save(trainer, asked)

    def _save(self, trainer: L.Trainer, asked: bool) -> None:
        for logger in trainer.loggers:
            logger.save()  # rows that wait in memory belong to steps that are not run again
        trainer.save_checkpoint(self.path)
        if asked:
            self.stop.now(trainer, self.path)


def validation_is_due(trainer: L.Trainer) -> bool:
    """Whether Lightning validates after the batch that has just ended."""
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return trainer.enable_validation and batches % int(trainer.val_check_batch or 1) == 0
