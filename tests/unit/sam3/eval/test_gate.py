"""The verdict on negatives and the gate in front of production."""

from __future__ import annotations

import pytest

from sam3.errors import BadInput
from sam3.eval.cgf1 import CgF1
from sam3.eval.compare import decide
from sam3.eval.matching import Match, PairScore
from sam3.eval.negatives import NegativeLimits, NegativesVerdict, judge_negatives

LIMITS = NegativeLimits(min_pass_rate=0.9, max_mean_presence=0.1, fail_mean_presence=0.5)


def negatives(noisy: int, total: int = 100) -> list[PairScore]:
    return [PairScore(i, 0, 2 if i < noisy else 0) for i in range(total)]


@pytest.mark.parametrize(
    ("noisy", "presence", "status", "advice"),
    [
        (0, 0.01, "pass", "all is well"),
        (9, 0.09, "pass", "all is well"),
        (10, 0.09, "fail", "add pictures like them"),
        (0, 0.1, "doubtful", "hesitates"),
        (0, 0.5, "doubtful", "hesitates"),
        (0, 0.51, "fail", "Raise loss.focal_loss_weight"),
        (100, 0.9, "fail", "Raise loss.focal_loss_weight"),
    ],
)
def test_the_verdict_on_negatives(noisy: int, presence: float, status: str, advice: str) -> None:
    verdict = judge_negatives(negatives(noisy), dict.fromkeys(range(100), presence), LIMITS)
    assert (verdict.status, verdict.passed) == (status, status == "pass")
    assert advice in verdict.advice
    assert (verdict.detections, verdict.pass_rate) == (2 * noisy, pytest.approx(1 - noisy / 100))
    assert verdict.mean_presence == pytest.approx(presence)


def test_positive_pairs_are_no_part_of_the_verdict() -> None:
    pairs = [*negatives(0), PairScore(500, 1, 1, (Match(0, 0, 0.9),))]
    assert judge_negatives(pairs, dict.fromkeys(range(100), 0.0), LIMITS).pairs == 100


@pytest.mark.parametrize("pairs", [[], [PairScore(1, 1, 0)]])
def test_no_negatives_is_refused(pairs: list[PairScore]) -> None:
    with pytest.raises(BadInput, match="no negative pairs"):
        judge_negatives(pairs, {}, LIMITS)


def test_a_negative_without_presence_is_refused() -> None:
    with pytest.raises(BadInput, match="pair 0 has no presence"):
        judge_negatives(negatives(0), {}, LIMITS)


def model(hits: int, alarms: int = 0, pairs: int = 40) -> CgF1:
    """`pairs` positives, `hits` of them found exactly, and as many negatives with `alarms` detections."""
    scores = [PairScore(i, 1, 1, (Match(i, i, 1.0),)) for i in range(hits)]
    scores += [PairScore(i, 1, 0) for i in range(hits, pairs)]
    scores += [PairScore(1000 + i, 0, int(i < alarms)) for i in range(pairs)]
    return CgF1("segm", tuple(scores))


def clean(pass_rate: float = 1.0) -> NegativesVerdict:
    return NegativesVerdict(100, 0, pass_rate, 0.05, "pass", "all is well")


@pytest.mark.parametrize(
    ("baseline", "candidate", "pass_rate", "passed", "said"),
    [
        (model(20), model(38), 1.0, True, "enough"),
        (model(20), model(20), 1.0, False, "not enough"),
        (model(38), model(20), 1.0, False, "not enough"),
        (model(20), model(38), 0.9, False, "90.0% of 100 negatives have no detection: not enough"),
        (model(0), model(1), 0.95, True, "the baseline is 0"),
        (model(0), model(0), 0.95, False, "the baseline is 0"),
    ],
)
def test_the_gate(baseline: CgF1, candidate: CgF1, pass_rate: float, passed: bool, said: str) -> None:
    decision = decide(baseline, candidate, clean(pass_rate), min_relative_gain=0.05, min_pass_rate=0.9, resamples=50)
    assert decision.passed == passed
    assert said in " ".join(decision.reasons)
    assert decision.to_json()["gate"]["passed"] == passed


def test_a_gain_of_exactly_the_limit_is_not_more_than_the_limit() -> None:
    old, new = model(20), model(30)
    limit = (new.cgf1 - old.cgf1) / old.cgf1
    options = {"min_pass_rate": 0.9, "resamples": 20}
    assert not decide(old, new, clean(), min_relative_gain=limit + 1e-12, **options).passed
    assert decide(old, new, clean(), min_relative_gain=limit - 1e-9, **options).passed


def test_the_order_of_pairs_does_not_matter() -> None:
    old, new = model(20), model(35)
    turned = CgF1("segm", tuple(reversed(new.pairs)))
    options = {"min_relative_gain": 0.05, "min_pass_rate": 0.9, "resamples": 30}
    assert decide(old, new, clean(), **options) == decide(old, turned, clean(), **options)


def test_chance_is_mentioned_when_it_could_explain_the_gain() -> None:
    decision = decide(model(20), model(22), clean(), min_relative_gain=0.01, min_pass_rate=0.9, resamples=400)
    assert "interval of the gain" in decision.notes[0]


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (model(20, pairs=41), "2 are in one only, e.g. 40 in candidate"),
        (CgF1("segm", (PairScore(0, 2, 0), *model(20).pairs[1:])), "pair 0 has 1 and 2 annotations"),
    ],
)
def test_different_pairs_are_not_compared(candidate: CgF1, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        decide(model(20), candidate, clean(), min_relative_gain=0.05, min_pass_rate=0.9)
