"""Drift: an alarm where there is one, and none from chance or from sheer numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.types import Detections
from sam3_agent.loop_settings import Monitoring, load_loop
from sam3_agent.monitoring.drift import current_pictures, holm, measure_drift
from sam3_agent.monitoring.sample import Sample, kept_sample, look_at, spread


@pytest.fixture
def settings(repo_root: Path) -> Monitoring:
    return load_loop(repo_root / "configs/loop.yaml").monitoring


def sample(seed: int, pictures: int = 300, presence: float = 0.5, counts: float = 1.5, place: float = 0.0) -> Sample:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 1, (pictures, 64))
    vectors[:, :8] += 3 * (1 - place)
    vectors[:, 8:16] += 3 * place
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shown = rng.beta(8 * presence, 8 * (1 - presence), pictures)
    return Sample(*(np.asarray(one, np.float32) for one in (shown, rng.poisson(counts, pictures), unit)))


def test_the_same_world_raises_no_alarm(settings: Monitoring) -> None:
    raised = [measure_drift(sample(seed), sample(seed + 1000), settings).alarms for seed in range(20)]
    assert sum(map(bool, raised)) <= 1


@pytest.mark.parametrize(
    ("change", "figure"),
    [({"presence": 0.35}, "presence"), ({"counts": 3.0}, "detections"), ({"place": 0.5}, "distance to training")],
)
def test_each_kind_of_drift_is_named(settings: Monitoring, change: dict[str, float], figure: str) -> None:
    found = measure_drift(sample(1), sample(2, **change), settings)  # type: ignore[arg-type]
    assert figure in " ".join(found.alarms) and found.enough
    if figure != "distance to training":
        assert len(found.alarms) == 1


def test_few_pictures_decide_nothing(settings: Monitoring) -> None:
    found = measure_drift(sample(1), sample(2, pictures=20, presence=0.1), settings)
    assert not found.enough and not found.alarms


def test_sheer_numbers_raise_no_alarm_over_a_small_difference(settings: Monitoring) -> None:
    found = measure_drift(sample(1, pictures=6000), sample(2, pictures=6000, presence=0.485), settings)
    [presence] = [one for one in found.tests if one.figure == "presence"]
    assert presence.chance < settings.alpha and presence.effect < settings.min_effect and not presence.alarm


def test_no_training_pictures_are_refused_and_no_pictures_of_today_are_not(settings: Monitoring) -> None:
    assert measure_drift(sample(1), sample(2, pictures=0), settings).tests == ()
    with pytest.raises(BadInput, match="too few"):
        measure_drift(sample(1, pictures=3), sample(2), settings)


def test_holm_corrects_for_several_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


class Counting:
    """An engine that sees as many things as the first pixel says."""

    looked = 0

    def encode(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.looked += len(images)
        return images

    def ground(self, embeddings: list[np.ndarray], prompts: object) -> list[Detections]:
        found = []
        for image in embeddings:
            number = int(image[0, 0, 0])
            one = Detections.empty(4, 4, number / 10)
            found.append(Detections(np.zeros((number, 4), np.float32), np.ones(number, np.float32),
                                    np.zeros((number, 4, 4), bool), one.presence))  # fmt: skip
        return found


def test_a_folder_is_looked_at_once_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((9, 9, 3), number, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    engine = Counting()
    pictures = current_pictures(str(tmp_path), 10)
    seen = kept_sample(pictures, engine, "hen", "weights", tmp_path / "kept")
    assert sorted(seen.counts) == [0, 1, 2] and seen.vectors.shape == (3, 64)
    again = kept_sample(pictures, engine, "hen", "weights", tmp_path / "kept")
    assert engine.looked == 3 and (again.presence == seen.presence).all()
    assert len(look_at([], engine, "hen")) == 0
    with pytest.raises(BadInput, match="no such folder"):
        current_pictures(str(tmp_path / "nowhere"), 10)


def test_a_sample_is_spread_over_all_names() -> None:
    names = [f"{at:03d}" for at in range(100)]
    assert spread(names, 200) == names
    assert spread(names, 3) == ["000", "050", "099"]
