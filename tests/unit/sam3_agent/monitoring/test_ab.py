"""Which version people like better, and whether the ratings suffice to say so; ratings as they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3_agent.loop_settings import Monitoring, load_loop
from sam3_agent.monitoring.ab import compare_versions
from sam3_agent.monitoring.ratings import Rating, read_ratings, thumbs_down
from sam3_agent.sessions.store import SessionStore

A, B = "version 1", "version 12"


@pytest.fixture
def settings(repo_root: Path) -> Monitoring:
    chosen = {"min_difference": 0.15, "alpha": 0.05}
    return load_loop(repo_root / "configs/loop.yaml").monitoring.model_copy(update=chosen)


def rating(number: int, model: str, good: bool, unit: str | None = None) -> Rating:
    return Rating(number, float(number), "ann", f"r{number}", good, "how many?", None, f"triton {model} (ab12) 0.5",
                  (unit or f"picture {number}",))  # fmt: skip


def crowd(shares: dict[str, float], each: int, seed: int = 0) -> list[Rating]:
    rng = np.random.default_rng(seed)
    rows = [(model, bool(rng.random() < share)) for model, share in shares.items() for _ in range(each)]
    return [rating(at, model, good) for at, (model, good) in enumerate(rows)]


def test_a_better_version_is_named_when_the_data_suffice(settings: Monitoring) -> None:
    found = compare_versions(crowd({A: 0.6, B: 0.85}, 400), A, B, settings, share=0.5)
    assert (found.outcome, found.a.units, found.b.units) == ("b", 400, 400)
    assert found.low > 0 and "version 12 is better" in found.text and "do not trust" not in found.text
    assert compare_versions(crowd({A: 0.85, B: 0.6}, 400), A, B, settings).outcome == "a"


def test_before_there_are_enough_nothing_is_better_however_it_looks(settings: Monitoring) -> None:
    found = compare_versions(crowd({A: 0.0, B: 1.0}, 20), A, B, settings)
    assert found.outcome == "not enough data" and found.low > 0
    assert f"{found.needed - 20} and {found.needed - 20} are missing" in found.text
    assert compare_versions([], A, B, settings).outcome == "not enough data"


def test_equal_versions_are_called_better_no_more_often_than_alpha(settings: Monitoring) -> None:
    outcomes = [compare_versions(crowd({A: 0.7, B: 0.7}, 250, seed), A, B, settings).outcome for seed in range(40)]
    assert sum(one in ("a", "b") for one in outcomes) <= 5


def test_many_ratings_of_one_picture_are_one_voice(settings: Monitoring) -> None:
    loud = [rating(at, B, False, "the picture everybody knows") for at in range(500)]
    quiet = [rating(1000 + at, B, True) for at in range(3)]
    found = compare_versions([*loud, *quiet], A, B, settings)
    assert (found.b.units, found.b.ratings, found.b.good) == (4, 503, 0.75)


def test_a_picture_rated_under_both_is_left_out_and_a_skewed_split_is_told(settings: Monitoring) -> None:
    rows = crowd({A: 0.7, B: 0.7}, 300)
    rows += [rating(9000, A, True, "both"), rating(9001, B, True, "both")]
    found = compare_versions(rows, A, B, settings, share=0.1)
    assert found.mixed == 1 and "do not trust" in found.text


def test_names_must_tell_versions_apart(settings: Monitoring) -> None:
    with pytest.raises(BadInput, match="Name them in full"):
        compare_versions(crowd({A: 0.5}, 5), A, "version", settings)


def test_ratings_come_back_with_what_they_were_about(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    now = [1000.0]
    store = SessionStore(url, clock=lambda: now[0])
    answered = {"query": "hens?", "plan": {"action": {}}, "model": "onnx ab 0.5", "pictures": ["aa", "bb"]}
    store.note("ann", "r1", "up", {"answered": answered})
    store.note("ann", "r1", "down", {"answered": answered})  # changed her mind
    now[0] = 9000.0
    store.note("bob", "r2", "wrong", {"note": "the duck"})
    one, two = read_ratings(url)
    assert (one.good, one.query, one.model, one.unit) == (False, "hens?", "onnx ab 0.5", "aa")
    assert (two.good, two.unit, two.plan) == (False, "r2", None)
    assert thumbs_down(url, hours=1, now=9100.0) == 1
    assert read_ratings(f"sqlite:///{tmp_path / 'empty.db'}") == []
