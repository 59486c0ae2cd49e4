"""`sam3-agent doctor`: look at everything the pipeline leans on, in about three seconds.

Every probe runs in a thread of its own and is given up after `PATIENCE` seconds (a dead network drive never
answers). Exit status 1 only when something fails that the demo needs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadInput
from sam3_agent.checks import Check, as_rows, print_checks

PATIENCE = 6.0  # seconds; longer than any network timeout below it
Probe = Callable[[], Check]


def examine(probes: Mapping[str, Probe], patience: float = PATIENCE) -> list[Check]:
    """Run all probes at once.

    Args:
        probes: name of the row -> a function that looks.
        patience: seconds after which a probe counts as failed.

    Returns:
        One `Check` per probe, in their order; a probe that raises is a failed row and not an end.
    """
    findings: dict[str, Check] = {}

    def look(name: str, probe: Probe) -> None:
        try:
            findings[name] = probe()
        except Exception as error:  # one broken probe must not hide the others
            findings[name] = Check(name, "failed", f"{type(error).__name__}: {error}", "Please report this.")

    # daemon threads: a probe that hangs must not keep the process from ending
    threads = [threading.Thread(target=look, args=pair, daemon=True) for pair in probes.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = "Is a network drive or server hanging?"
    return [findings.get(name) or Check(name, "failed", f"no answer in {patience:g} s", silent) for name in probes]


def needed_probes(root: Path) -> dict[str, Probe]:
    """What the demo cannot do without."""
    from sam3_agent.doctor import checkout, remote, trackers

    return {
        "git": lambda: checkout.check_git(root),
        "disk": lambda: checkout.check_disk(root),
        "folders": lambda: checkout.check_outputs(root),
        "starter weights": checkout.check_starter_weights,
        "DVC": lambda: remote.check_dvc(root),
        "MLflow": lambda: trackers.check_mlflow(root),
    }


def optional_probes(root: Path) -> dict[str, Probe]:
    """What makes sharing, watching and the full model possible."""
    from sam3.checkpoint import PUBLISHED
    from sam3_agent.doctor import checkout, remote, trackers

    return {
        "DVC remote": lambda: remote.check_remote(root),
        "W&B": trackers.check_wandb,
        "Prefect": trackers.check_prefect,
        f"{PUBLISHED} weights": lambda: checkout.check_published_weights(root),
    }


def doctor(
    root: Annotated[Path, typer.Option(help="Top of the repository.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Also write the findings here, as JSON.")] = None,
) -> None:
    """Check what the pipeline leans on; exits with 1 when something fails that the demo needs."""
    from sam3.files import write_json

    if not root.is_dir():
        raise BadInput(f"--root {root}: no such folder. Give the top of the repository.", field="root")
    needed, optional = needed_probes(root), optional_probes(root)
    checks = examine({**needed, **optional})
    print_checks("what the pipeline leans on", checks)
    if out is not None:
        write_json(out, {"checks": as_rows(checks)})
    stops = [check.name for check in checks[: len(needed)] if check.status == "failed"]
    print(f"the demo cannot run: mend {', '.join(stops)}" if stops else "the demo can run")
    raise typer.Exit(1 if stops else 0)
