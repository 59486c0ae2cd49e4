"""Two turns of the whole loop against the real Prefect, Label Studio, MLflow, Triton and Redis, each killed at work once.

It is `make loop-demo` at its smallest; the tests look at what it has left behind.
"""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.misfortune import BLOWS

LIMIT = 2400.0  # seconds
pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(LIMIT) + 120)]


@dataclass(frozen=True)
class Turned:
    """A demonstration that has run to its end: its folder, and what it printed."""

    place: Path
    said: str

    @property
    def project(self) -> Path:
        return self.place / "project"

    @property
    def turns(self) -> list[dict[str, Any]]:
        return list(json.loads((self.place / "summary.json").read_text())["turns"])

    def in_use(self, after: int) -> int | None:
        """The champion's number after so many turns; None while it is the starter weights."""
        stayed = [turn for turn in self.turns[:after] if turn["promote"] and turn["deploy"]["state"] == "fine"]
        if stayed:
            return int(stayed[-1]["promote"]["promoted"])
        return 1 if json.loads((self.place / "demo.json").read_text())["first model"] else None

    def lineage(self) -> list[dict[str, Any]]:
        """One row per merged picture."""
        lines = (self.project / "data/dataset/lineage.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def ask(self, database: Path, question: str) -> list[tuple[Any, ...]]:
        """Rows of one of the servers' databases."""
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(question).fetchall()


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Iterator[Turned]:
    place = tmp_path_factory.mktemp("loop") / "demo"
    log = place.with_suffix(".log")
    command = [sys.executable, "-m", "flows.loop_demo", "--place", str(place), "--size", "small", "--kill"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=repo_root, stdout=stream, stderr=subprocess.STDOUT)
        try:
            status = process.wait(LIMIT)
        finally:
            process.send_signal(signal.SIGINT)  # it takes its servers along
            process.wait(60)
    said = log.read_text()
    assert status == 0, said[-4000:]
    yield Turned(place, said)


def test_both_turns_come_to_their_end(turned: Turned) -> None:
    assert [turn["turn"] for turn in turned.turns] == ["turn-001", "turn-002"]
    for turn in turned.turns:
        assert turn["mine"]["pictures"] == 40 and turn["merge"]["merged"]
        assert set(turn["retrain"]["cgF1"]) == {"validation", "hard cases"}
        assert bool(turn["promote"]) == turn["retrain"]["passed"]
        assert turn["deploy"] is None or turn["deploy"]["state"] in ("fine", "back")
    of_prefect = turned.place / "prefect/prefect.db"
    question = "select state_type, run_count from flow_run join flow on flow.id = flow_id where flow.name = 'loop'"
    [(state, starts)] = turned.ask(of_prefect, question)
    assert state == "COMPLETED" and starts > 1, "one run, taken up again after its worker was killed"
    others = turned.ask(of_prefect, "select flow.name, state_type from flow_run join flow on flow.id = flow_id")
    assert not [row for row in others if row[0] in ("mine", "monitor") and row[1] != "SCHEDULED"]


def test_the_registry_says_which_model_is_in_use(turned: Turned) -> None:
    from mlflow import MlflowClient

    registry = MlflowClient(f"sqlite:///{turned.place}/mlflow/mlflow.db")
    versions = registry.search_model_versions("name = 'production-candidate-v1'")
    weights = Counter(row.tags["checkpoint_sha256"] for row in versions)
    assert len(weights) <= 3 and max(weights.values()) == 1, "the first model and one a turn, none registered twice"
    aliases = registry.get_registered_model("production-candidate-v1").aliases
    assert aliases.get("champion") == turned.in_use(2)


def test_what_is_promoted_is_tried_with_traffic_and_serves(turned: Turned) -> None:
    promoted = [turn for turn in turned.turns if turn["promote"]]
    assert promoted, "this size lets any gain through"
    for turn in promoted:
        assert not any("asked for" in reason for reason in turn["deploy"]["reasons"])
    stayed = [turn["deploy"]["package"] for turn in promoted if turn["deploy"]["state"] == "fine"]
    served = json.loads((turned.project / "serving/live/deployment.json").read_text())["current"]
    assert served == (stayed[-1] if stayed else 1)


def test_a_turn_goes_on_from_the_weights_in_use(turned: Turned) -> None:
    champion = turned.in_use(1)
    made = json.loads((turned.project / "models/finetuned/training.json").read_text())
    assert made["base"] == (f"outputs/champions/production-candidate-v1-{champion}" if champion else "sam3-lite")


def test_everybody_was_killed_at_work(turned: Turned) -> None:
    killed = Counter(re.findall(r"kill -9 of ([\w-]+) \(\d+\)", turned.said))
    assert killed >= Counter(who for _, _, who in BLOWS)


def test_nothing_is_twice_and_nothing_is_lost(turned: Turned) -> None:
    rows = turned.lineage()
    assert max(Counter(row["sha256"] for row in rows).values()) == 1
    for turn in turned.turns:
        merged = [row for row in rows if row["batch"] == turn["mine"]["name"]]
        assert len(merged) == turn["merge"]["merged"]
        assert turn["merge"]["merged"] + turn["merge"]["held_out"] == turn["mine"]["pictures"]
    assert all(
        "@" in row["annotator"] and row["task"].startswith("label-studio") and row["model_version"] for row in rows
    )
    tags = subprocess.run(["git", "tag"], cwd=turned.project, capture_output=True, text=True, check=True).stdout.split()
    assert tags == ["data-v1.1", "data-v1.2"]
    of_studio = turned.project / "outputs/label-studio/label_studio.sqlite3"
    [(answers, tasks)] = turned.ask(of_studio, "select count(*), count(distinct task_id) from task_completion")
    assert answers == tasks == sum(turn["mine"]["pictures"] for turn in turned.turns)


def test_the_validation_set_is_frozen(turned: Turned) -> None:
    frozen = turned.project / "data/dataset/frozen/validation.json"
    assert frozen.read_bytes() == (turned.project / "data/splits/val.json").read_bytes()
    merged = {Path(row["file"]).name for row in turned.lineage()}
    assert not merged & {Path(row["file_name"]).name for row in json.loads(frozen.read_text())["images"]}
