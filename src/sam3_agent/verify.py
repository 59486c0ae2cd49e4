"""`sam3-agent verify`: do two engines say the same? The gate that every export and build passes before it is registered.

    sam3-agent verify                                                      # the pipeline's export against PyTorch
    sam3-agent verify --engine jax --checkpoint sam3-lite --reference-checkpoint sam3-lite
    sam3-agent verify --engine torch --with fast=exact,bf16 --checkpoint sam3-lite --reference-checkpoint sam3-lite

Prompts come from a validation file: its phrases, and for pictures that show the concept also the phrase with one
annotated box. A failed gate is exit status 1, or with --record a line in the report that `register` heeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3.errors import BadConfig, BadInput, Sam3AgentError
from sam3_agent.params import load_params

if TYPE_CHECKING:
    from sam3.eval.parity import Parity


class GateFailed(Sam3AgentError):
    """Two engines do not say the same."""

    code = "parity"


def verify(
    engine: Annotated[str, typer.Option(help="The engine in question.")] = "onnx",
    checkpoint: Annotated[str, typer.Option(help="Its folder of graphs or weights.")] = "models/export",
    reference: Annotated[str, typer.Option(help="The engine it must agree with.")] = "torch",
    reference_checkpoint: Annotated[str, typer.Option(help="Its weights.")] = "models/finetuned",
    pairs: Annotated[Path, typer.Option(help="SA-Co validation file.")] = Path("data/splits/val.json"),
    images: Annotated[Path | None, typer.Option(help="Folder of its pictures; from params.yaml.")] = None,
    limit: Annotated[int, typer.Option(help="Pictures compared in detail.", min=1)] = 12,
    cgf1: Annotated[bool, typer.Option(help="Also cgF1 of both on the whole file.")] = True,
    device: Annotated[str | None, typer.Option(help="Of the engine in question.")] = None,
    switches: Annotated[
        list[str] | None,
        typer.Option("--with", help="What only the engine in question knows: fast=best, dtype=bfloat16. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the outcome goes.")] = Path("reports/verify.json"),
    record: Annotated[bool, typer.Option("--record", help="Do not end with an error when the gate fails.")] = False,
) -> None:
    """Compare two engines: features, boxes, masks, presence, cgF1."""
    from sam3.engines import load_engine
    from sam3.eval.parity import cgf1_of, compare, judge, limits_json, prompts_of
    from sam3.eval.provenance import hardware_line, versions
    from sam3.eval.saco import read_ground_truth
    from sam3.files import write_json

    options = options_of(switches or [])
    truth = read_ground_truth(pairs)
    folder = images or Path(load_params().data.raw) / "images"
    asked = [*prompts_of(truth, folder, limit)]
    one = load_engine(reference, checkpoint=reference_checkpoint)
    other = load_engine(engine, checkpoint=checkpoint, device=device, **options)
    _same_weights(one, other, checkpoint, reference_checkpoint)
    parity = compare(one, other, asked)
    if cgf1:
        parity.cgf1 = cgf1_of(one, truth, folder), cgf1_of(other, truth, folder)
    exact = all(getattr(e, "dtype", "unknown") == "float32" for e in (one, other))
    reasons = judge(parity, exact=exact)
    outcome = {
        "passed": not reasons,
        "reasons": reasons,
        "engine": {"name": engine, "checkpoint": checkpoint, "dtype": getattr(other, "dtype", "unknown"), **options},
        "reference": {"name": reference, "checkpoint": reference_checkpoint, "dtype": getattr(one, "dtype", "unknown")},
        "checkpoint_sha256": _sha256(one),
        "pairs_file": str(pairs),
        **parity.to_json(),
        "limits": limits_json(),
        "hardware": hardware_line(),
        "versions": versions(),
    }
    write_json(out, outcome)
    show(engine, reference, parity, reasons)
    if reasons and not record:
        raise GateFailed(
            f"{engine} and {reference} do not say the same: {'; '.join(reasons)}. Do not ship {checkpoint}."
        )


def options_of(switches: list[str]) -> dict[str, Any]:
    """`fast=best` and `dtype=bfloat16` as what an engine's `load` takes.

    Raises:
        BadConfig: not of that form, or neither of the two.
    """
    found = {}
    for item in switches:
        name, _, value = item.partition("=")
        if name not in ("fast", "dtype") or not value:
            raise BadConfig(f"--with {item}: expected fast=... (torch) or dtype=... (jax).", field="with")
        found[name] = value
    return found


def _sha256(engine: Any) -> str | None:
    return getattr(engine, "sha256", None) or getattr(getattr(engine, "checkpoint", None), "sha256", None)


def _same_weights(one: Any, other: Any, checkpoint: str, reference: str) -> None:
    sums = _sha256(one), _sha256(other)
    if None not in sums and sums[0] != sums[1]:
        raise BadInput(
            f"{checkpoint} was made from other weights ({sums[1]:.8}) than {reference} ({sums[0]:.8}). Export it again.",
            field="checkpoint",
        )


def show(engine: str, reference: str, parity: Parity, reasons: list[str]) -> None:
    """The outcome as a table, verdict last."""
    from rich.console import Console
    from rich.table import Table

    from sam3.eval.parity import Limits

    console, content = Console(), parity.to_json()
    table = Table(title=f"{engine} against {reference}, {parity.pairs} pairs")
    for heading in ("figure", "mean", "worst"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for key, name in (
        ("features_cosine", "cosine of features"),
        ("box_error_px", "box error, px"),
        ("mask_iou", "mask IoU"),
        ("presence_difference", "presence difference"),
    ):
        if spread := content[key]:
            table.add_row(name, f"{float(spread['mean']):.6f}", f"{float(spread['worst']):.6f}")
    for name, value in parity.difference.items():
        table.add_row(f"largest difference of {name}", "", f"{value:.1e}")
        if value > Limits().difference and name in parity.beyond_rounding:
            table.add_row("  but for what rounding moves as far", "", f"{parity.beyond_rounding[name]:.1e}")
    if parity.cgf1:
        table.add_row("cgF1, reference and engine", *[f"{value:.4f}" for value in parity.cgf1])
    console.print(table)
    console.print("[bold green]the same[/]" if not reasons else "[bold red]not the same[/]", highlight=False)
    for reason in reasons:
        console.print(f"  {reason}", highlight=False)
