"""The steps of the data engine as Prefect tasks: each calls one function of `sam3_agent`, retried with growing pauses.

What a person has to mend (bad input, a bad checkpoint, a bad setting) is not tried again. Results are plain values,
stored as JSON, so that a run that is started again finds what it has done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.tasks import exponential_backoff

from flows import shown
from flows.journal import alone
from sam3.errors import BadCheckpoint, BadConfig, BadInput
from sam3.files import read_json, write_json

RUN = "run-"  # locks by which a run is known to be alive: see flows/resume.py
HELD: dict[str, ExitStack] = {}  # those of this process


def worth_another_try(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failed step may succeed when it is tried again."""
    try:
        state.result()
    except (BadInput, BadCheckpoint, BadConfig):
        return False
    except Exception:
        return True
    return False


OPTIONS: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
    "persist_result": True,
    "result_serializer": "json",
    "cache_policy": NO_CACHE,  # what is done already, the step itself and the journal know
}


@contextmanager
def alive() -> Iterator[str]:
    """A lock that says that this run's process is there, until the process ends. Yields the run's id.

    Not until the flow ends: its outcome reaches the server after that, and a run that looks lost meanwhile would be
    started again.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    name = f"{RUN}{context.flow_run.id}"
    if name not in HELD:  # a flow that is retried holds it already
        HELD[name] = ExitStack()
        HELD[name].enter_context(alone(name, patience=30))
    yield str(context.flow_run.id)


@task(**OPTIONS, task_run_name="mine {name}")
def mine_step(settings: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """A batch of hard pictures; its sheet is shown."""
    from sam3_agent.mining.mine import mine_batch
    from sam3_agent.mining.settings import MineSettings

    batch = mine_batch(MineSettings(**settings, name=name))
    row = {**asdict(batch), "folder": str(batch.folder)}
    shown.table("mined-batch", [row], f"{batch.name}: {batch.pictures} pictures to correct.")
    shown.picture("mined-batch-sheet", batch.folder / "contact_sheet.jpg", "What the model doubts, and why.")
    return row


@task(**OPTIONS, task_run_name="push {folder}")
def push_step(folder: str) -> dict[str, Any]:
    """A batch as tasks with pre-labels in Label Studio."""
    from sam3_agent.annotation.push import push_batch
    from sam3_agent.annotation.studio import Studio

    pushed = push_batch(Path(folder), Studio.load())
    shown.link("annotation-project", pushed.url, f"{pushed.tasks} tasks, {pushed.new} of them new")
    return asdict(pushed)


@task(**OPTIONS)
def pull_step(batch: str | None = None) -> dict[str, Any]:
    """What people have finished; `waiting` counts the open tasks of each batch."""
    from sam3_agent.annotation.pull import pull
    from sam3_agent.annotation.studio import Studio

    report = pull(Studio.load(), batch=batch)
    rows = [{**asdict(one), "folder": str(one.folder), "waiting": report.waiting.get(one.batch, 0)}
            for one in report.deliveries]  # fmt: skip
    shown.table("annotations", rows, "Finished work, batch by batch.")
    return {"waiting": report.waiting, "deliveries": rows, "new": report.new, "changed": report.changed}


@task(**OPTIONS, task_run_name="merge {batch}")
def merge_step(batch: str, dataset: str, share: float) -> dict[str, Any]:
    """An annotated batch: some of it is held out, the rest is merged and versioned."""
    from sam3_agent.annotation.pull import ANNOTATED
    from sam3_agent.dataset_versions.facts import read_lineage
    from sam3_agent.dataset_versions.merge import merge_batch
    from sam3_agent.dataset_versions.version import version_dataset
    from sam3_agent.promotion.hard_cases import hold_out

    held = hold_out(ANNOTATED / batch, share)
    report = merge_batch(held.train, Path(dataset))
    version = version_dataset(Path(dataset))
    merged = sum(row["batch"] == batch for row in read_lineage(Path(dataset)))  # by this try, or one that was killed
    row = {
        "batch": batch, "version": version.tag, "previous": version.previous, "merged": merged, "added": len(report.added),
        "updated": len(report.updated), "unchanged": report.unchanged, "refused": len(report.refused),
        "conflicts": len(report.conflicts), "hard": str(held.hard) if held.hard else None, "held_out": held.held,
    }  # fmt: skip
    shown.table("dataset-version", [row], f"{version.tag}: what came with {batch}.")
    refused = [
        {"file": one.file, "rule": one.rule, "detail": one.detail} for one in (*report.refused, *report.conflicts)
    ]
    if refused:
        shown.table("dataset-refused", refused, "Not merged, and why.")
    return row


@task(**OPTIONS)
def start_step() -> str:
    """What the next training begins with: a folder with the champion's weights; "" for what its config names."""
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.promote import kept_champion

    settings = load_loop()
    return str(kept_champion(settings.promotion.name) or "") if settings.retraining.start == "champion" else ""


