"""A finished run in a real MLflow on SQLite and a real W&B in offline mode."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import WEAK, write_finished_run
from sqlalchemy import event
from sqlalchemy.engine import Engine

from sam3.errors import BadInput, Unavailable
from sam3_agent.finished_run import Places, read_run
from sam3_agent.params import load_params
from sam3_agent.report.page import report
from sam3_agent.tracking.mlflow_store import Store
from sam3_agent.tracking.record import record_of
from sam3_agent.tracking.register import NAME, register, track


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repo_root: Path):
    """A finished run whose candidate passes, the working folder, and an MLflow store of its own."""
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("WANDB_MODE", "disabled")
        (root / "params.yaml").write_text((repo_root / "params.yaml").read_text())
        write_finished_run(Path(), pairs=24)
        yield root


def test_a_candidate_that_passed_is_registered_with_where_it_comes_from(project: Path) -> None:
    register()
    outcome = json.loads(Path("reports/register.json").read_text())
    assert (outcome["registered"], outcome["name"], outcome["version"]) == (True, "production-candidate-v1", 1)

    client = Store().client
    version = client.get_model_version_by_alias(NAME, "candidate")
    run = read_run()
    assert version.tags["checkpoint_sha256"] == run.candidate.sha256
    assert version.tags["data_sha256"] == run.training.data_sha256
    assert json.loads(version.tags["config"])["train.loss.focal_loss_weight"] == "5.0"
    assert float(version.tags["candidate.cgF1"]) == pytest.approx(run.candidate.cgf1.value, rel=1e-5)

    logged = client.get_run(outcome["run_id"])
    assert logged.data.metrics["candidate/IL_MCC"] == pytest.approx(run.candidate.il_mcc.value)
    assert logged.data.tags["git_commit"] == run.training.git_commit
    assert logged.data.params["params.concept"] == run.concept
    assert len(client.get_metric_history(outcome["run_id"], "train/loss")) == len(run.training.curve("train/loss"))
    kept = {file.path for file in client.list_artifacts(outcome["run_id"], "checkpoint")}
    assert {"checkpoint/model.safetensors", "checkpoint/training.json"} <= kept


def test_weights_whose_graphs_say_something_else_are_refused(project: Path) -> None:
    path, params = Path("reports/verify.json"), load_params()
    before = path.read_text()
    try:
        reason = "masks: mean IoU 0.41, at least 0.99 wanted"
        path.write_text(json.dumps(json.loads(before) | {"passed": False, "reasons": [reason]}))
        outcome = track(read_run(), params, "gate-test")
        assert not outcome["registered"] and f"exported graphs: {reason}" in outcome["reasons"]
        path.write_text(json.dumps(json.loads(before) | {"checkpoint_sha256": "0" * 64}))
        with pytest.raises(BadInput, match="dvc repro verify"):
            track(read_run(), params, "gate-test")
        path.unlink()
        with pytest.raises(BadInput, match="not there yet"):
            track(read_run(), params, "gate-test")
    finally:
        path.write_text(before)


def test_the_same_weights_twice_are_one_version_of_one_run(project: Path) -> None:
    params = load_params()
    first, second = track(read_run(), params), track(read_run(), params)
    assert (second["run_id"], second["version"]) == (first["run_id"], first["version"])
    assert len(Store().client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_run_that_was_killed_while_it_was_logged_is_logged_anew(project: Path) -> None:
    run, params, store = read_run(), load_params(), Store()
    record = record_of(run, params)
    record = replace(record, tags={**record.tags, "validation_sha256": "of another day"})
    experiment = store._experiment()
    killed = store.client.create_run(experiment, tags=record.tags).info.run_id
    whole = store.log(record)
    assert whole != killed and store.log(record) == whole
    status = {name: store.client.get_run(name).info.status for name in (killed, whole)}
    assert status == {killed: "KILLED", whole: "FINISHED"}


def test_the_page_says_what_was_registered_and_joins_the_run(project: Path) -> None:
    register()
    places = Places(images=Path("data/raw/images"))
    report(places.reports, places.splits, places.images, places.model, Path("reports/report.html"), Path("params.yaml"))
    assert "Registered as production-candidate-v1, version 1" in Path("reports/report.html").read_text()
    run_id = json.loads(Path("reports/register.json").read_text())["run_id"]
    assert "reports/report.html" in {file.path for file in Store().client.list_artifacts(run_id, "reports")}


def test_a_refusal_is_logged_with_its_reasons_and_registers_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(Path("params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    write_finished_run(Path(), pairs=24, candidate=WEAK)
    register(name="another-name")
    outcome = json.loads(Path("reports/register.json").read_text())
    assert outcome["registered"] is False and outcome["version"] is None
    assert any("not enough" in reason for reason in outcome["reasons"])
    assert "refused" in capsys.readouterr().out
    client = Store().client
    assert client.get_run(outcome["run_id"]).data.tags["gate"] == "refused"
    assert not client.search_registered_models("name = 'another-name'")


def test_wandb_gets_a_copy_where_it_is_configured(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for place in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place))
    assert track(read_run(), load_params())["wandb"] == "offline"
    [held] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert held.stat().st_size > 10_000


def test_a_store_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    with pytest.raises(Unavailable, match=r"broken\.db.*sam3-agent doctor"):
        Store(f"sqlite:///{tmp_path}/broken.db")


def test_a_full_store_is_one_line_without_what_was_to_be_written(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    record, store = record_of(read_run(), load_params()), Store()
    store.log(record)
    record = replace(record, tags={**record.tags, "validation_sha256": "of another day"})

    def no_room(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")

    event.listen(Engine, "checkout", no_room)
    try:
        with pytest.raises(Unavailable, match="database or disk is full"):
            for number in range(20):  # until the last page is full
                store.log(replace(record, tags={**record.tags, "data_sha256": "x" * 4000, "concept": str(number)}))
                record = replace(record, tags={**record.tags, "validation_sha256": f"day {number}"})
    finally:
        event.remove(Engine, "checkout", no_room)
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and "INSERT" not in printed.err


MAKING = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sam3_agent.tracking.mlflow_store import Store

def killed(connection, cursor, statement, *rest):
    if "_alembic_tmp_" in statement and "INSERT" in statement:
        os.kill(os.getpid(), 9)

event.listen(Engine, "before_cursor_execute", killed)
Store().client.search_experiments()
"""


def test_killed_while_the_store_is_made_the_next_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow alone leaves a file behind that nobody can use."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    done = subprocess.run([sys.executable, "-c", MAKING], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
    assert not (tmp_path / "mlflow.db").exists()
    for begun in tmp_path.iterdir():
        os.utime(begun, (0, 0))
    assert [experiment.name for experiment in Store().client.search_experiments()] == ["Default"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_store_that_cannot_be_opened_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "text.db").write_text("I am no database, however long one looks at me.")
    (tmp_path / "folder.db").mkdir()
    begun = time.monotonic()
    for name in ("file/mlflow.db", "text.db", "folder.db"):
        with pytest.raises(Unavailable, match="sam3-agent doctor"):
            Store(f"sqlite:///{tmp_path}/{name}")
    assert time.monotonic() - begun < 20  # MLflow would try each for most of a minute
