"""Two turns of the loop with its real mining, correction, hold-out, merging and versioning on a tiny model.

Training and the registry are stand-ins here (they have tests of their own, and take long); an interruption in the second
turn, as a killed trainer leaves it, repeats nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """A git and DVC project with a small barnyard, its pairs and its split."""
    place = tmp_path_factory.mktemp("turns") / "project"
    (place / "configs").mkdir(parents=True)
    shutil.copy(repo_root / "configs/loop.yaml", place / "configs/loop.yaml")
    params = yaml.safe_load((repo_root / "params.yaml").read_text(encoding="utf-8"))
    params["barnyard"] |= {"pictures": 40, "inbox": 24, "image_size": [160, 120]}
    (place / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    for words in (["git", "init", "-q"], ["git", "config", "user.name", "t"], ["git", "config", "user.email", "t@t.org"],
                  [sys.executable, "-m", "dvc", "init", "-q"]):  # fmt: skip
        subprocess.run(words, cwd=place, check=True)
    for verb in ("barnyard", "etl", "split"):
        done = subprocess.run([sys.executable, "-m", "sam3_agent.cli", verb], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    (place / ".gitignore").write_text("outputs\ndata/raw\ndata/inbox\ndata/saco\ndata/splits\nreports\n")
    subprocess.run(["git", "add", "-A"], cwd=place, check=True)
    subprocess.run(["git", "commit", "-qm", "start"], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from small_models import save_small

    return save_small(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


class Corrector(threading.Thread):
    """Saves LabelMe files for every batch that appears, as somebody does who knows what was drawn."""

    def __init__(self, project: Path) -> None:
        super().__init__(daemon=True)
        self.project, self.stop = project, threading.Event()

    def run(self) -> None:
        from sam3_agent.barnyard.annotator import correct_files, read_truth

        truth = read_truth(self.project / "data/inbox_truth.json")
        while not self.stop.wait(0.2):
            for batch in sorted((self.project / "data/to_annotate").glob("[!.]*/batch.json")):
                if not (batch.parent / "finished").is_file():
                    correct_files(batch.parent, truth)
                    (batch.parent / "finished").touch()


def test_two_turns_with_an_interruption_repeat_nothing(
    project: Path, tiny: Path, harness: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import loop as room

    trained: list[str | None] = []

    def train(hard: str | None, latency: int) -> dict[str, Any]:
        trained.append(hard)
        if len(trained) == 2:
            raise RuntimeError("the trainer was killed")
        figures = {"validation": {"champion": 0.1 * len(trained), "candidate": 0.1 * len(trained) + 0.1}}
        return {"passed": True, "reasons": ["better"], "notes": [], "cgF1": figures, "candidate": {}, "champion": {}}

    monkeypatch.chdir(project)
    monkeypatch.setattr(room, "train_and_weigh", train)
    monkeypatch.setattr(room, "crown_step", lambda: {"promoted": len(trained), "previous": None})
    monkeypatch.setattr(room, "looking_with", lambda served: {"engine": "torch", "checkpoint": str(tiny)})
    asked: dict[str, Any] = {
        "turns": 2, "budget": 6, "looks": 12, "annotate": "labelme", "serve": False, "wait_hours": 0.05,
        "poll_seconds": 0.3, "approve": False,
    }  # fmt: skip
    corrector = Corrector(project)
    corrector.start()
    try:
        with pytest.raises(RuntimeError, match="killed"):
            room.loop(**asked)
        batches = sorted(path.name for path in (project / "data/to_annotate").glob("turn-*"))
        rows = room.loop(**{**asked, "turns": 1})
    finally:
        corrector.stop.set()
    assert batches == ["turn-001", "turn-002"]
    assert sorted(path.name for path in (project / "data/to_annotate").glob("turn-*")) == batches
    assert [row["turn"] for row in rows] == [2] and len(trained) == 3
    tags = subprocess.run(["git", "tag"], capture_output=True, text=True, check=True).stdout.split()
    assert tags == ["data-v1.1", "data-v1.2"]
    lineage = [json.loads(line) for line in (project / "data/dataset/lineage.jsonl").read_text().splitlines()]
    assert max(Counter(row["sha256"] for row in lineage).values()) == 1
    assert {row["batch"] for row in lineage} == set(batches)
    held = {path.name for batch in batches for path in (project / "data/hard" / batch / "images").iterdir()}
    merged = {Path(row["file"]).name for row in lineage}
    assert not held & merged
    frozen = project / "data/dataset/frozen/validation.json"
    assert frozen.read_bytes() == (project / "data/splits/val.json").read_bytes()
