"""Training steps of `DetectorModule`, and cgF1 over the validation pairs; phrases are encoded once where they can be."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sam3.detector import Grounding, Words
from sam3.eval.matching import Match, PairScore
from sam3.train.losses import detection_loss
from sam3.train.module import DetectorModule
from sam3.train.quality import pair_scores, summarise
from sam3.train.targets import PairBatch
from sam3.train.world import alone, gather_rows


class FineTuning(DetectorModule):
    """Fine-tuning of a detector, measured on validation pairs.

    Attributes:
        keep_words: what a frozen text encoder leaves of a phrase is kept in memory.
    """

    keep_words = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phrases: dict[tuple[int, ...], Tensor] = {}
        self._scores: list[PairScore] = []
        self._terms: list[tuple[str, float, int]] = []

    def words(self, batch: PairBatch) -> Words:
        """The phrases of the batch; with `keep_words` each goes through the text encoder once in the run."""
        if not self.keep_words or "text_encoder" not in self.frozen:
            return super().words(batch)
        keys = [tuple(row[seen.bool()].tolist()) for row, seen in zip(batch.ids.cpu(), batch.mask.cpu(), strict=True)]
        fresh = {key: at for at, key in enumerate(keys) if key not in self._phrases}
        if fresh:
            rows = list(fresh.values())
            with torch.no_grad():
                encoded = self.model.text_encoder(input_ids=batch.ids[rows], attention_mask=batch.mask[rows])
            for key, states in zip(fresh, encoded.last_hidden_state, strict=True):
                self._phrases[key] = states[: len(key)].clone()
        states = pad_sequence([self._phrases[key] for key in keys], batch_first=True)
        return Words(self.model.text_projection(states), batch.mask[:, : states.shape[1]].bool())

    def on_validation_epoch_start(self) -> None:
        """Forget the pairs of the last validation."""
        self._scores, self._terms = [], []

    def validation_step(self, batch: PairBatch, _: int) -> None:
        """Loss terms and pair scores of held-out pairs."""
        found: Grounding = self(batch)
        with alone():
            loss, terms = detection_loss(self.model, found, batch, self.loss_config)
        values = {"loss": loss, **terms}
        self._terms += [(name, float(value), len(batch)) for name, value in values.items() if math.isfinite(value)]
        self._scores += pair_scores(self.model, found, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the terms, cgF1, pmF1 and IL_MCC over the pairs of all processes."""
        terms: dict[str, list[tuple[float, int]]] = {}
        for name, value, count in gather_rows([list(row) for row in self._terms], self.device):
            terms.setdefault(name, []).append((value, count))
        for name, rows in terms.items():
            mean = sum(value * count for value, count in rows) / sum(count for _, count in rows)
            self.log(f"val/{name}", mean, prog_bar=name == "loss")
        scores = [read_score(row) for row in gather_rows([asdict(score) for score in self._scores], self.device)]
        # in the order of the file, so that the same pairs give the same sums on any number of processes
        scores.sort(key=lambda score: score.image_id)
        for name, value in summarise(scores).items():
            self.log(f"val/{name}", value, prog_bar=name == "cgf1")


def read_score(row: dict[str, Any]) -> PairScore:
    """A `PairScore` from the row another process sent."""
    return PairScore(**{**row, "matches": tuple(Match(**match) for match in row["matches"])})
