"""`promote` on a real registry file: who becomes champion, what a rollback leaves, and that twice is once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.errors import BadInput
from sam3_agent.loop_settings import load_loop
from sam3_agent.promotion.aliases import Standing, crown, dethrone, standing
from sam3_agent.promotion.promote import champion_weights, install
from sam3_agent.tracking.mlflow_store import Store

NAME = "production-candidate-v1"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A registry with three versions, the third of them candidate."""
    place = tmp_path_factory.mktemp("mlflow")
    made = Store(f"sqlite:///{place / 'mlflow.db'}")
    made.client.create_registered_model(NAME)
    for number in range(1, 4):
        made.client.create_model_version(NAME, str(place / f"v{number}"), tags={"checkpoint_sha256": f"{number}" * 64})
    return made


def test_champion_previous_and_candidate(store: Store) -> None:
    assert standing(store, "nobody") == Standing()
    assert crown(store, NAME, 1) == Standing(champion=1)
    store.client.set_registered_model_alias(NAME, "candidate", "2")
    assert crown(store, NAME, 2) == crown(store, NAME, 2) == Standing(champion=2, previous=1)
    assert crown(store, NAME, 3, {"promotion": "better"}) == Standing(champion=3, previous=2)
    assert store.client.get_model_version(NAME, "3").tags["promotion"] == "better"
    assert dethrone(store, NAME, 3, "too slow") == Standing(champion=2)
    assert dethrone(store, NAME, 3, "again") == Standing(champion=2)
    assert store.client.get_model_version(NAME, "3").tags["rolled_back"] == "too slow"
    with pytest.raises(BadInput, match="no version before 2"):
        dethrone(store, NAME, 2, "nowhere to go")
    with pytest.raises(BadInput, match="no version 9"):
        crown(store, NAME, 9)


def test_a_refused_or_unknown_candidate_is_not_installed(
    store: Store, repo_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    settings = load_loop(repo_root / "configs/loop.yaml")
    with pytest.raises(BadInput, match="was refused"):
        install(settings, {"passed": False, "candidate": {"sha256": "3" * 64}})
    with pytest.raises(BadInput, match="no version of these weights"):
        install(settings, {"passed": True, "candidate": {"sha256": "7" * 64}})
    done = install(settings, {"passed": True, "candidate": {"sha256": "3" * 64}, "reasons": ["better"]})
    assert done["promoted"] == 3
    assert champion_weights("nobody", "", tmp_path) == ("sam3-lite", "sam3-lite")
    assert champion_weights(NAME, "models/finetuned", tmp_path) == ("models/finetuned", "models/finetuned")
