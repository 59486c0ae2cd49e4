"""What a step logs is that step's."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sam3.detector import Sam3Detector
from sam3.train.loss_config import LossConfig
from sam3.train.module import DetectorModule, OptimizerConfig
from sam3.train.targets import PairBatch


@pytest.fixture
def module(model: Sam3Detector) -> DetectorModule:
    return DetectorModule(model, LossConfig(), OptimizerConfig(), total_steps=2, frozen=())


@pytest.fixture
def rows(module: DetectorModule, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What the module logs from now on."""
    said: list[dict[str, float]] = []
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    monkeypatch.setattr(module, "log_dict", lambda row, **_: said.append(row))
    return said


def without_objects(batch: PairBatch) -> PairBatch:
    return replace(batch, boxes=[row[:0] for row in batch.boxes], masks=[row[:0] for row in batch.masks])


def test_a_term_that_a_batch_lacks_is_logged_as_lacking(
    module: DetectorModule, batch: PairBatch, rows: list[dict[str, float]]
) -> None:
    module.training_step(batch, 0)
    module.training_step(without_objects(batch), 1)  # nothing to draw, no positive's presence
    assert set(rows[1]) == set(rows[0])
    lacking = {name for name, value in rows[1].items() if math.isnan(value)}
    assert lacking == {"train/mask", "train/dice", "train/presence_positive"}
    assert all(math.isfinite(value) for value in rows[0].values())


def test_validation_counts_only_what_a_batch_has(
    module: DetectorModule, batch: PairBatch, rows: list[dict[str, float]]
) -> None:
    module.validation_step(without_objects(batch), 0)
    assert rows and all(math.isfinite(value) for value in rows[0].values())
