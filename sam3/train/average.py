"""The weights that are kept: a running mean over the steps, steadier than the last step's.

theta_mean <- decay * theta_mean + (1 - decay) * theta after every optimiser step (Polyak and Juditsky 1992,
"Acceleration of Stochastic Approximation by Averaging"; the exponential form as in Tarvainen and Valpola 2017).
"""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MeanWeights(WeightAveraging):
    """Validates with the mean and keeps what was validated; training goes on from the weights themselves.

    Lightning's own swaps back at the end of the validation epoch, before the best checkpoints are written, and
    checkpoints of weights alone would then not be what their figure was measured on. Here the mean stays until the
    next batch begins.

    Args:
        decay: in (0, 1): about 1 / (1 - decay) steps count.
    """

    def __init__(self, decay: float) -> None:
        def mean(held: Tensor, now: Tensor, _: Any) -> Tensor:
            return held.lerp(now, 1 - decay)  # exact where both are equal: what is frozen stays as it was

        # what is frozen has buffers that do not move, and integers cannot be averaged
        super().__init__(use_buffers=False, avg_fn=mean)
        self._shown = False

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the mean in place."""
        if self._average_model is not None and not self._shown:
            self._swap_models(pl_module)
            self._shown = True

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The mean stays, for the checkpoints that are written now."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mean and learning weights under their own names, whichever of them the module holds now."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._shown:
            one, other = "state_dict", "current_model_state"
            checkpoint[one], checkpoint[other] = checkpoint[other], checkpoint[one]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Back to the weights that learn."""
        self._back(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the mean in the module."""
        self._back(pl_module)
        super().on_train_end(trainer, pl_module)

    def _back(self, pl_module: L.LightningModule) -> None:
        if self._shown:
            self._swap_models(pl_module)
            self._shown = False
