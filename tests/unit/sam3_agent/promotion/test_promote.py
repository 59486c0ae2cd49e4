"""`promote` on a real registry file: who becomes champion, what a rollback leaves, and that twice is once."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sam3.errors import BadInput
from sam3_agent.loop_settings import load_loop
from sam3_agent.promotion.aliases import SHIFT, Standing, crown, dethrone, expected_shift, standing
from sam3_agent.promotion.promote import champion_weights, install, kept_champion, promote
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
    assert dethrone(store, NAME, 2, "nothing before it") == Standing()  # the starter weights are what must be beaten
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
    better = {"passed": True, "candidate": {"sha256": "3" * 64}, "reasons": ["better"], "presence_shift": 0.43}
    assert expected_shift(store, NAME, 3) == 0
    assert install(settings, better)["promoted"] == 3
    assert expected_shift(store, NAME, 3) == 0.43
    assert "despite" not in store.client.get_model_version(NAME, "3").tags
    for said in ("abc", "nan", "7", "-1", ""):
        store.client.set_model_version_tag(NAME, "3", "presence_shift", said)
        with pytest.raises(BadInput, match="version 3: the tag presence_shift is"):
            expected_shift(store, NAME, 3)
    store.client.set_registered_model_alias(NAME, "previous", "3")  # as a kill while it was crowned leaves it
    assert dethrone(store, NAME, 3, "slow").champion is None
    crown(store, NAME, 3)
    assert champion_weights("nobody", "", tmp_path) == ("sam3-lite", "sam3-lite")
    assert champion_weights(NAME, "models/finetuned", tmp_path) == ("models/finetuned", "models/finetuned")


def test_the_champions_weights_are_kept_for_the_next_training(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert kept_champion("nobody", tmp_path) is None
    source = Path(store.client.get_model_version(NAME, "2").source)
    source.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"two")
    before = standing(store, NAME).champion
    crown(store, NAME, 2)
    kept = kept_champion(NAME, tmp_path / "champions")
    assert kept is not None and (kept / "model.safetensors").read_bytes() == b"two"
    assert kept_champion(NAME, tmp_path / "champions") == kept and [*kept.parent.iterdir()] == [kept]
    assert (source / "model.safetensors").is_file(), "the registry keeps its own"
    if before is not None:
        crown(store, NAME, before)


def test_a_person_may_overrule_the_gate_and_the_version_says_why(
    store: Store, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    settings, tags = load_loop(repo_root / "configs/loop.yaml"), lambda: store.client.get_model_version(NAME, "1").tags
    refused = {"passed": False, "candidate": {"sha256": "1" * 64}, "reasons": ["two slices are worse."], SHIFT: 0.4}
    after = install(settings, refused, "the first that finds any")
    assert after["promoted"] == 1 and after["despite"] == "the first that finds any"
    assert tags()["despite"] == "the first that finds any" and tags()["promotion"] == "two slices are worse."
    again = install(settings, {**refused, "reasons": ["no better than itself."], SHIFT: 0.0}, "again")
    assert again["promoted"] == 1 and "despite" not in again
    assert tags()["promotion"] == "two slices are worse." and expected_shift(store, NAME, 1) == 0.4
    crown(store, NAME, 2)
    install(settings, {**refused, "passed": True, "reasons": ["better."]})
    assert "despite" not in tags() and tags()["promotion"] == "better."


@pytest.mark.parametrize(("said", "more"), [("", []), (" \n\x1b", []), ("because", ["--decide-only"])])
def test_overruling_needs_a_reason_and_something_to_do(said: str, more: list[str]) -> None:
    command = typer.Typer()
    command.command()(promote)
    done = CliRunner().invoke(command, ["--despite", said, *more])
    assert isinstance(done.exception, BadInput) and done.exception.field == "despite"


def largest_gap(one: list[float], other: list[float]) -> float:
    """Between the two empirical distribution functions, at every value that occurs."""
    return max(abs(sum(a <= x for a in one) / len(one) - sum(b <= x for b in other) / len(other)) for x in one + other)


def test_two_checkpoints_are_weighed_and_nothing_is_measured_twice(
    tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from made_pairs import make_pairs, make_tiny
    from small_models import save_small

    from sam3.eval.measurement import read_report
    from sam3.files import read_json, write_json
    from sam3_agent.promotion import trials
    from sam3_agent.promotion.promote import weigh

    files = {}
    for side in ("val", "train"):
        path = make_pairs(tmp_path / "images" / side, 12 if side == "val" else 2)
        content = read_json(path)
        for row in content["images"]:
            row |= {"file_name": f"{side}/{row['file_name']}", "is_instance_exhaustive": 1}
        files[side] = tmp_path / f"{side}.json"
        write_json(files[side], content)
    for at in range(2):  # the same generator draws the same pictures: those of training are made others
        (tmp_path / f"images/train/{at}.png").write_bytes(f"another picture {at}".encode())
    config = tmp_path / "eval.yaml"
    config.write_text(
        f"images: {tmp_path / 'images'}\nconcept: null\nscore_threshold: 0.5\nbootstrap: 5\nseed: 1\ngroup_by: image\nbatch: 4\n"
    )
    old, new = make_tiny(tmp_path / "old"), save_small(tmp_path / "new")
    settings = load_loop(repo_root / "configs/loop.yaml")
    asked = {"val": files["val"], "hard": None, "train": files["train"], "config": config, "kept": tmp_path / "kept"}
    first = weigh(settings, str(new), str(old), latency=4, **asked)  # type: ignore[arg-type]
    assert json.loads(json.dumps(first))["latency"]["pictures"] == 4
    assert first["candidate"]["sha256"] != first["champion"]["sha256"] and not first["passed"]
    seen = [list(read_report(path).presence.values()) for path in (tmp_path / "kept").iterdir()]
    assert first["presence_shift"] == largest_gap(*seen) > 0

    monkeypatch.setattr(trials, "write_json", lambda *_, **__: pytest.fail("measured again"))
    again = weigh(settings, str(new), str(old), latency=0, **asked)  # type: ignore[arg-type]
    assert again["gains"] == first["gains"] and "latency was not compared." in again["notes"]
    with pytest.raises(BadInput, match=r"nowhere\.json: no such file"):
        weigh(settings, str(new), str(old), latency=0, **(asked | {"hard": Path("nowhere.json")}))  # type: ignore[arg-type]
    write_json(files["train"], read_json(files["val"]))
    with pytest.raises(BadInput, match="must never be trained on"):
        weigh(settings, str(new), str(old), latency=0, **asked)  # type: ignore[arg-type]
