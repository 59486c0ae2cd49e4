"""What a person sees of cluster jobs: their state, a bar of steps, what went wrong; and what is done about it.

A job that failed without blame (a task, a node or the batch script was killed) is requeued up to `retries` times.
Interrupting the view leaves the jobs alone; the same command shows them again.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from sam3.errors import Sam3AgentError, Unavailable
from sam3.files import read_json
from sam3.train.heartbeat import PROGRESS
from sam3.train.launch import DONE, failure, refused
from sam3.train.slurm import ACTIVE, JOB, show

EVERY = 1.0  # seconds between looks
GRACE = 20.0  # a shared file system may show a finished job's files a little later


@dataclass
class Followed:
    """One job of the view."""

    job: str
    work: Path
    bar: tqdm[None]
    retries: int
    state: str = ""
    since: float = field(default_factory=time.monotonic)
    over: str | None = None


def follow(jobs: list[tuple[str, Path]], retries: int) -> list[Path]:
    """Watch jobs until all are over.

    Args:
        jobs: id and work folder of each.

    Returns:
        The checkpoint's folder of each.

    Raises:
        Unavailable, BadConfig: the first job that failed for good, with the reason.
    """
    views = [
        Followed(job, work, tqdm(total=1, desc=f"job {job}", position=at, unit="step", leave=True), retries)
        for at, (job, work) in enumerate(jobs)
    ]
    try:
        while any(view.over is None for view in views):
            for view in views:
                if view.over is None:
                    look(view)
            time.sleep(EVERY)
    finally:
        for view in views:
            view.bar.close()
    for view in views:
        if view.over != DONE:
            refused(view.work)
            raise Unavailable(f"job {view.job}: {view.over}")
    return [Path(read_json(view.work / DONE)["checkpoint"]) for view in views]


def look(view: Followed) -> None:
    """Bring one job's line up to date; requeue it if it was lost."""
    state = show(view.job).get("JobState", "")
    if state != view.state:
        view.state, view.since = state, time.monotonic()
        view.bar.set_postfix_str(state.lower() or "gone from the queue")
    _steps(view)
    if (view.work / DONE).is_file() and state not in ("RUNNING", "PENDING"):
        view.over = DONE
    elif state and (state in ACTIVE or state == "UNKNOWN"):
        return
    elif state.startswith("CANCELLED"):
        view.over = f"cancelled at step {view.bar.n} of {view.bar.total}. The same command goes on from there."
    elif time.monotonic() - view.since > (GRACE if state in ("", "COMPLETED") else 2):
        _lost(view, state)


def _lost(view: Followed, state: str) -> None:
    """Over without a result: again, or for good."""
    try:
        refused(view.work)
        blamed = False
    except Sam3AgentError:
        blamed = True
    if not blamed and state and view.retries > 0:
        done = subprocess.run(["scontrol", "requeue", view.job], capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            view.retries -= 1
            view.bar.write(f"job {view.job}: {state.lower()} ({reason(view.work, view.job)}); requeued")
            view.state, view.since = "", time.monotonic()
            return
    view.over = f"{state.lower() or 'gone from the queue'}: {reason(view.work, view.job)}"


def reason(work: Path, job: str) -> str:
    """Why a job failed: a task's own words, else what srun said of it, and where to read on."""
    folder = Path(read_json(work / JOB)["logs"]) if (work / JOB).is_file() else work
    said = failure(work)
    log = folder / f"{job}_0_log.err"
    if said is None and log.is_file():
        lines = log.read_text(errors="replace").splitlines()[-200:]
        killed = [line for line in lines if re.search(r"srun: error: .*task", line)]
        said = killed[-1].removeprefix("srun: error: ") if killed else None
    return f"{said or 'a task was lost without a word'}. Logs: {folder}/{job}_*"


def _steps(view: Followed) -> None:
    try:
        row = read_json(view.work / PROGRESS)
    except Sam3AgentError:
        return
    view.bar.total, view.bar.n = row["of"], row["step"]
    loss = "" if row["loss"] is None else f", loss {row['loss']:.3f}"
    view.bar.set_postfix_str(f"{view.state.lower()}{loss}, {row['samples_per_second']:.1f} samples/s")
