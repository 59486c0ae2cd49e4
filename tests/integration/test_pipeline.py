"""`dvc repro` in a fresh clone, small: every stage runs, a second run does nothing, another concept runs too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
TIMEOUT = 900


@pytest.fixture(scope="module")
def clone(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed tree, with the knobs turned down: a hundred pictures, one epoch."""
    place = tmp_path_factory.mktemp("pipeline") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{repo_root}", str(place)], check=True)
    params = yaml.safe_load((place / "params.yaml").read_text(encoding="utf-8"))
    params["barnyard"] |= {"pictures": 96, "inbox": 6}
    params["train"]["epochs"] = 1
    params["evaluate"]["bootstrap"] = 50
    (place / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    for name, value in (("user.name", "a tester"), ("user.email", "tester@example.com")):
        subprocess.run(["git", "config", name, value], cwd=place, check=True)
    subprocess.run(["git", "commit", "--quiet", "-am", "small"], cwd=place, check=True)
    return place


def run(place: Path, *words: str) -> str:
    """A command in the clone with this environment's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GX_ANALYTICS_ENABLED": "False", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.timeout(2 * TIMEOUT)
def test_every_stage_runs_and_then_nothing_does(clone: Path) -> None:
    run(clone, "dvc", "repro")
    for file in (
        "reports/hardware.json",
        "reports/etl_issues.csv",
        "reports/data_docs/index.html",
        "reports/baseline_negatives.jpg",
        "models/finetuned/model.safetensors",
        "models/export/decoder.onnx",
        "reports/register.json",
        "reports/report.html",
        "mlflow.db",
    ):
        assert (clone / file).is_file(), file
    gate = json.loads((clone / "reports/compare.json").read_text())["gate"]
    registered = json.loads((clone / "reports/register.json").read_text())["registered"]
    assert registered is gate["passed"]
    assert len(list((clone / "reports/predict").glob("*.png"))) == 3
    again = run(clone, "dvc", "repro")
    assert "Running stage" not in again and "up to date" in again


@pytest.mark.timeout(TIMEOUT)
def test_another_concept_is_one_parameter(clone: Path) -> None:
    """As far as training; what follows knows the concept only from the files."""
    shutil.rmtree(clone / "reports")
    run(clone, "dvc", "exp", "run", "-S", "concept=duck", "split", "check-hardware")
    assert (clone / "data/raw/images/duck").is_dir() and (clone / "data/raw/images/not_duck").is_dir()
    train = json.loads((clone / "data/splits/train.json").read_text())
    assert {row["text_input"] for row in train["images"]} == {"duck"} and train["annotations"]
