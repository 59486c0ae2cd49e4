"""The gate: intervals decide, not means; no slice is lost; the reasons say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.eval.cgf1 import CgF1
from sam3.eval.matching import Match, PairScore
from sam3.files import write_json
from sam3_agent.loop_settings import Promotion, load_loop
from sam3_agent.promotion.gate import Trial, decide
from sam3_agent.promotion.latency import LatencyRatio, ratio_of, timed
from sam3_agent.promotion.slices import judge, slices_of


@pytest.fixture
def rules(repo_root: Path) -> Promotion:
    return load_loop(repo_root / "configs/loop.yaml").promotion.model_copy(update={"resamples": 300})


def scored(quality: dict[int, float], pairs: int = 80, alarms: frozenset[int] = frozenset()) -> CgF1:
    """Even pairs show one instance, found with the IoU in `quality` (0.8 when not said); odd ones show nothing."""
    made = []
    for at in range(pairs):
        if at % 2:
            made.append(PairScore(at, 0, int(at in alarms)))
        else:
            iou = quality.get(at, 0.8)
            made.append(PairScore(at, 1, int(iou > 0), (Match(0, at, iou),) if iou > 0 else ()))
    return CgF1("segm", tuple(made))


def noisy(mean: float, seed: int) -> CgF1:
    rng = np.random.default_rng(seed)
    return scored({at: float(np.clip(rng.normal(mean, 0.12), 0.01, 0.99)) for at in range(80)})


EVEN = {"even": frozenset(range(0, 80, 2))}
LATENCY = LatencyRatio(1.0, 0.95, 1.05, 8, 10.0, 10.0)


def test_a_clear_gain_passes(rules: Promotion) -> None:
    decision = decide(Trial("validation", noisy(0.6, 1), noisy(0.85, 2)), rules, slices={}, latency=LATENCY)
    assert decision.passed, decision.reasons
    assert decision.gains["validation"].outside_noise


def test_a_gain_that_chance_explains_does_not(rules: Promotion) -> None:
    decision = decide(Trial("validation", noisy(0.7, 1), noisy(0.7, 9)), rules, slices={})
    assert not decision.passed
    assert any("no gain beyond chance" in reason for reason in decision.reasons)


def test_how_sure_a_gain_must_be_is_a_setting(rules: Promotion) -> None:
    trial = Trial("validation", noisy(0.7, 1), noisy(0.71, 2))
    refused, sure = (decide(trial, rules.model_copy(update={"confidence": one}), slices={}) for one in (0.95, 0.01))
    assert trial.gain(rules).gain.value > 0, "better, and within chance"
    assert not refused.passed and sure.passed
    assert "(95%)" in refused.reasons[0] and "(1%)" in sure.reasons[0]


def test_better_on_the_hard_cases_and_no_worse_elsewhere_is_enough(rules: Promotion) -> None:
    same = scored({})
    hard = Trial("hard cases", noisy(0.5, 3), noisy(0.85, 4))
    assert decide(Trial("validation", same, same), rules, slices={}, hard=hard).passed
    worse = scored({at: 0.55 for at in range(0, 80, 2)})
    refused = decide(Trial("validation", same, worse), rules, slices={}, hard=hard)
    assert not refused.passed and "may be worse" in refused.reasons[0]


def test_a_slice_that_loses_more_than_two_points_refuses_a_better_mean(rules: Promotion) -> None:
    small = frozenset(range(0, 24, 2))  # 12 pairs
    old = scored({at: 0.6 for at in range(0, 80, 2)} | {at: 0.85 for at in small})
    new = scored({at: 0.95 for at in range(0, 80, 2)} | {at: 0.76 for at in small})
    trial = Trial("validation", old, new)
    assert decide(trial, rules, slices={}).passed
    refused = decide(trial, rules, slices={"small things": small})
    assert not refused.passed and any("small things" in reason for reason in refused.reasons)
    few = rules.model_copy(update={"min_slice_pairs": 13})
    told = decide(trial, few, slices={"small things": small})
    assert told.passed and any("too few to decide" in note for note in told.notes)


@pytest.mark.parametrize(("loss", "passes"), [(0.0199, True), (0.0201, False)])
def test_the_guard_is_at_two_points(rules: Promotion, loss: float, passes: bool) -> None:
    """Negatives alone are judged by the share without an alarm, where a loss can be made as large as one likes."""
    many = 2 * 10_000
    alarms = frozenset(range(1, 2 * round(10_000 * loss), 2))
    slices = {"negatives": frozenset(range(1, many, 2))}
    old, new = scored({}, many), scored({}, many, alarms)
    [one] = judge(slices, old, new)
    assert (one.figure, round(one.loss, 4)) == ("clean negatives", loss)
    from sam3_agent.promotion.gate import _no_slice_lost

    assert _no_slice_lost([one], rules)[0] is passes


def test_a_slower_version_is_refused_only_when_that_is_certain(rules: Promotion) -> None:
    trial = Trial("validation", noisy(0.6, 1), noisy(0.85, 2))
    slow = LatencyRatio(1.5, 1.4, 1.6, 8, 10.0, 15.0)
    refused = decide(trial, rules, slices={}, latency=slow)
    assert not refused.passed and "a regression" in refused.reasons[-1]
    unsure = LatencyRatio(1.25, 1.0, 1.5, 8, 10.0, 12.5)
    told = decide(trial, rules, slices={}, latency=unsure)
    assert told.passed and "cannot be ruled out" in told.reasons[-1]


def test_other_pairs_are_refused(rules: Promotion) -> None:
    with pytest.raises(BadInput, match="different pairs"):
        decide(Trial("validation", scored({}), scored({}, pairs=60)), rules, slices={})


def test_latency_is_taken_in_turns_and_as_a_ratio() -> None:
    now, order = [0.0], []

    def looker(name: str, seconds: float):
        def look(image: object) -> None:
            order.append(name)
            now[0] += seconds

        return look

    images = [np.zeros((2, 2, 3), np.uint8)] * 6
    found = timed(looker("a", 0.1), looker("b", 0.15), images, rounds=2, warm=0, clock=lambda: now[0])
    assert found.ratio == pytest.approx(1.5)
    assert order[:4] == ["a", "b", "b", "a"]
    with pytest.raises(BadInput, match="too few"):
        timed(looker("a", 1), looker("b", 1), images[:3])


def test_the_interval_of_a_ratio_widens_with_the_noise() -> None:
    rng = np.random.default_rng(0)
    base = np.ones(40)
    calm, wild = (ratio_of(base, base * np.exp(rng.normal(0, sigma, 40))) for sigma in (0.01, 0.5))
    assert calm.high - calm.low < 0.02 < wild.high - wild.low


def test_slices_are_of_size_shape_number_and_source(tmp_path: Path) -> None:
    def image(number: int, height: int, width: int, **more: object) -> dict[str, object]:
        return {
            "id": number,
            "file_name": f"{number}.jpg",
            "text_input": "hen",
            "height": height,
            "width": width,
            **more,
        }

    def thing(number: int, image_id: int, area: float) -> dict[str, object]:
        return {"id": number, "image_id": image_id, "category_id": 1, "area": area}

    path = tmp_path / "val.json"
    write_json(path, {
        "images": [image(1, 10, 20, source="a"), image(2, 20, 10, source="b", slices=["night"]), image(3, 10, 20)],
        "annotations": [thing(1, 1, 0.01), thing(2, 2, 50.0), *(thing(9 + at, 2, 10.0) for at in range(3))],
    })  # fmt: skip
    found = slices_of(path)
    assert found["small things"] == {1} and found["large things"] == {2}  # 50 of 200 pixels
    assert found["upright pictures"] == {2} and found["four or more"] == {2} and found["night"] == {2}
    assert found["negatives"] == {3} and found["source b"] == {2}
    assert "phrase hen" not in found  # all of them: no slice
