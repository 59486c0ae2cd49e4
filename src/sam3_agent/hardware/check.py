"""`sam3-agent check-hardware --profile demo|train|serve`: the first stage of the pipeline.

Prints a table, writes reports/hardware.json and exits with 1 when something the profile cannot do without is
missing. No GPU is never a failure: the table says what will be slow.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadInput
from sam3.files import write_json
from sam3_agent.checks import as_rows, print_checks, worst
from sam3_agent.hardware.machine import survey
from sam3_agent.hardware.profiles import REQUIREMENTS, judge
from sam3_agent.params import load_params


def check_hardware(
    profile: Annotated[
        str | None, typer.Option(help="demo, train or serve; hardware.profile in params.yaml when not given.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="A folder on the disk that will hold data and models.")] = Path(),
    out: Annotated[Path, typer.Option(help="Where the JSON report goes.")] = Path("reports/hardware.json"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Hold this machine against a profile; exits with 1 when something the profile needs is missing."""
    name = profile or load_params(params).hardware.profile
    if name not in REQUIREMENTS:
        raise BadInput(f"--profile is {name!r}; expected one of {', '.join(REQUIREMENTS)}.", field="profile")
    machine = survey(folder)
    checks = judge(machine, name)
    verdict = worst(checks)
    print_checks(f"hardware for the profile {name!r}", checks)
    report = {"profile": name, "verdict": verdict, "checks": as_rows(checks), "machine": asdict(machine)}
    write_json(out, report)
    print(f"{'not enough' if verdict == 'failed' else 'good enough'} for {name!r}; details in {out}")
    raise typer.Exit(1 if verdict == "failed" else 0)
