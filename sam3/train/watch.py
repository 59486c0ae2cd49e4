"""Warnings in words while a model trains: what the curves say before anybody looks at them."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Any

import lightning as L

WINDOW = 60  # steps
FLAT = 0.02  # relative change of the presence loss over a window below which it is called flat
LEARNT = 0.35  # half of what guessing costs (ln 2); below it the model knows more than that
AGAIN = 0.9  # a second warning only once the loss has fallen to this share of the level of the first
SPIKE = 10.0  # times the median gradient norm


class Watch(L.Callback):
    """Says when presence does not learn, and when gradients spike.

    Messages go to `say` (the progress bar's print by default) once per episode, and stay in `said`.
    """

    def __init__(self, say: Any = None) -> None:
        self.presence: deque[float] = deque(maxlen=2 * WINDOW)
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.said: list[str] = []
        self._warned_at: float | None = None
        self._say = say

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Look at the figures logged in this step."""
        logged = trainer.callback_metrics
        for message in self.look(
            trainer.global_step, _number(logged.get("train/presence")), _number(logged.get("train/grad_norm"))
        ):
            self.said.append(message)
            (self._say or print)(message)

    def look(self, step: int, presence: float | None, norm: float | None) -> list[str]:
        """What there is to say after a step."""
        messages = []
        if norm is not None:
            if len(self.norms) == WINDOW and norm > SPIKE * statistics.median(self.norms):
                messages.append(
                    f"step {step}: gradient norm {norm:.3g}, {norm / statistics.median(self.norms):.0f} times the usual. "
                    "If it repeats, lower optimizer.learning_rate or look for broken labels."
                )
            self.norms.append(norm)
        if presence is not None:
            self.presence.append(presence)
            messages += self._look_flat(step)
        return messages

    def _look_flat(self, step: int) -> list[str]:
        if len(self.presence) < 2 * WINDOW:
            return []
        values = list(self.presence)
        before, now = statistics.fmean(values[:WINDOW]), statistics.fmean(values[WINDOW:])
        flat = now > LEARNT and (before - now) < FLAT * before
        if not flat or (self._warned_at is not None and now > AGAIN * self._warned_at):
            return []
        self._warned_at = now
        return [
            f"step {step}: presence loss is flat at {now:.2f} for {WINDOW} steps. The model is not learning whether the "
            "concept is there: check that negatives are really without it, or raise loss.presence_loss_weight."
        ]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
