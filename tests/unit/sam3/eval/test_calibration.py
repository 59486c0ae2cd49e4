"""Calibration of presence and the sweep over score thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.eval.calibration import calibrate
from sam3.eval.cgf1 import overlaps, score_overlaps
from sam3.eval.predictions import read_predictions
from sam3.eval.saco import read_ground_truth
from sam3.eval.sweep import SWEPT, best, sweep


@pytest.mark.parametrize(
    ("presence", "positive", "ece", "brier"),
    [
        ([1.0, 0.0], [True, False], 0.0, 0.0),
        ([0.0, 1.0], [True, False], 1.0, 1.0),
        ([0.5, 0.5], [True, False], 0.0, 0.25),
        ([0.8] * 4, [True, True, True, False], 0.05, 0.19),
    ],
)
def test_ece_and_brier(presence: list[float], positive: list[bool], ece: float, brier: float) -> None:
    result = calibrate(presence, positive)
    assert (result.ece, result.brier) == (pytest.approx(ece), pytest.approx(brier))


def test_bins_hold_every_pair_once_and_empty_ones_say_so() -> None:
    result = calibrate([0.0, 0.05, 0.95, 1.0], [False, False, True, True])
    assert [b.pairs for b in result.bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert result.bins[1].mean_presence is None
    assert (result.mean_on_negatives, result.mean_on_positives) == (
        pytest.approx(0.025),
        pytest.approx(0.975),
    )


def test_a_calibrated_model_has_a_small_error() -> None:
    rng = np.random.default_rng(1)
    presence = rng.random(20_000)
    assert calibrate(presence.tolist(), (rng.random(20_000) < presence).tolist()).ece < 0.02


@pytest.mark.parametrize(("presence", "positive"), [([], []), ([0.5], []), ([1.2], [True]), ([np.nan], [True])])
def test_what_is_no_probability_is_refused(presence: list[float], positive: list[bool]) -> None:
    with pytest.raises(BadInput):
        calibrate(presence, positive)


def test_the_sweep_passes_through_the_metric_and_finds_the_better_threshold(board) -> None:
    board.pair([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.9)])
    board.pair([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.8), ((30, 20, 5, 5), 0.3)])
    board.pair([], [((0, 0, 9, 9), 0.55)])
    board.pair()
    truth_path, predictions_path = board.write()
    truth = read_ground_truth(truth_path)
    by_pair = overlaps([truth], read_predictions(predictions_path, truth.pairs), "segm", min_score=0.05)
    points = sweep(by_pair)
    assert [p.threshold for p in points] == list(SWEPT)
    at_half = next(p for p in points if p.threshold == 0.5)
    assert at_half.cgf1 == score_overlaps(by_pair, "segm").cgf1
    assert best(points).threshold == 0.6
    assert [p.detections for p in points] == sorted((p.detections for p in points), reverse=True)
