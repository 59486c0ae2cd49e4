"""Shards as a SLURM array (submitit): submitted, watched by their manifests, lost elements submitted again.

An element that is preempted or whose node fails is requeued by SLURM itself; one that fails otherwise leaves its
shards undone, and they are submitted once more. What counts as done is a manifest, never a job's state.
"""

from __future__ import annotations

import shutil
import subprocess
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sam3.errors import Unavailable
from sam3_agent.mining.plan import ranges
from sam3_agent.mining.run import element_calls
from sam3_agent.mining.shard import manifest, manifest_file

ATTEMPTS = 3
EVERY = 2.0  # seconds between looks
GONE = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "")


def run_array(out: Path, shards: Sequence[int], tasks: int, *, partition: str | None, gpus: int, time: str) -> None:
    """Do shards as an array and wait for them.

    Raises:
        Unavailable: there is no SLURM here, or shards are left after `ATTEMPTS` submissions; names them.
    """
    if not shutil.which("sbatch"):
        raise Unavailable("--tasks: sbatch is not on the path. Run this on a login node, or leave --tasks out.")
    left = undone(out, shards)
    with tqdm(total=len(shards), initial=len(shards) - len(left), desc="mining", unit="shard") as bar:
        for _ in range(ATTEMPTS):
            if not left:
                return
            jobs = submit(out, left, tasks, partition=partition, gpus=gpus, time=time)
            bar.set_postfix_str(f"job {jobs[0].split('_')[0]}, {len(jobs)} elements")
            while under_way(jobs):
                clock.sleep(EVERY)
                _show(bar, out, shards)
            left = undone(out, left)
            _show(bar, out, shards)
    if left:
        raise Unavailable(
            f"{out}: shards {ranges(left)} are still not done after {ATTEMPTS} submissions. "
            f"Logs: {out / 'slurm'}; run one here: sam3-agent mine-inbox --out {out} --shards {left[0]}"
        )


def submit(out: Path, shards: Sequence[int], tasks: int, *, partition: str | None, gpus: int, time: str) -> list[str]:
    """Submit an array; returns the ids of its elements."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from sam3.train.time_limit import minutes

    settings: dict[str, Any] = {
        "job_name": "sam3-mine",
        "time": minutes(time),
        "additional_parameters": {"requeue": True},
    }
    if partition:
        settings["partition"] = partition
    if gpus:
        settings["gres"] = f"gpu:{gpus}"
    executor = SlurmExecutor(out.absolute() / "slurm")
    executor.update_parameters(**settings)
    calls = element_calls(out, shards, tasks)
    try:
        if len(calls) == 1:
            return [executor.submit(calls[0]).job_id]
        with executor.batch():
            jobs = [executor.submit(call) for call in calls]
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        raise Unavailable(
            f"SLURM refuses the array: {str(error).splitlines()[-1]} Check --partition, --tasks."
        ) from error
    return [job.job_id for job in jobs]


def undone(out: Path, shards: Sequence[int]) -> list[int]:
    """Shards without a manifest that holds."""
    return [shard for shard in shards if manifest(out, shard) is None]


def under_way(jobs: Sequence[str]) -> bool:
    """Whether SLURM still has an element of an array to run."""
    command = ["squeue", "-h", "-r", "-o", "%T", "-j", jobs[0].split("_")[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return "Invalid job id" not in done.stderr  # the controller is away: ask again
    return any(state not in GONE for state in done.stdout.split())


def _show(bar: tqdm[None], out: Path, shards: Sequence[int]) -> None:
    bar.n = sum(manifest_file(out, shard).is_file() for shard in shards)
    bar.refresh()
