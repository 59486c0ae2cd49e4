"""`sam3-agent negatives`: a checkpoint on the holdout of negatives, where nothing may be found.

Prints the verdict with its advice and writes reports/negatives.json, which the gate in `compare` reads.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sam3.eval.evaluate import Evaluation, evaluate_checkpoint
from sam3.eval.negatives import NegativeLimits, NegativesVerdict, judge_negatives
from sam3.eval.settings import load_settings
from sam3.files import write_json
from sam3_agent.measure.contact_sheet import write_false_positives
from sam3_agent.params import Gate, load_params


def negatives(
    checkpoint: Annotated[str, typer.Option(help="sam3-lite, facebook/sam3 or a checkpoint folder.")],
    json_path: Annotated[Path, typer.Option("--json", help="The SA-Co file of negatives.")] = Path(
        "data/splits/negatives.json"
    ),
    config: Annotated[Path, typer.Option(help="How to measure.")] = Path("configs/eval_chicken.yaml"),
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures; the config's if not given.")] = None,
    out: Annotated[Path, typer.Option(help="Where the verdict goes; the contact sheet beside it.")] = Path(
        "reports/negatives.json"
    ),
    params: Annotated[Path, typer.Option(help="The params file; its section gate has the limits.")] = Path(
        "params.yaml"
    ),
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pairs, spread over the file.")] = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave out pictures that cannot be used.")] = False,
) -> None:
    """Judge a checkpoint where there is nothing to find."""
    limits = limits_of(load_params(params).gate)
    settings = load_settings(config)
    if images is not None:
        settings = replace(settings, images=str(images))
    result = evaluate_checkpoint(
        settings, checkpoint=checkpoint, truth_path=json_path, engine=engine, limit=limit, skip_bad=skip_bad
    )
    verdict = judge_negatives(result.measurement.score.pairs, result.measurement.presence, limits)
    sheet = out.with_suffix(".jpg")
    write_false_positives(result, Path(settings.images), sheet)
    write_json(out, verdict_json(verdict, result))
    print(f"{verdict.status}: {verdict.advice}")
    print(f"{verdict.detections} detections on {verdict.pairs} negatives (goal 0), shown in {sheet}")
    print(f"details in {out}")


def limits_of(gate: Gate) -> NegativeLimits:
    """The limits as params.yaml has them."""
    return NegativeLimits(gate.min_pass_rate, gate.max_mean_presence, gate.fail_mean_presence)


def verdict_json(verdict: NegativesVerdict, result: Evaluation) -> dict:
    """The verdict, what it was measured on, and a line for every pair, the most doubtful first."""
    lines = sorted(result.measurement.lines, key=lambda line: (-line.score.detections, -(line.presence or 0.0)))
    return {**verdict.to_json(), **result.about, "per_pair": [line.to_json() for line in lines]}
