"""Training on a real SLURM: submitted, preempted, killed in every way, and finished with what it would have been."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from made_pairs import make_pairs, make_place, train_command

STEPS = 90
pytestmark = pytest.mark.skipif(slurm_cluster.missing() is not None, reason=str(slurm_cluster.missing()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm_cluster.SlurmCluster]:
    running = slurm_cluster.SlurmCluster().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("cluster"), 10)


def command(repo: Path, place: Path, name: str, *more: str, epochs: int = STEPS // 5) -> list[str]:
    length = [f"train.max_epochs={epochs}", "train.batch_size=2", f"trainer.validate_every={epochs}"]
    return train_command(repo, place / "pairs/pairs.json", place / "tiny", place / name, *length, *more)


ON_CLUSTER = ("--use-cluster", "1", "--partition", "low", "--time", "30", "--cpu-processes", "2")


class View:
    """A `train.py` that follows its job, and what can be known of it from outside."""

    def __init__(self, cluster: slurm_cluster.SlurmCluster, command: list[str], work: Path) -> None:
        self.cluster, self.work = cluster, work
        self.out = work.parent / "view.txt"
        work.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=work.parent, env=cluster.env, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def job(self) -> str:
        self.until(lambda: (self.work / "job.json").is_file(), "submitted")
        return str(json.loads((self.work / "job.json").read_text())["job"])

    def step(self) -> int:
        file = self.work / "progress.json"
        return int(json.loads(file.read_text())["step"]) if file.is_file() else 0

    def tasks(self) -> dict[int, psutil.Process]:
        """Processes of the running tasks by rank."""
        found = {}
        for process in psutil.process_iter():
            try:
                env = process.environ()
                if env.get("SLURM_JOB_ID") == self.job and "submitit.core._submit" in process.cmdline()[-2:]:
                    found[int(env["SLURM_PROCID"])] = process
            except (psutil.Error, KeyError):
                continue
        return found

    def until(self, so: Callable[[], object], what: str, seconds: float = 100) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if so():
                return
            if self.process.poll() is not None and not so():
                break
            time.sleep(0.1)
        logs = [path.read_text(errors="replace")[-1500:] for path in sorted((self.work / "slurm").glob("*log.err"))]
        self.process.kill()
        pytest.fail(f"not {what}: {self.out.read_text()[-1500:]}\n" + "\n".join(logs))

    def until_training(self) -> None:
        """Until the job runs and has made steps since it was last started."""
        self.until(lambda: self.cluster.state(self.job) == "RUNNING" and self.tasks(), "running")
        begun = self.step()
        self.until(lambda: self.step() > begun + 1 and len(self.tasks()) == 2, f"past step {begun}")

    def start_now(self) -> None:
        """SLURM holds a requeued job back for a while: it revoked its credentials, which are told apart by the second."""
        self.until(lambda: self.cluster.state(self.job) == "PENDING", "requeued")
        time.sleep(2)  # started at once the job would be refused as revoked, and requeued once more
        self.cluster.ask("scontrol", "update", f"jobid={self.job}", "StartTime=now")


def losses(out: Path) -> dict[int, float]:
    rows = csv.DictReader((out / "metrics.csv").open())
    return {int(row["step"]): float(row["train/loss"]) for row in rows if row.get("train/loss")}


@pytest.mark.slow
def test_preempted_and_killed_it_finishes_as_if_nothing_had_happened(
    cluster: slurm_cluster.SlurmCluster, repo_root: Path, place: Path
) -> None:
    here = subprocess.run(command(repo_root, place, "here"), cwd=place, capture_output=True, text=True, timeout=200)
    assert here.returncode == 0, here.stderr[-2000:]
    view = View(cluster, command(repo_root, place, "there", *ON_CLUSTER), place / "there/run")

    view.until_training()  # 1: somebody more important needs both nodes
    cluster.ask("sbatch", "-p", "high", "-N", "2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    view.start_now()
    saved = view.step()

    view.until_training()  # 2: a process is killed
    assert view.step() > saved
    view.tasks()[1].kill()
    view.start_now()

    view.until_training()  # 3: the batch script is killed, which nobody on the node can see to
    [script] = [p for p in psutil.process_iter(["cmdline"]) if f"job{int(view.job):05d}/slurm_script" in str(p.info)]
    os.kill(script.pid, signal.SIGKILL)
    view.start_now()

    view.until_training()  # 4: the node's daemon is killed, and comes back
    node = re.search(r" NodeList=(n\d)", cluster.ask("scontrol", "show", "job", "-o", view.job))
    assert node
    cluster.kill_node(node[1])
    time.sleep(1)
    cluster.start_node(node[1])

    view.until(lambda: view.process.poll() is not None, "finished")
    text = view.out.read_text()
    assert view.process.returncode == 0, text[-2000:]
    assert f"checkpoint: {place / 'there/out'}" in text and "samples/s" in text
    record = json.loads((place / "there/out/training.json").read_text())
    assert record["steps"] == STEPS and record["processes"] == 2
    one, other = losses(place / "here/out"), losses(place / "there/out")
    assert sorted(other) == list(range(STEPS)) == sorted(one)
    assert max(abs(one[step] - other[step]) / one[step] for step in one) < 1e-3
    logs = "".join(path.read_text() for path in (place / "there/run/slurm").glob("*_log.out"))
    assert len(re.findall(r"SIGTERM: step \d+ saved", logs)) >= 1


@pytest.mark.slow
def test_at_its_time_limit_it_is_saved_requeued_and_goes_on(
    cluster: slurm_cluster.SlurmCluster, repo_root: Path, place: Path
) -> None:
    """The shortest limit there is. SLURM looks at limits twice a minute, and warns half a minute earlier than it was asked to.

    So one second before the limit means 29 seconds after the start or later: time enough for a first step on a busy machine.
    """
    limit = [*ON_CLUSTER, "--cpu-processes", "1", "--time", "1", "--signal-before", "1"]
    view = View(cluster, command(repo_root, place, "limited", *limit, epochs=4000), place / "limited/run")
    view.until(lambda: cluster.state(view.job) == "PENDING" and view.step() > 0, "requeued at its limit", 170)
    logs = "".join(path.read_text() for path in (place / "limited/run/slurm").glob("*_log.out"))
    saved = re.findall(r"SIGUSR2: step (\d+) saved", logs)
    assert len(saved) == 1, logs[-1500:]
    view.start_now()
    view.until(lambda: view.step() > int(saved[0]) and cluster.state(view.job) == "RUNNING", "going on")
    assert "Restarts=1 " in cluster.ask("scontrol", "show", "job", "-o", view.job)
    cluster.ask("scancel", view.job)
    view.until(lambda: view.process.poll() is not None, "told that it was cancelled")


@pytest.mark.slow
def test_a_rank_that_fails_is_named_and_the_job_not_repeated(
    cluster: slurm_cluster.SlurmCluster, repo_root: Path, place: Path
) -> None:
    make_pairs(place / "broken", 4)
    (place / "broken/3.png").write_bytes(b"no picture")
    data = [f"data.{key}={place / 'broken/pairs.json'}" for key in ("train", "val")]
    asked = command(repo_root, place, "failing", *ON_CLUSTER, *data, f"data.images={place / 'broken'}")
    done = subprocess.run(asked, cwd=place, env=cluster.env, capture_output=True, text=True, timeout=150)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1, done.stderr[-2000:]
    assert re.match(r"error: process \d on \S+: .*3\.png", errors[0])
    job = json.loads((place / "failing/run/job.json").read_text())["job"]
    assert "Restarts=0" in cluster.ask("scontrol", "show", "job", "-o", job)


@pytest.mark.slow
def test_a_sweep_is_an_array_and_a_cancelled_element_stays_cancelled(
    cluster: slurm_cluster.SlurmCluster, repo_root: Path, place: Path
) -> None:
    sweep = ["--multirun", "optimizer.learning_rate=1e-4,1e-3,1e-2", "--follow", "0"]
    flags = ["--use-cluster", "1", "--partition", "low", "--time", "30"]
    asked = command(repo_root, place, "sweep", *flags, *sweep, epochs=2)
    cluster.ask("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")  # nothing starts yet
    done, again = (
        subprocess.run(asked, cwd=place, env=cluster.env, capture_output=True, text=True, timeout=90) for _ in range(2)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    runs = [place / f"sweep/run/{at:02d}" for at in range(3)]
    jobs = [json.loads((run / "job.json").read_text())["job"] for run in runs]
    assert [job.split("_")[1] for job in jobs] == ["0", "1", "2"] and len({job.split("_")[0] for job in jobs}) == 1
    assert again.returncode == 0 and f"already submitted: job {', '.join(jobs)}" in again.stdout
    cluster.ask("scancel", jobs[2])
    cluster.ask("scontrol", "update", "nodename=n1,n2", "state=resume")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not all((run / "done.json").is_file() for run in runs[:2]):
        time.sleep(0.3)
    rates = [json.loads((place / f"sweep/out/{at:02d}/training.json").read_text()) for at in range(2)]
    assert [rate["config"]["optimizer"]["learning_rate"] for rate in rates] == [1e-4, 1e-3]
    assert not (runs[2] / "done.json").exists() and cluster.state(jobs[2]) in ("CANCELLED", "")


def test_a_dry_run_prints_the_batch_script(repo_root: Path, place: Path) -> None:
    flags = ["--use-cluster", "1", "--num-nodes", "2", "--partition", "gpu", "--account", "farm", "--qos", "long"]
    script = command(repo_root, place, "dry", *flags, "--time", "1-02:30:00", "--dry-run")
    script[script.index("--num-gpus") + 1] = "4"
    done = subprocess.run(script, cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]
    for line in (
        "nodes=2",
        "ntasks-per-node=4",
        "gres=gpu:4",
        "partition=gpu",
        "account=farm",
        "qos=long",
        "time=1590",
    ):
        assert f"#SBATCH --{line}\n" in done.stdout
    assert "#SBATCH --requeue\n" in done.stdout and "#SBATCH --signal=USR2@120\n" in done.stdout
    assert "--kill-on-bad-exit=1" in done.stdout and not (place / "dry").exists()
    checked = subprocess.run(["bash", "-n"], input=done.stdout, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
