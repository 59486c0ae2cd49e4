"""The flows on a real Prefect server: killed and started again, nothing twice; cancelled, cleaned up; asked, answered.

The steps here are small stand-ins with the flows' own journal, locks, leash and questions; the real steps are tested
in their rooms, and joined in `flows/loop_demo.py`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

pytestmark = pytest.mark.slow
FLOWS = """
import time
from pathlib import Path
from prefect import flow, task
from flows.journal import Journal, alone
from flows.people import ask
from flows.pipeline import pipeline
from flows.steps import OPTIONS, alive


@task(**{**OPTIONS, "retry_delay_seconds": 0.1})
def write(name: str, seconds: float) -> str:
    with Path("done.txt").open("a") as stream:
        stream.write(name + "\\n")
    time.sleep(seconds)
    return name


@flow(name="turn", persist_result=True, result_serializer="json")
def turn(steps: list[str], slow: str = "", question: bool = False, hours: float = 1.0) -> list[str]:
    with alive() as run, alone("loop", patience=60):
        journal = Journal(Path(f"turn-{run}.json"))
        for step in steps:
            if step.startswith("pipeline"):
                journal.once(step, lambda: [outcome.status for outcome in pipeline("data", force=True)])
            else:
                journal.once(step, lambda step=step: write(step, 0.0))
            if step == slow and not Path("go").exists():
                Path("waiting").touch()
                time.sleep(60)
        if question:
            answer = journal.once("asked", lambda: vars(ask("Go on?", hours, "go-on")))
            write(f"answered {answer['approve']} by {answer['by'] or answer['comment']}", 0.0)
    return steps
"""


class Site:
    """A server and a worker of our own, both to be killed."""

    def __init__(self, folder: Path, repo: Path) -> None:
        self.folder, self.repo = folder, repo
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "turns.py").write_text(FLOWS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ, "PREFECT_API_URL": self.api, "PREFECT_HOME": str(folder / "home"), "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5", "PREFECT_API_SERVICES_LATE_RUNS_ENABLED": "false",
            "PYTHONPATH": str(repo), "SAM3_AGENT_HOME": str(self.project),
        }  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=self.project, env=self.environment, stdout=log, stderr=log
        )

    def server(self) -> None:
        self.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.until(lambda: httpx.get(f"{self.api}/health", timeout=2).status_code == 200, 120)

    def worker(self) -> None:
        self.start("worker", "flows.worker", "--every", "2")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def run(self, *words: str) -> str:
        done = subprocess.run([sys.executable, "-m", *words], cwd=self.project, env=self.environment,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def post(self, path: str, body: dict[str, Any]) -> Any:
        reply = httpx.post(f"{self.api}/{path}", json=body, timeout=30)
        assert reply.status_code < 300, reply.text
        return reply.json() if reply.content else None

    def state(self, run: str) -> str:
        return str(httpx.get(f"{self.api}/flow_runs/{run}", timeout=30).json()["state"]["type"])

    def order(self, **parameters: Any) -> str:
        found = httpx.get(f"{self.api}/deployments/name/turn/turn", timeout=30).json()
        made = self.post(f"deployments/{found['id']}/create_flow_run",
                         {"parameters": parameters, "state": {"type": "SCHEDULED"}, "tags": ["sam3-agent"]})  # fmt: skip
        return str(made["id"])

    def until(self, what: Callable[[], bool], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if what():
                    return
            except (httpx.HTTPError, OSError, KeyError, ValueError):
                pass
            time.sleep(0.3)
        logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log")))
        raise AssertionError(f"not within {seconds} s\n{logs}")

    def done(self) -> list[str]:
        path = self.project / "done.txt"
        return path.read_text().splitlines() if path.is_file() else []

    def clean(self) -> None:
        for name in ("done.txt", "go", "waiting"):
            (self.project / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("loop"), repo_root)
    try:
        made.server()
        made.run("prefect", "work-pool", "create", "sam3-agent", "--type", "process")
        made.post("work_pools/filter", {})
        content = {
            "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": str(made.project)}}],
            "deployments": [{"name": "turn", "entrypoint": "turns.py:turn", "tags": ["sam3-agent"],
                             "work_pool": {"name": "sam3-agent"}}],
        }  # fmt: skip
        (made.project / "prefect.yaml").write_text(yaml.safe_dump(content))
        made.run("prefect", "--no-prompt", "deploy", "--all")
        made.worker()
        yield made
    finally:
        for process in made.processes.values():
            process.send_signal(signal.SIGINT)
        for process in made.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def processes_of(site: Site) -> list[int]:
    """Processes of flow runs: those that work in the project and are neither worker nor server."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            words = " ".join(process.info["cmdline"] or ())
            own = process.cwd() == str(site.project) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if own and not any(name in words for name in (" worker ", "flows.worker", " server ", "uvicorn")):
            found.append(process.pid)
    return found


