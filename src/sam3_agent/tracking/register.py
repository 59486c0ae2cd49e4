"""`sam3-agent register`: log the finished run, and register the candidate when the gate let it pass.

A refusal is a result, not an error: it is printed with its reasons, written to reports/register.json, and the
exit status is 0 so that the report is still made. The same weights registered twice are one version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadInput
from sam3.files import read_json, write_json
from sam3_agent.finished_run import FinishedRun, Places, needs_stage, read_run
from sam3_agent.params import Params, load_params

NAME = "production-candidate-v1"


def register(
    reports: Annotated[Path, typer.Option(help="Folder with what the other stages wrote.")] = Path("reports"),
    model: Annotated[Path, typer.Option(help="Folder of the fine-tuned checkpoint.")] = Path("models/finetuned"),
    name: Annotated[str, typer.Option(help="Name in the registry.")] = NAME,
    out: Annotated[Path, typer.Option(help="Where the outcome goes.")] = Path("reports/register.json"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Log the run to MLflow (and W&B if configured); register the candidate if the gate let it pass."""
    from rich.console import Console

    settings, run = load_params(params), read_run(Places(reports=reports, model=model))
    with Console(stderr=True).status("logging to MLflow"):
        outcome = track(run, settings, name)
    write_json(out, outcome)
    console = Console()
    if outcome["registered"]:
        console.print(f"[bold green]registered[/] {name}, version {outcome['version']}", highlight=False)
    else:
        console.print(f"[bold red]refused[/]: {name} stays as it is", highlight=False)
    for reason in outcome["reasons"]:
        console.print(f"  {reason}", highlight=False)
    console.print(f"  run {outcome['run_id']} in MLflow; W&B: {outcome['wandb']}", highlight=False)


def track(run: FinishedRun, params: Params, name: str = NAME) -> dict[str, Any]:
    """Log a run and register its candidate, or not.

    Returns:
        The content of reports/register.json.

    Raises:
        Unavailable: MLflow does not answer.
    """
    from sam3_agent.tracking.mlflow_store import Store
    from sam3_agent.tracking.record import record_of
    from sam3_agent.tracking.wandb_copy import copy_to_wandb

    parity = export_differs(run)
    record, store = record_of(run, params), Store()
    run_id = store.log(record)
    version = store.register(record, run_id, name) if run.decision.passed and not parity else None
    return {
        "registered": version is not None,
        "name": name,
        "version": version,
        "reasons": [*run.decision.reasons, *parity],
        "run_id": run_id,
        "checkpoint_sha256": run.candidate.sha256,
        "wandb": copy_to_wandb(record, registered=None if version is None else f"{name} v{version}"),
    }


def export_differs(run: FinishedRun) -> list[str]:
    """Why the exported graphs of a run are not to be trusted; empty when `verify` found them the same as PyTorch.

    Raises:
        BadInput: `verify` has not seen these weights.
    """
    path = run.places.reports / "verify.json"
    if not path.is_file():
        raise needs_stage(path, "verify")
    outcome = read_json(path)
    if outcome.get("checkpoint_sha256") != run.candidate.sha256:
        raise BadInput(f"{path} is about other weights. Run it again: dvc repro verify", field="checkpoint")
    return [f"exported graphs: {reason}" for reason in outcome["reasons"]]
