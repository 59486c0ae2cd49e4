"""A version with a share of the traffic: who goes where, and what sends it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, cycle, repeat
from pathlib import Path

import numpy as np
import pytest

from sam3.errors import Unavailable
from sam3.triton.canary import Side, Sides, fraction, unit_of
from sam3.triton.meters import PRESENCE_EDGES
from sam3_agent.loop_settings import CanaryLimits, load_loop
from sam3_agent.serving.canary import watch
from sam3_agent.serving.readings import MetricsPage, Reading, judge, read_metrics

OLD, NEW = Side("sam3", 1, "a" * 64), Side("sam3_candidate", 2, "b" * 64, 0.1)
UNITS = [f"picture {at}" for at in range(4000)]


@pytest.fixture
def limits(repo_root: Path) -> CanaryLimits:
    return load_loop(repo_root / "configs/loop.yaml").canary.model_copy(update={"seconds": 10.0, "every": 1.0})


def reading(requests: int = 1000, failed: int = 0, presence: float = 0.5, us: float = 1000.0, **more: float) -> Reading:
    """All pairs in one bin of presence but a tenth, which is spread."""
    counts = np.zeros(len(PRESENCE_EDGES))
    counts[np.searchsorted(PRESENCE_EDGES, presence)] = 0.9 * requests
    counts += 0.1 * requests / len(counts)
    stages = {"image_encoder": us, "decoder": us / 2}
    return Reading(
        requests - failed, failed, requests, tuple(np.cumsum(counts)),
        {stage: value * requests for stage, value in stages.items()}, dict.fromkeys(stages, float(requests)),
    )  # fmt: skip


def test_the_share_is_kept_and_a_unit_stays_on_its_side() -> None:
    sides = Sides(OLD, NEW)
    mine = [unit for unit in UNITS if sides.of(unit) == NEW]
    assert len(mine) == pytest.approx(400, abs=60)
    assert mine == [unit for unit in UNITS if sides.of(unit) == NEW]
    half = Sides(OLD, Side("sam3_candidate", 2, "b" * 64, 0.5))
    assert all(half.of(unit).version == 2 for unit in mine)  # type: ignore[union-attr]
    assert {fraction(unit, 2) == fraction(unit, 3) for unit in UNITS} == {False}  # another trial, other units


def test_a_picture_is_known_by_its_content_and_shape() -> None:
    one = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert unit_of(one) == unit_of(one.copy())
    assert len({unit_of(one), unit_of(one.reshape(4, 2, 3)), unit_of(one + 1)}) == 3


def test_sides_say_who_they_are() -> None:
    assert Sides(OLD, NEW).name == "version 1 (aaaaaaaaaaaa) + 0.1 of version 2 (bbbbbbbbbbbb)"
    assert Sides().name == "" and Sides().of("x") is None


def test_the_same_is_fine(limits: CanaryLimits) -> None:
    assert judge(reading(), reading(200), limits).state == "fine"


@pytest.mark.parametrize(
    ("tried", "word"),
    [
        (reading(200, failed=20), "too many"),
        (Reading(failed=6), "too many"),  # nothing but errors needs no hundred requests
        (reading(200, us=1400.0), "above 1.3"),
        (reading(200, presence=0.9), "it has drifted"),
    ],
)
def test_what_sends_a_version_back(limits: CanaryLimits, tried: Reading, word: str) -> None:
    verdict = judge(reading(), tried, limits)
    assert verdict.state == "back" and word in " ".join(verdict.reasons)


def test_a_shift_that_promotion_measured_sends_nothing_back_and_more_than_it_does(limits: CanaryLimits) -> None:
    finds_more = reading(200, presence=0.9)  # nine in ten pictures moved
    assert judge(reading(), finds_more, limits.chosen(None, None, 0.7)).state == "back"
    trial = limits.chosen(0.5, None, 0.8)
    assert judge(reading(), finds_more, trial).state == "fine"
    assert (trial.share, trial.seconds, trial.max_presence_shift) == (0.5, 10.0, pytest.approx(0.95))
    assert limits.chosen(None, 3.0, 0.95).max_presence_shift == 1.0


@pytest.mark.parametrize(
    "tried", [reading(40, us=9999.0, presence=0.9), reading(200, failed=1), reading(120, us=1250.0)]
)
def test_little_traffic_and_small_differences_send_nothing_back(limits: CanaryLimits, tried: Reading) -> None:
    assert judge(reading(), tried, limits).state in ("wait", "fine")


def test_a_few_new_pictures_among_many_that_are_remembered_tell_nothing_of_presence(limits: CanaryLimits) -> None:
    """Requests answered from memory are requests and no pairs."""
    few = reading(8, presence=0.1)
    remembered = Reading(992, 0, 0, (), {}, {})
    stable = Reading(few.answered + remembered.answered, 0, 8, few.presence, reading().stage_us, reading().stage_runs)
    verdict = judge(stable, reading(136, presence=0.9), limits)
    assert verdict.state == "fine" and "8 pairs" in verdict.reasons[-1]


def test_a_shift_is_judged_by_the_number_of_pairs_that_show_it(limits: CanaryLimits) -> None:
    some = limits.model_copy(update={"min_requests": 3})
    few, many = (judge(reading(count), reading(4 * count, presence=0.9), some) for count in (3, 50))
    assert (few.state, many.state) == ("fine", "back")


def test_a_model_that_was_loaded_anew_counts_from_zero() -> None:
    assert reading(50).since(reading(200)) == reading(50)
    assert reading(200).since(reading(50)).answered == 150


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_watch_ends_early_when_the_version_must_go_back_and_in_time_otherwise(limits: CanaryLimits) -> None:
    clock, looks = Clock(), []

    def look() -> tuple[Reading, Reading]:
        looks.append(clock.now)
        grown = 100 * (len(looks) - 1)
        return reading(1000 + grown), reading(1000 + grown, failed=0 if len(looks) < 4 else grown // 2)

    assert watch(look, limits, clock=clock, sleep=clock.sleep).state == "back"
    assert clock.now < limits.seconds

    clock, start = Clock(), iter(range(10**6))
    fine = watch(lambda: (lambda n: (reading(100 + 50 * n), reading(100 + 50 * n)))(next(start)), limits,
                 clock=clock, sleep=clock.sleep)  # fmt: skip
    assert fine.state == "fine" and clock.now == limits.seconds


def slow_looks(factors: Iterator[float]) -> Callable[[], tuple[Reading, Reading]]:
    """Fifty requests of each between two looks; the new version takes so many times the time."""
    total = [reading(0), reading(0)]

    def look() -> tuple[Reading, Reading]:
        for side, us in enumerate((1000.0, 1000.0 * next(factors))):
            more, old = reading(50, us=us), total[side]
            total[side] = Reading(
                old.answered + 50, 0, old.pairs + 50, tuple(np.add(old.presence, more.presence)),
                {stage: old.stage_us[stage] + more.stage_us[stage] for stage in more.stage_us},
                {stage: old.stage_runs[stage] + 50 for stage in more.stage_us},
            )  # fmt: skip
        return total[0], total[1]

    return look


@pytest.mark.parametrize(("factors", "state", "until"), [
    (chain([1.0, 6.0, 1.0, 3.0], repeat(0.9)), "fine", 30.0),  # a machine that was busy twice
    (chain([1.0, 40.0], repeat(1.0)), "fine", 30.0),  # once, and so much that the mean is above the limit
    (repeat(1.5), "back", 10.0),  # as soon as there are looks enough
    (cycle([1.0, 2.5]), "back", 30.0),  # on the whole
])  # fmt: skip
def test_a_busy_second_sends_nothing_back_and_a_slow_version_goes(
    limits: CanaryLimits, factors: Iterator[float], state: str, until: float
) -> None:
    clock, longer = Clock(), limits.model_copy(update={"seconds": 30.0})
    assert watch(slow_looks(factors), longer, clock=clock, sleep=clock.sleep).state == state
    assert clock.now <= until


def test_a_watch_of_few_looks_decides_by_the_last_that_succeeded_and_in_time(limits: CanaryLimits) -> None:
    clock, brief, looks = Clock(), limits.model_copy(update={"every": 4.0, "min_requests": 50}), slow_looks(repeat(1.5))

    def look() -> tuple[Reading, Reading]:
        clock.sleep(3.0)
        if clock.now > brief.seconds:
            raise Unavailable("no metrics")
        return looks()

    verdict = watch(look, brief, clock=clock, sleep=clock.sleep)
    assert verdict.state == "back" and "1.50 times" in verdict.reasons[1]
    assert clock.now <= brief.seconds + 3.0


def test_a_slow_decoder_is_seen_where_the_pictures_are_remembered(limits: CanaryLimits) -> None:
    """Then the image encoder hardly runs."""
    looked = [replace(reading(us=us), stage_runs={"image_encoder": 3.0, "decoder": 1000.0}) for us in (1000.0, 1500.0)]
    assert judge(looked[0], looked[1], limits).state == "back"


def test_a_model_that_hardly_ran_is_not_slow(limits: CanaryLimits) -> None:
    """All but one request were answered from memory."""
    once = reading(1, us=9000.0)
    tried = Reading(1000, 0, 1000, reading().presence, once.stage_us, once.stage_runs)
    verdict = judge(reading(), tried, limits)
    assert verdict.state == "fine" and "no stage of the model ran 100 times" in verdict.reasons[1]


def test_a_page_that_does_not_answer_is_no_verdict_but_a_version_that_is_gone_is_one(limits: CanaryLimits) -> None:
    def away() -> tuple[Reading, Reading]:
        raise Unavailable("no metrics")

    clock = Clock()
    assert watch(away, limits, clock=clock, sleep=clock.sleep).state == "wait"
    gone = watch(lambda: (reading(), reading()), limits, alive=lambda: False, clock=clock, sleep=clock.sleep)
    assert gone.state == "back" and "no longer served" in gone.reasons[0]


def test_metrics_without_a_server_say_what_to_do() -> None:
    with pytest.raises(Unavailable, match="--metrics"):
        read_metrics("http://127.0.0.1:9/metrics")


def test_a_page_is_read_by_model_and_version() -> None:
    rows = {
        ("nv_inference_request_success", frozenset({("model", "sam3"), ("version", "1")})): 7.0,
        ("nv_inference_request_failure", frozenset({("model", "sam3"), ("version", "1"), ("reason", "OTHER")})): 2.0,
        ("nv_inference_request_failure", frozenset({("model", "sam3"), ("version", "1"), ("reason", "REJECTED")})): 1.0,
        ("nv_inference_request_success", frozenset({("model", "sam3"), ("version", "2")})): 9.0,
    }
    one = MetricsPage(rows).of("sam3", 1)
    assert (one.answered, one.failed) == (7.0, 3.0)