@task(**OPTIONS)
def weigh_step(hard: str | None, candidate: str = "models/finetuned", latency: int = 8) -> dict[str, Any]:
    """The candidate against the champion: reports/promotion.json."""
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.promote import OUT, weigh

    outcome = weigh(
        load_loop(), candidate, val=Path("data/splits/val.json"), hard=Path(hard) if hard else None,
        train=Path("data/splits/train.json"), config=Path("configs/eval_chicken.yaml"), latency=latency,
    )  # fmt: skip
    write_json(OUT, outcome)
    shown.sentences("promotion", "passed" if outcome["passed"] else "refused", [*outcome["reasons"], *outcome["notes"]])
    shown.table(
        "promotion-slices", outcome["slices"], "Champion and candidate, slice by slice; the largest loss first."
    )
    shown.link("report", "reports/report.html", "The run's page")
    return outcome


@task(**OPTIONS)
def crown_step() -> dict[str, Any]:
    """Registry: the candidate becomes champion."""
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.promote import OUT, install

    outcome = read_json(OUT)
    return install(load_loop(), outcome)


@task(**OPTIONS)
def package_step(model: str, backend: str = "auto") -> int:
    """A Triton package of these weights: the one that there is, or a new version. Returns its number."""
    from sam3_agent.serving.package import REPOSITORY
    from sam3_agent.serving.packaged import package_once

    return package_once(model, REPOSITORY, backend)


@task(**OPTIONS, task_run_name="deploy version {version}")
def deploy_step(
    version: int, share: float | None = None, seconds: float | None = None, champion: int | None = None
) -> dict[str, Any]:
    """A version with a share of the traffic, watched, and then all of it or none.

    Args:
        champion: its number in the registry, which knows by how much its presence differed when it was promoted.
    """
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.aliases import expected_shift
    from sam3_agent.serving.canary import deploy_watched
    from sam3_agent.serving.control import Control
    from sam3_agent.serving.deploy import put_live
    from sam3_agent.serving.live import Live
    from sam3_agent.serving.package import REPOSITORY
    from sam3_agent.tracking.mlflow_store import Store

    settings = load_loop()
    expected = 0.0 if champion is None else expected_shift(Store(), settings.promotion.name, champion)
    limits = settings.canary.chosen(share, seconds, expected)
    package, control, live = REPOSITORY / str(version), Control(), Live()
    if limits.share > 0:
        ended = deploy_watched(control, live, package, limits)
        row = {"state": ended.verdict.state, "reasons": list(ended.verdict.reasons), **asdict(ended.deployment)}
    else:
        row = {"state": "fine", "reasons": ["deployed without a trial."], **asdict(put_live(control, live, package))}
    shown.sentences("deployment", f"version {version}: {row['state']}", row["reasons"])
    return row


@task(**OPTIONS)
def dethrone_step(version: int, why: str) -> dict[str, Any]:
    """Registry: a champion that was rolled back is champion no longer."""
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.aliases import dethrone
    from sam3_agent.tracking.mlflow_store import Store

    return asdict(dethrone(Store(), load_loop().promotion.name, version, why))
