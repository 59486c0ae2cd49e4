"""`sam3-agent score gt.json --pred pred.json`: cgF1 of a prediction file, the way SA-Co publishes it.

Works on any SA-Co ground truth, ours or not; several ground-truth files are several annotators.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadInput
from sam3.eval.cgf1 import CgF1, score_files


def score(
    ground_truth: Annotated[list[Path], typer.Argument(help="SA-Co files, one an annotator.", metavar="GT.json...")],
    pred: Annotated[Path, typer.Option(help="Predictions: a COCO result list, or what `evaluate` writes.")],
    iou: Annotated[str, typer.Option(help="What is compared: segm (masks) or bbox.")] = "segm",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Compute cgF1, pmF1, IL_MCC and the rest for a prediction file."""
    if iou not in ("segm", "bbox"):
        raise BadInput(f"--iou {iou}: expected segm or bbox.", field="iou")
    result = score_files(ground_truth, pred, "bbox" if iou == "bbox" else "segm")
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(result.to_json(), allow_nan=False))
    else:
        print_score(result)


def print_score(result: CgF1, title: str = "") -> None:
    """The figures as two tables: one row a figure, one row a threshold."""
    from rich.console import Console
    from rich.table import Table

    from sam3.eval.matching import THRESHOLDS

    console, content = Console(), result.to_json()
    prefix = f"cgF1_eval_{result.iou}_"
    summary = {name.removeprefix(prefix): value for name, value in content["summary"].items()}
    counts = ", ".join(f"{n} {kind.removeprefix('IL_')}" for kind, n in content["image_level_counts"].items())

    figures = Table(title=title or f"{content['evaluated_pairs']} pairs ({counts}), IoU of {result.iou}")
    for heading in ("figure", "mean .50:.95", "at .50", "at .75"):
        figures.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, value in summary.items():
        if "@" not in name:
            at = [f"{summary[f'{name}@{t}']:.4f}" if f"{name}@{t}" in summary else "" for t in (0.5, 0.75)]
            figures.add_row(name, f"{value:.4f}", *at, style="bold" if name == "cgF1" else "")
    console.print(figures)

    curve = Table(title="by IoU threshold")
    for heading in ("IoU", "TP", "FP", "FN", "pmF1", "cgF1"):
        curve.add_column(heading, justify="right")
    rows = content["per_threshold"]
    for i, threshold in enumerate(THRESHOLDS):
        counted = [str(rows[key][i]) for key in ("TPs", "FPs", "FNs")]
        curve.add_row(f"{threshold:.2f}", *counted, f"{rows['positive_micro_F1'][i]:.4f}", f"{rows['cgF1'][i]:.4f}")
    console.print(curve)
