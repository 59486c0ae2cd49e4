"""A run is read back whole and of one piece, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_run import write_finished_run

from sam3.errors import BadInput
from sam3_agent.finished_run import Places, read_run
from sam3_agent.training_record import Curve, read_curves


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Places]:
    root = tmp_path_factory.mktemp("finished")
    return root, write_finished_run(root, pairs=16)


@pytest.fixture
def places(written: tuple[Path, Places], tmp_path: Path) -> Places:
    """A copy that a test may damage."""
    shutil.copytree(written[0], tmp_path / "run")
    root = tmp_path / "run"
    return Places(root / "reports", root / "data/splits", root / "data/raw/images", root / "models/finetuned")


def test_what_the_stages_wrote_comes_back(places: Places) -> None:
    run = read_run(places)
    stored = json.loads((places.reports / "evaluate.json").read_text())
    assert run.candidate.cgf1.value == stored["cgF1"]
    assert list(run.candidate.pairs) == [row["image_id"] for row in stored["pairs"]]
    assert len(run.candidate.negatives) == 8
    assert run.candidate.pass_rate == pytest.approx(run.negatives.pass_rate)
    assert run.training.best_step == 210
    assert len(run.training.curve("train/loss")) == 240
    assert len(run.training.curve("no/such")) == 0
    assert run.data.issues[0] == ("ambiguous-class", "dropped", 5)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("reports/baseline.json", "baseline"),
        ("reports/evaluate.json", "evaluate"),
        ("reports/negatives.json", "negatives"),
        ("reports/compare.json", "compare"),
        ("reports/etl.json", "etl"),
        ("reports/etl_issues.csv", "etl"),
        ("reports/split.json", "split"),
        ("models/finetuned/training.json", "train"),
        ("models/finetuned/metrics.csv", "train"),
    ],
)
def test_a_missing_file_names_the_stage_that_writes_it(places: Places, file: str, stage: str) -> None:
    (places.reports.parent / file).unlink()
    with pytest.raises(BadInput, match=f"{Path(file).name}: not there yet. The stage {stage} writes it") as error:
        read_run(places)
    assert error.value.field == stage


@pytest.mark.parametrize("file", ["baseline.json", "compare.json", "negatives.json", "etl.json"])
def test_a_file_of_another_kind_is_refused_by_name(places: Places, file: str) -> None:
    (places.reports / file).write_text("{}")
    with pytest.raises(BadInput, match=f"{file}: not what the stage"):
        read_run(places)


def test_files_of_different_runs_are_not_mixed(places: Places) -> None:
    path = places.reports / "evaluate.json"
    content = json.loads(path.read_text())
    content["checkpoint"]["sha256"] = "f" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"compare\.json is about other weights than evaluate\.json"):
        read_run(places)


@pytest.mark.parametrize(("weights", "known"), [("same", True), ("0" * 64, False)])
def test_a_registration_counts_only_for_these_weights(places: Places, weights: str, known: bool) -> None:
    sha256 = read_run(places).candidate.sha256 if weights == "same" else weights
    outcome = {"name": "a-name", "version": 3, "run_id": "r", "checkpoint_sha256": sha256}
    (places.reports / "register.json").write_text(json.dumps(outcome))
    found = read_run(places).registration
    assert (found is not None and found.version == 3) == known


def test_every_column_is_a_curve_and_later_rows_replace_earlier_ones(tmp_path: Path) -> None:
    # a resumed run logs the steps after its last checkpoint again
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/cgf1\n0,0,9,\n0,1,8,\n0,2,nan,0.5\n0,1,7,\n")
    curves = read_curves(path)
    assert curves["train/loss"].steps.tolist() == [0, 1] and curves["train/loss"].values.tolist() == [9, 7]
    assert curves["val/cgf1"].steps.tolist() == [2]


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,0,9\n0,1,high\n")
    with pytest.raises(BadInput, match=r"metrics\.csv, line 3: train/loss is 'high'"):
        read_curves(path)


def test_smoothing_keeps_a_level_and_has_no_bias_at_the_start() -> None:
    assert Curve(np.arange(50), np.full(50, 3.0)).smooth() == pytest.approx(3.0)
