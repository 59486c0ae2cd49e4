"""Intervals hold what they promise, and a gain is judged on the same pairs."""

from __future__ import annotations

import numpy as np
import pytest
from counted_calls import calls_of

from sam3.errors import BadInput
from sam3.eval.bootstrap import intervals, paired_gain, resample_weights
from sam3.eval.cgf1 import CgF1
from sam3.eval.matching import Match, PairScore


def population(pairs: int, skill: float, seed: int) -> CgF1:
    """Half negatives; a positive is found, and a negative left alone, with probability `skill`."""
    rng = np.random.default_rng(seed)
    scores = []
    for i in range(pairs):
        right = rng.random() < skill
        if i % 2:
            scores.append(PairScore(i, 0, int(not right)))
        else:
            found = (Match(i, i, float(rng.uniform(0.5, 1))),) if right else ()
            scores.append(PairScore(i, 1, int(right), found))
    return CgF1("segm", tuple(scores))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = population(40_000, 0.8, seed=1).cgf1
    covered = [
        interval.low <= truth <= interval.high
        for seed in range(60)
        for interval in [intervals(population(120, 0.8, seed=100 + seed), resamples=300, seed=seed).cgf1]
    ]
    assert 0.85 <= np.mean(covered) <= 1.0


def test_the_value_is_the_metric_and_lies_inside() -> None:
    score = population(200, 0.7, seed=3)
    result = intervals(score, resamples=500, seed=1)
    assert result.cgf1.value == score.cgf1
    assert result.cgf1.low < result.cgf1.value < result.cgf1.high
    assert set(result.to_json()) == {"cgF1", "pmF1", "IL_MCC", "resamples", "confidence"}


def test_a_seed_gives_the_same_interval_twice() -> None:
    score = population(100, 0.7, seed=3)
    assert intervals(score, resamples=150, seed=5) == intervals(score, resamples=150, seed=5)
    assert intervals(score, resamples=150, seed=5) != intervals(score, resamples=150, seed=6)


def test_a_resample_draws_as_many_pairs_as_there_are() -> None:
    weights = np.concatenate(list(resample_weights(7, 250, seed=1)))
    assert weights.shape == (250, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_pairs_of_a_group_are_drawn_together() -> None:
    weights = np.concatenate(list(resample_weights(5, 50, groups=["a", "b", "a", "b", "c"], seed=1)))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 3]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 4] == 3).all()


@pytest.mark.parametrize(("better", "low", "high"), [(0.95, 0.99, 1.0), (0.6, 0.0, 0.6)])
def test_the_probability_of_a_gain(better: float, low: float, high: float) -> None:
    gain = paired_gain(population(300, 0.6, seed=1), population(300, better, seed=1), resamples=300)
    assert low <= gain.probability <= high
    assert gain.outside_noise == (better > 0.6)


def test_no_gain_over_itself() -> None:
    score = population(50, 0.6, seed=1)
    gain = paired_gain(score, score, resamples=100)
    assert (gain.gain.value, gain.gain.low, gain.gain.high, gain.probability) == (0, 0, 0, 0)


def test_different_pairs_are_refused() -> None:
    with pytest.raises(BadInput, match="different pairs"):
        paired_gain(population(50, 0.6, seed=1), population(60, 0.6, seed=1))


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(BadInput, match="0 pairs"):
        list(resample_weights(0, 10))


def test_a_resample_does_not_walk_over_the_pairs() -> None:
    """`benchmarks/cgf1_scale.py` has the seconds for 1,000 resamples of 10,000 pairs."""
    score = population(10_000, 0.7, seed=1)
    intervals(score, resamples=1)  # imports
    few, more = (calls_of(lambda n=n: intervals(score, resamples=n)) for n in (10, 60))
    assert (more - few) / 50 < 1_000
