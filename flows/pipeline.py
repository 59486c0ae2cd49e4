"""The pipeline under Prefect: every DVC stage a task, with retries, its lines in the log, its outcome in a table.

`dvc.yaml` says what the stages are and which needs which; this adds when, how often, and what people see.

    python -m flows.pipeline                 # with PREFECT_API_URL on that server, else with one of its own
    python -m flows.pipeline --retries 3
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact

from flows.leash import leashed
from sam3.errors import BadConfig, Sam3AgentError

Status = Literal["ran", "restored", "unchanged", "failed", "not reached"]
TAIL = 20  # lines in which a failed stage's reason is looked for


class StageFailed(Sam3AgentError):
    """A stage ended with an error; the message has its own words."""

    code = "stage_failed"


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How a stage went: ran, restored from the cache of runs, or unchanged since the last time."""

    stage: str
    status: Status
    seconds: float


# not persisted: a loop that was killed in its second turn would be given the outcome of the first turn's pipeline
@flow(name="pipeline", flow_run_name="dvc repro", persist_result=False)
def pipeline(folder: str = ".", retries: int = 1, retry_delay: float = 10.0, force: bool = False) -> list[StageOutcome]:
    """Bring every stage of `folder`/dvc.yaml up to date, one after the other.

    Args:
        folder: the DVC project.
        retries: of each stage, `retry_delay` seconds apart.
        force: run stages that have not changed, too.

    Raises:
        BadConfig: no DVC project there. StageFailed: a stage failed more often than it was retried.
    """
    stages = stage_names(Path(folder))
    once = run_stage.with_options(retries=retries, retry_delay_seconds=retry_delay)
    done: list[StageOutcome] = []
    start = time.perf_counter()
    try:
        for stage in stages:
            start = time.perf_counter()
            done.append(once(stage, folder, force))
    except StageFailed:
        done.append(StageOutcome(stages[len(done)], "failed", _since(start)))
        raise
    finally:
        publish(done, stages[len(done) :], Path(folder))
    return done


@task(task_run_name="{stage}")
def run_stage(stage: str, folder: str, force: bool) -> StageOutcome:
    """`dvc repro` for one stage, its lines in the log of the task.

    Raises:
        StageFailed: it ended with an error.
    """
    logger, start = get_run_logger(), time.perf_counter()
    status: Status = "unchanged"
    tail: list[str] = []
    options = ["--single-item", *(["--force"] if force else [])]
    process = subprocess.Popen(
        leashed([sys.executable, "-m", "dvc", "repro", *options, stage]),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
    )
    try:
        for line in _lines(process):
            logger.info(line)
            tail = [*tail[1 - TAIL :], line]
            if line.startswith("Running stage"):
                status = "ran"
            elif "is cached - skipping run" in line:
                status = "restored"
        code = process.wait()
    finally:
        if process.poll() is None:  # cancelled: do not leave the stage running behind
            process.terminate()
            process.wait()
    if code:
        raise StageFailed(f"{stage}: {_reason(tail)} (exit status {code})", field=stage)
    return StageOutcome(stage, status, _since(start))


def stage_names(folder: Path) -> list[str]:
    """The stages of a project, every one after those it needs, otherwise in the order of dvc.yaml.

    Raises:
        BadConfig: no DVC project there, or a dvc.yaml that DVC does not accept.
    """
    import networkx as nx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph.reverse()  # DVC's edges go from a stage to what it needs
            order = {stage: number for number, stage in enumerate(repo.index.stages)}
            ordered = nx.lexicographical_topological_sort(graph, key=lambda stage: order[stage])
            # other folders may have stages that this pipeline does not need: the data engine mines when it is asked to
            own = [stage for stage in order if os.path.relpath(stage.path, folder) == "dvc.yaml"]
            needed = {*own, *(before for stage in own for before in nx.ancestors(graph, stage))}
            names = [_address(stage, folder) for stage in ordered if stage.cmd and stage in needed]
    except DvcException as error:
        raise BadConfig(f"{folder}: not a usable DVC project ({str(error).splitlines()[0]}).") from error
    if not names:
        raise BadConfig(f"{folder}/dvc.yaml: no stages to run.")
    return names


def publish(done: list[StageOutcome], left: list[str], folder: Path) -> None:
    """Put the outcome of every stage and the pipeline's metrics where Prefect's page shows them."""
    rows = [asdict(outcome) for outcome in (*done, *(StageOutcome(stage, "not reached", 0.0) for stage in left))]
    create_table_artifact(table=rows, key="pipeline-stages", description="What `dvc repro` did, stage by stage.")
    figures = list(headline_metrics(folder))
    if figures:
        create_table_artifact(table=figures, key="pipeline-metrics", description="The headline of each metrics file.")


def headline_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The numbers at the top of each metrics file: rows of file, metric, value."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        shown = repo.metrics.show().get("", {}).get("data", {})
    for file, content in shown.items():
        for name, value in (content.get("data") or {}).items():
            if isinstance(value, int | float):
                yield {"file": file, "metric": name, "value": value}


def _address(stage: Any, folder: Path) -> str:
    """What `dvc repro` calls a stage when it runs in `folder`: stages of other folders' dvc.yaml have a path."""
    file = os.path.relpath(stage.path, folder)
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}" if stage.name else file


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines as they come; of a progress bar, which overwrites itself, only the last state."""
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip().rsplit("\r", 1)[-1].strip()
        if line:
            yield line


def _reason(tail: list[str]) -> str:
    """The stage's own error line, else its last word before DVC's."""
    own = [line for line in tail if line.startswith("error:")]
    said = own or [line for line in tail if not line.startswith("ERROR: failed to reproduce")] or ["no reason given"]
    return said[-1].removeprefix("error:").strip()


def _environment() -> dict[str, str]:
    """This environment, with the programs of this Python first: stages call `sam3-agent` by name."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 2)


def main(
    folder: Annotated[Path, typer.Option(help="The DVC project.")] = Path(),
    retries: Annotated[int, typer.Option(min=0, help="How often a failed stage is tried again.")] = 1,
    retry_delay: Annotated[float, typer.Option(min=0, help="Seconds between tries.")] = 10.0,
    force: Annotated[bool, typer.Option("--force", help="Run unchanged stages, too.")] = False,
) -> None:
    """Run the pipeline under Prefect."""
    try:
        pipeline(str(folder), retries, retry_delay, force)
    except Sam3AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
