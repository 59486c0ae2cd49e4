"""What the command line asks for, and what happens to a job that loses a task."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sam3.errors import BadConfig, Unavailable
from sam3.files import write_json
from sam3.train.config import RunConfig, TrainConfig, compose
from sam3.train.launch import Launch, failure, note_failure, refused, sweep
from sam3.train.slurm import again_if_lost, parameters, submit
from sam3.train.time_limit import minutes
from sam3.train.train import configs_of, launch_of, parse, train
from sam3.train.world import World, gather_rows, shared_count, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90:30", 91), ("4:00:00", 240), ("1-02", 1560), ("1-02:30", 1590), ("2-00:00:01", 2881)],
)
def test_time_limits_are_spelt_as_slurm_does(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "0", "1:2:3:4", "-5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="--time"):
        minutes(text)


def test_a_sweep_is_hydras() -> None:
    assert sweep(["a=1,2", "b=x", "c=range(0,2)"]) == [[f"a={a}", "b=x", f"c={c}"] for a in (1, 2) for c in (0, 1)]
    assert sweep([]) == [[]]
    with pytest.raises(BadConfig, match="--multirun"):
        sweep(["a=[1,"])


def test_runs_of_a_sweep_have_folders_of_their_own(repo_root: Path) -> None:
    config = str(repo_root / "configs/sam3_chicken_finetune.yaml")
    args, rest = parse(["-c", config, "--multirun", "train.seed=1,2", "train.work=w", "train.out=o"])
    configs = configs_of(args, rest)
    assert [(c.train.seed, c.train.work, c.train.out) for c in configs] == [(1, "w/00", "o/00"), (2, "w/01", "o/01")]


def test_heads_from_stored_features_is_a_config(repo_root: Path) -> None:
    config = compose(repo_root / "configs/sam3_chicken_heads.yaml", ["model=sam3", "cache.budget_gb=10"])
    assert config.cache.enabled and config.data.views == 4 and config.model.checkpoint == "facebook/sam3"
    assert config.model.frozen == ["vision_encoder", "text_encoder"] or config.model.frozen == (
        "vision_encoder",
        "text_encoder",
    )
    assert config.cache.budget_gb == 10 and not config.loss.semantic_on_negatives


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--num-nodes", "2"], "need --use-cluster 1"),
        (["--num-gpus", "-1"], "--num-gpus -1: expected 0 or more"),
        (["--retries", "-2"], "--retries -2"),
        (["--dry-run"], "--dry-run is of a cluster job"),  # it would train
        (["--partition", "gpu"], "--partition is of a cluster job"),
    ],
)
def test_flags_that_cannot_be_are_named(flags: list[str], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        launch_of(parse(["-c", "x.yaml", *flags])[0])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.accumulate=0", "train.accumulate=0: expected 1 or more"),
        ("train.batch_size=0", "train.batch_size=0: expected 1 or more, or auto"),
        ("train.batch_size=many", "train.batch_size=many: expected"),
        ("train.max_epochs=0", "train.max_epochs=0: expected 1"),
        ("data.workers=-1", "data.workers=-1: expected 0"),
        ("trainer.keep=0", "the best of them becomes the result"),
        ("model.lora.rank=-1", "model.lora.rank=-1: expected 0"),
        ("loss.mask_points=-5", "loss.mask_points=-5: expected 0"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate=nan: expected a finite number"),
        ("cache.budget_gb=inf", "cache.budget_gb=inf: expected a finite number"),
    ],
)
def test_numbers_that_cannot_end_well_are_named_before_anything_begins(
    repo_root: Path, override: str, says: str
) -> None:
    with pytest.raises(BadConfig, match=re.escape(says)):
        compose(repo_root / "configs/sam3_chicken_finetune.yaml", [override])


def test_without_slurm_the_cluster_is_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="login node, or use --use-cluster 0"):
        submit([TrainConfig()], Launch(use_cluster=True))


def test_a_folder_that_a_cluster_job_has_is_not_trained_in_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/bash\necho JobId=12 JobState=RUNNING\n")
    (tmp_path / "scontrol").chmod(0o755)
    write_json(tmp_path / "run/job.json", {"job": "12", "logs": "x"})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("sam3.train.worker.carry_out", lambda config, launch: Path("trained"))
    config = TrainConfig(train=RunConfig(work=str(tmp_path / "run")))
    with pytest.raises(Unavailable, match=r"job 12 trains there\. .*scancel 12"):
        train(config, Launch())
    (tmp_path / "scontrol").write_text("#!/bin/bash\necho JobId=12 JobState=COMPLETED\n")
    assert train(config, Launch()) == Path("trained")


def test_a_task_a_gpu() -> None:
    config = TrainConfig(concept="red hen")
    asked = parameters(config, Launch(use_cluster=True, gpus=4, nodes=2, partition="gpu", time=60))
    assert (asked["nodes"], asked["ntasks_per_node"], asked["gres"], asked["time"]) == (2, 4, "gpu:4", 60)
    assert asked["job_name"] == "sam3-red-hen" and "qos" not in asked
    on_cpu = parameters(config, Launch(use_cluster=True, gpus=0, cpu_processes=3))
    assert on_cpu["ntasks_per_node"] == 3 and "gres" not in on_cpu


@pytest.mark.parametrize(
    ("status", "state", "losses", "mendable", "requeued"),
    [
        (137, "RUNNING", 0, False, True),
        (137, "RUNNING", 2, False, False),  # as often as asked for
        (1, "RUNNING", 0, True, False),  # its input cannot be used: again would be the same
        (143, "CANCELLED", 0, False, False),  # somebody's wish
        (75, "PENDING", 0, False, False),  # requeued already
        (0, "RUNNING", 0, False, False),
    ],
)
def test_the_batch_script_has_a_lost_job_requeued(
    tmp_path: Path, status: int, state: str, losses: int, mendable: bool, requeued: bool
) -> None:
    work = tmp_path / "a work folder"
    work.mkdir()
    (work / "losses.txt").write_text("137\n" * losses)
    if mendable:
        note_failure(work, 0, BadConfig("no"), mendable=True, at=1.0)
    (tmp_path / "scontrol").write_text(
        f'#!/bin/bash\n[ "$1" = requeue ] && echo "$@" >> "{tmp_path}/asked"; echo JobState={state}\n'
    )
    (tmp_path / "sleep").write_text("#!/bin/bash\n")
    for name in ("scontrol", "sleep"):
        (tmp_path / name).chmod(0o755)
    script = "\n".join([f"(exit {status})", "", *again_if_lost(2, work)])
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "asked").exists() == requeued


def test_the_process_that_failed_first_is_named_not_those_that_lost_it(tmp_path: Path) -> None:
    note_failure(tmp_path, 0, RuntimeError("Connection closed by peer [127.0.0.1]"), mendable=False, at=1.0)
    note_failure(tmp_path, 3, ValueError("bad\nnumber"), mendable=False, at=2.0)
    assert "process 3 on" in str(failure(tmp_path)) and "ValueError: bad number" in str(failure(tmp_path))
    refused(tmp_path)  # neither is the input's fault
    note_failure(tmp_path, 2, BadConfig("a.png: damaged"), mendable=True, at=3.0)
    with pytest.raises(BadConfig, match=r"process 2 on .*: a.png: damaged"):
        refused(tmp_path)


def test_one_process_is_alone_with_its_numbers() -> None:
    assert size() == 1 and World().first and gather_rows([1, 2]) == [1, 2]
    assert shared_count(0) == 1 and shared_count(5) == 5
    assert replace(World(), size=8, nodes=2).per_node == 4


def test_a_training_may_begin_with_another_checkpoint(repo_root: Path) -> None:
    for name in ("sam3_chicken_finetune.yaml", "sam3_chicken_heads.yaml"):
        config = repo_root / "configs" / name
        assert compose(config, ["++train.start=''"]).model.checkpoint == "sam3-lite"
        begun = compose(config, ["++train.start='outputs/champions/production-candidate-v1-3'"])
        assert begun.model.checkpoint == "outputs/champions/production-candidate-v1-3"
