"""The Prefect flow over a tiny DVC project: in Prefect's test harness, and on a real server."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam3.errors import BadConfig

PYTHON = "import json; json.dump({'cgF1': 0.5, 'pairs': [1, 2]}, open('metrics.json', 'w'))"


def write_project(folder: Path, *, middle: str = "cat first.txt > second.txt") -> Path:
    """Three stages in a row, written down back to front."""
    stages: dict[str, Any] = {
        "measure": {
            "cmd": f'python -c "{PYTHON}"',
            "deps": ["second.txt"],
            "metrics": [{"metrics.json": {"cache": False}}],
        },
        "middle": {"cmd": middle, "deps": ["first.txt"], "outs": ["second.txt"]},
        "start": {"cmd": "echo hello && echo 1 > first.txt", "outs": ["first.txt"]},
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            yield


def test_stages_come_after_what_they_need(tmp_path: Path) -> None:
    from flows.pipeline import stage_names

    assert stage_names(write_project(tmp_path)) == ["start", "middle", "measure"]


def test_the_repositorys_own_stages_are_found(repo_root: Path) -> None:
    from flows.pipeline import stage_names

    if not (repo_root / "dvc.yaml").is_file():
        pytest.skip("this checkout has no dvc.yaml yet")
    names = stage_names(repo_root)
    assert "data_engine/dvc.yaml:mine" not in names, "a pipeline that is brought up to date does not mine"
    assert names.index("etl") < names.index("train") < names.index("compare") < names.index("report")


def test_a_folder_without_a_project_is_refused_in_one_line(tmp_path: Path) -> None:
    from flows.pipeline import stage_names

    with pytest.raises(BadConfig, match="not a usable DVC project"):
        stage_names(tmp_path)


@pytest.mark.slow
def test_stages_run_once_and_are_unchanged_the_second_time(
    harness: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.pipeline import pipeline

    project = write_project(tmp_path)
    with caplog.at_level(logging.INFO, logger="prefect.task_runs"):
        first = pipeline(str(project))
    assert [(o.stage, o.status) for o in first] == [("start", "ran"), ("middle", "ran"), ("measure", "ran")]
    assert "hello" in caplog.messages  # the stage's own words
    assert [o.status for o in pipeline(str(project))] == ["unchanged"] * 3
    assert published("pipeline-stages")[0]["status"] == "unchanged"
    assert published("pipeline-metrics") == [{"file": "metrics.json", "metric": "cgF1", "value": 0.5}]


@pytest.mark.slow
def test_a_stage_that_fails_once_is_tried_again(harness: None, tmp_path: Path) -> None:
    from flows.pipeline import pipeline

    project = write_project(tmp_path, middle="test -e seen || { touch seen; exit 3; }; cat first.txt > second.txt")
    assert [o.status for o in pipeline(str(project), retries=1, retry_delay=0)] == ["ran"] * 3


@pytest.mark.slow
def test_a_stage_that_goes_on_failing_says_why_and_what_was_not_reached(harness: None, tmp_path: Path) -> None:
    from flows.pipeline import StageFailed, pipeline

    project = write_project(tmp_path, middle="echo 'error: labels are missing'; exit 3")
    with pytest.raises(StageFailed, match=r"^middle: labels are missing \(exit status"):
        pipeline(str(project), retries=0)
    rows = published("pipeline-stages")
    assert [(row["stage"], row["status"]) for row in rows] == [
        ("start", "ran"),
        ("middle", "failed"),
        ("measure", "not reached"),
    ]


def published(key: str) -> list[dict[str, Any]]:
    """The newest table with this key."""
    from prefect.artifacts import Artifact

    found = Artifact.get(key)
    assert found is not None
    return json.loads(found.data)  # type: ignore[arg-type]


@pytest.mark.slow
def test_on_a_real_server_the_run_and_its_tables_are_there(tmp_path: Path, repo_root: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    write_project(project)
    with server(tmp_path) as api:
        environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "flows.pipeline", "--folder", str(project)]
        subprocess.run(command, cwd=repo_root, env=environment, check=True, timeout=120)
        [run] = post(f"{api}/flow_runs/filter")
        assert run["state"]["type"] == "COMPLETED"
        assert {task["name"] for task in post(f"{api}/task_runs/filter")} == {"start", "middle", "measure"}
        assert {a["key"] for a in post(f"{api}/artifacts/filter")} == {"pipeline-stages", "pipeline-metrics"}
        time.sleep(1)  # logs are sent in batches
        assert "hello" in {log["message"] for log in post(f"{api}/logs/filter")}


def post(url: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


class server:  # noqa: N801  (used like a function)
    """A Prefect server on a free port of 127.0.0.1; ended by its pid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            **os.environ,
            "PREFECT_HOME": str(self.folder / "server"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self.log = (self.folder / "server.log").open("wb")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        api = f"http://127.0.0.1:{port}/api"
        for _ in range(240):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"{api}/health", timeout=2):
                    return api
            except OSError:
                time.sleep(0.5)
        self.__exit__()
        raise AssertionError("the Prefect server did not start within two minutes")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
