"""The same `Record` in W&B, where it is configured (WANDB_API_KEY, `wandb login` or WANDB_MODE=offline).

A copy for people who look there: MLflow holds the registry, so W&B being away is said and changes nothing.
"""

from __future__ import annotations

from sam3_agent.services import wandb_mode
from sam3_agent.tracking.record import Record

PROJECT = "sam3-agent"


def copy_to_wandb(record: Record, *, registered: str | None) -> str:
    """Log a run to W&B.

    Args:
        registered: "name v1" when the candidate was registered.

    Returns:
        "disabled", "offline", "online", or "failed: ..." with the reason.
    """
    mode = wandb_mode()
    if mode == "disabled":
        return mode
    import wandb

    try:
        run = wandb.init(
            project=PROJECT,
            name=record.name,
            id=record.tags["checkpoint_sha256"][:16],  # the same weights are the same run
            resume="allow" if mode == "online" else None,
            mode=mode,
            config={**record.settings, **record.tags},
            tags=[record.tags["concept"], record.tags["gate"]],
            settings=wandb.Settings(silent=True, console="off"),
        )
        _fill(run, record, registered)
        run.finish()
    except wandb.errors.Error as error:
        return f"failed: {str(error).splitlines()[0][:200]}"
    return mode


def _fill(run, record: Record, registered: str | None) -> None:  # type: ignore[no-untyped-def]  # wandb is lazy
    import wandb

    by_step: dict[int, dict[str, float]] = {}
    for name, curve in record.curves.items():
        for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
            by_step.setdefault(step, {})[name] = value
    for step in sorted(by_step):
        run.log(by_step[step], step=step)
    run.summary.update({**record.metrics, "registered": registered or "refused"})
    model = wandb.Artifact(f"{record.tags['concept'].replace(' ', '-')}-checkpoint", "model", metadata=record.tags)
    model.add_dir(str(record.checkpoint))
    run.log_artifact(model, aliases=["candidate"] if registered else ["refused"])
    reports = wandb.Artifact(f"{record.tags['concept'].replace(' ', '-')}-reports", "report")
    for paths in record.files.values():
        for path in paths:
            reports.add_file(str(path))
    run.log_artifact(reports)