def test_the_flow_its_worker_and_the_server_are_killed_and_nothing_is_done_twice(site: Site) -> None:
    site.clean()
    run = site.order(steps=["mine", "merge", "train"], slow="merge")
    site.until((site.project / "waiting").is_file)
    pids = processes_of(site)
    assert pids
    site.kill("worker")
    site.kill("server")
    for pid in pids:
        with suppress(ProcessLookupError):  # its worker's leash may have been faster
            os.kill(pid, signal.SIGKILL)
    (site.project / "go").touch()
    site.server()
    site.worker()
    site.until(lambda: site.state(run) == "COMPLETED")
    assert site.done() == ["mine", "merge", "train"]


def test_a_pipeline_of_a_later_turn_runs_although_the_flow_was_killed_after_an_earlier_one(site: Site) -> None:
    """To Prefect it is the first pipeline of the new process, as the earlier turn's was of the old one."""
    site.clean()
    data = site.project / "data"
    data.mkdir()
    site.run("dvc", "--cd", "data", "init", "--no-scm")
    (data / "dvc.yaml").write_text("stages: {count: {cmd: echo ran >> ran.txt}}")
    run = site.order(steps=["pipeline 1", "a", "pipeline 2"], slow="a")
    site.until((site.project / "waiting").is_file)
    for pid in processes_of(site):
        os.kill(pid, signal.SIGKILL)
    (site.project / "go").touch()
    site.until(lambda: site.state(run) == "COMPLETED")
    assert (data / "ran.txt").read_text().split() == ["ran", "ran"]


def test_a_person_is_waited_for_by_no_process_and_survives_a_restart(site: Site) -> None:
    site.clean()
    run = site.order(steps=["mine"], question=True)
    site.until(lambda: site.state(run) == "PAUSED")
    site.until(lambda: not processes_of(site))
    site.kill("worker")
    site.worker()
    reply = site.post(f"flow_runs/{run}/resume", {"run_input": {"approve": True, "by": "Ann"}})
    assert reply["status"] == "ACCEPT", reply
    site.until(lambda: site.state(run) == "COMPLETED")
    assert site.done() == ["mine", "answered True by Ann"]


def test_when_nobody_answers_in_time_the_answer_is_no_and_the_run_goes_on(site: Site) -> None:
    site.clean()
    run = site.order(steps=["mine"], question=True, hours=4 / 3600)
    site.until(lambda: site.state(run) == "PAUSED")
    site.until(lambda: site.state(run) == "COMPLETED")
    assert site.done() == ["mine", "answered False by nobody answered within 0.00111111 h"]


def test_a_no_without_a_word_is_an_answer(site: Site) -> None:
    site.clean()
    run = site.order(steps=["mine"], question=True)
    site.until(lambda: site.state(run) == "PAUSED")
    site.post(f"flow_runs/{run}/resume", {"run_input": {"approve": False}})
    site.until(lambda: site.state(run) == "COMPLETED")
    assert site.done() == ["mine", "answered False by "]


def test_a_cancelled_run_leaves_no_process_and_no_lock(site: Site) -> None:
    from flows.journal import is_alive

    site.clean()
    run = site.order(steps=["mine", "merge"], slow="mine")
    site.until((site.project / "waiting").is_file)
    assert is_alive(f"run-{run}", site.project / "outputs/flows")
    site.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    site.until(lambda: site.state(run) == "CANCELLED")
    site.until(lambda: not processes_of(site))
    assert not is_alive(f"run-{run}", site.project / "outputs/flows")
    assert site.done() == ["mine"]


def test_the_repositorys_deployments_have_their_schedules_triggers_and_limits(site: Site, repo_root: Path) -> None:
    environment = site.environment | {"SAM3_AGENT_HOME": str(repo_root)}
    subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], cwd=repo_root, env=environment,
                   check=True, capture_output=True, timeout=200)  # fmt: skip
    rows = {row["name"]: row for row in site.post("deployments/filter", {})}
    assert {"pipeline", "mine", "annotation_sync", "retrain", "deploy", "monitor", "loop"} <= rows.keys()
    assert rows["retrain"]["global_concurrency_limit"]["limit"] == 1
    assert rows["mine"]["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    found = site.post("automations/filter", {})
    events = {event for row in found for event in row["trigger"].get("expect", [])}
    assert {
        "sam3-agent.drift",
        "sam3-agent.feedback.burst",
        "sam3-agent.annotations.enough",
        "sam3-agent.promoted",
    } <= events
    assert json.dumps(found).count("run-deployment") >= 4
