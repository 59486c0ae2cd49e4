"""A run as a SLURM job, through submitit: the batch script, submission, arrays.

    train.py ... --use-cluster 1 --num-nodes 1 --num-gpus 4 --partition gpu --time 4:00:00
    train.py ... --use-cluster 1 --dry-run                                     # print the batch script
    train.py ... --use-cluster 1 --multirun optimizer.learning_rate=1e-4,2e-4     # one array, an element a choice

One task a GPU. A task that is lost takes the others with it (`--kill-on-bad-exit`), and the batch script has the job
requeued, up to `--retries` times, unless a task said that its input cannot be used. Preemption and time limits are
seen to by `sam3.train.stop`. The work folder has to be on storage that all nodes share.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from sam3.errors import Unavailable
from sam3.files import read_json, write_json
from sam3.train.config import TrainConfig
from sam3.train.launch import Launch, order

JOB = "job.json"
ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "PREEMPTED")


def parameters(config: TrainConfig, launch: Launch) -> dict[str, Any]:
    """What submitit's SLURM executor is told."""
    chosen: dict[str, Any] = {
        "job_name": f"sam3-{config.concept.replace(' ', '-')}",
        "nodes": launch.nodes,
        "ntasks_per_node": launch.per_node,
        "cpus_per_task": 1 if launch.cpu_processes else config.data.workers + 2,
        "time": launch.time,
        "signal_delay_s": launch.signal_before,
        "additional_parameters": {"requeue": True},
        "srun_args": ["--kill-on-bad-exit=1"],
        "teardown": again_if_lost(launch.retries, Path(config.train.work).absolute()),
    }
    if not launch.cpu_processes and launch.gpus:
        chosen["gres"] = f"gpu:{launch.gpus}"
    wanted = {"partition": launch.partition, "account": launch.account, "qos": launch.qos, "mem": launch.memory}
    return chosen | {name: value for name, value in wanted.items() if value}


def again_if_lost(retries: int, work: Path) -> list[str]:
    """Lines behind srun in the batch script: requeue a job that lost a task, but not one that was cancelled."""
    folder = shlex.quote(str(work))
    array = '${SLURM_ARRAY_TASK_ID:+/$(printf %02d "$SLURM_ARRAY_TASK_ID")}'
    return [
        "status=$?",
        f"work={folder}{array}",
        'if [ "$status" -ne 0 ] && ! grep -qs \'"mendable": true\' "$work"/error-*.json; then',
        '    echo "$status" >> "$work/losses.txt"',
        f'    if [ "$(wc -l < "$work/losses.txt")" -le {retries} ] &&',
        '        scontrol show job "$SLURM_JOB_ID" | grep -q JobState=RUNNING; then',
        '        scontrol requeue "$SLURM_JOB_ID" && sleep 60',
        "    fi",
        "fi",
        'exit "$status"',
    ]


def batch_script(configs: list[TrainConfig], launch: Launch) -> str:
    """The sbatch script that would be submitted."""
    import sys

    from submitit.slurm.slurm import _make_sbatch_string

    folder = logs(configs)
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    count: dict[str, Any] = {"map_count": len(configs)} if len(configs) > 1 else {}
    return _make_sbatch_string(command=command, folder=folder, **parameters(_whole(configs), launch), **count)


def submit(configs: list[TrainConfig], launch: Launch) -> list[str]:
    """Submit a run, or several as one array; a run whose job is still under way is not submitted again.

    Returns:
        One job id a config: "12", or "12_0", "12_1", ...

    Raises:
        Unavailable: there is no SLURM here, or it refuses the job.
    """
    from sam3.train.worker import work_off

    if not shutil.which("sbatch"):
        raise Unavailable(
            "--use-cluster 1: sbatch is not on the path. Run this on a login node, or use --use-cluster 0.",
            field="use-cluster",
        )
    under_way = {at: job for at, config in enumerate(configs) if (job := job_under_way(config))}
    if under_way:
        print(f"already submitted: job {', '.join(under_way.values())}")
    left = [at for at in range(len(configs)) if at not in under_way]
    if not left:
        return list(under_way.values())
    if under_way and len(configs) > 1:  # the batch script finds an element's folder by its place in the array
        raise Unavailable("some runs of this sweep are still under way: wait for them, or cancel them with scancel.")
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(logs(configs))
    executor.update_parameters(**parameters(_whole(configs), launch))
    files = [order(config, launch) for config in configs]
    try:
        if len(files) > 1:
            jobs = executor.map_array(work_off, [str(file) for file in files])
        else:
            jobs = [executor.submit(partial(work_off, str(files[0])))]
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        reason = next((line for line in str(error).splitlines() if "error:" in line), str(error).splitlines()[-1])
        raise Unavailable(f"SLURM refuses the job: {reason.strip()} Check --partition, --account, --qos.") from error
    for file, one in zip(files, jobs, strict=True):
        write_json(file.with_name(JOB), {"job": one.job_id, "logs": str(logs(configs))})
    return [str(one.job_id) for one in jobs]


def logs(configs: list[TrainConfig]) -> Path:
    """Where submitit and the tasks write."""
    return Path(_whole(configs).train.work).absolute() / "slurm"


def show(job: str) -> dict[str, str]:
    """SLURM's own words about a job (JobState, Reason, Restarts, ...); empty when it knows none of that number."""
    try:
        done = subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return {"JobState": "UNKNOWN"}
    if done.returncode:
        gone = "Invalid job id" in done.stderr
        return {} if gone else {"JobState": "UNKNOWN"}  # the controller is away: it comes back
    first = next((line for line in done.stdout.splitlines() if line.strip()), "")
    return dict(word.split("=", 1) for word in first.split() if "=" in word)


def job_under_way(config: TrainConfig) -> str | None:
    """The cluster job that has the run's work folder, if there is one that is not over."""
    file = Path(config.train.work).absolute() / JOB
    if not file.is_file():
        return None
    job = str(read_json(file)["job"])
    return job if show(job).get("JobState") in ACTIVE else None


def _whole(configs: list[TrainConfig]) -> TrainConfig:
    """The config that stands for a sweep: its runs lie side by side, in the folder above."""
    if len(configs) == 1:
        return configs[0]
    from dataclasses import replace

    return replace(configs[0], train=replace(configs[0].train, work=str(Path(configs[0].train.work).parent)))
