"""`sam3-agent compare`: fine-tuned against baseline on the same pairs, and the gate's decision.

Reads what `baseline`, `evaluate` and `negatives` wrote, matches nothing again, and writes the decision to
reports/compare.json, where registration of the candidate reads `gate.passed`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadInput
from sam3.eval.cgf1 import CgF1
from sam3.eval.compare import GateDecision, check_same_pairs, decide
from sam3.eval.measurement import Report, read_report
from sam3.eval.negatives import NegativesVerdict
from sam3.files import read_json, write_json
from sam3_agent.params import Params, load_params


def compare(
    baseline: Annotated[Path, typer.Option(help="Metrics of what is in use.")] = Path("reports/baseline.json"),
    candidate: Annotated[Path, typer.Option(help="Metrics of the fine-tuned model.")] = Path("reports/evaluate.json"),
    negatives: Annotated[Path, typer.Option(help="Its verdict on negatives.")] = Path("reports/negatives.json"),
    out: Annotated[Path, typer.Option(help="Where the decision goes.")] = Path("reports/compare.json"),
    params: Annotated[Path, typer.Option(help="The params file; its section gate has the limits.")] = Path(
        "params.yaml"
    ),
) -> None:
    """Hold the fine-tuned model against the baseline; the decision is in the file, not in the exit status."""
    old, new = read_report(baseline), read_report(candidate)
    decision = compare_reports(old, new, read_verdict(negatives, new), load_params(params))
    about = {"baseline": old.checkpoint, "candidate": new.checkpoint, "data_sha256": new.data_sha256}
    write_json(out, {**decision.to_json(), **about})
    print_decision(decision, old.score, new.score)


def compare_reports(old: Report, new: Report, verdict: NegativesVerdict, params: Params) -> GateDecision:
    """The decision, with the limits of params.yaml.

    Raises:
        BadInput: the two were not measured on the same pairs.
    """
    check_same_pairs(old.score, new.score, (str(old.path), str(new.path)))
    changed = [i for i, name in old.files.items() if new.files[i] != name]
    if changed:
        raise BadInput(
            f"pair {changed[0]} is {old.files[changed[0]]} in {old.path} but {new.files[changed[0]]} "
            f"in {new.path}. Evaluate both on the same file."
        )
    return decide(
        old.score,
        new.score,
        verdict,
        min_relative_gain=params.gate.min_relative_gain,
        min_pass_rate=params.gate.min_pass_rate,
        groups=old.groups,
        resamples=max(1, params.evaluate.bootstrap),
        seed=params.evaluate.seed,
    )


def read_verdict(path: Path, candidate: Report) -> NegativesVerdict:
    """The verdict on negatives, which must be about the candidate.

    Raises:
        BadInput: not a file of `sam3-agent negatives`, or about another checkpoint.
    """
    data = read_json(path)
    try:
        verdict, sha256 = NegativesVerdict.from_json(data), data["checkpoint"]["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a verdict ({error!r:.60}). Run sam3-agent negatives again.") from error
    if sha256 != candidate.checkpoint["sha256"]:
        raise BadInput(
            f"{path} is about other weights ({data['checkpoint']['name']}) than {candidate.path} "
            f"({candidate.checkpoint['name']}). Run sam3-agent negatives on the candidate.",
            field="checkpoint",
        )
    return verdict


def print_decision(decision: GateDecision, old: CgF1, new: CgF1) -> None:
    """A table of the headline figures, then the verdict and its reasons."""
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table()
    for heading in ("figure", "baseline", "candidate", "gain"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, before, after in (
        ("cgF1", old.cgf1, new.cgf1),
        ("pmF1", old.pmf1, new.pmf1),
        ("IL_MCC", old.il_mcc, new.il_mcc),
        *((kind, old.counts()[kind], new.counts()[kind]) for kind in old.counts()),
    ):
        whole = isinstance(before, int)
        shown = [f"{v:d}" if whole else f"{v:.3f}" for v in (before, after)]
        table.add_row(name, *shown, f"{after - before:+d}" if whole else f"{after - before:+.3f}")
    console.print(table)
    console.print("passed" if decision.passed else "refused", style="bold green" if decision.passed else "bold red")
    for line in (*decision.reasons, *decision.notes):
        console.print(f"  {line}", highlight=False)
