"""Measure a checkpoint on an SA-Co file: the `evaluate` stage.

    python sam3/eval/evaluate.py --config configs/eval_chicken.yaml --checkpoint sam3-lite \\
        --json data/splits/val.json

Runs the engine over every pair, writes the predictions (COCO RLE) and one JSON with cgF1 and everything
around it. Also importable: `evaluate_checkpoint` returns the same without writing.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sam3.errors import BadInput, Sam3AgentError
from sam3.eval.cgf1 import evaluated_pairs
from sam3.eval.grounding import Grounded, ground_pairs
from sam3.eval.measurement import Measurement, measure
from sam3.eval.predictions import parse_predictions
from sam3.eval.provenance import checkpoint_line, hardware_line, versions
from sam3.eval.saco import GroundTruth, read_ground_truth
from sam3.eval.settings import EvalSettings, load_settings
from sam3.eval.sweep import SWEPT
from sam3.files import file_sha256, write_json

# options of every command that measures
TruthFile = Annotated[Path, typer.Option("--json", help="The SA-Co file to measure on.")]
ConfigFile = Annotated[Path, typer.Option(help="How to measure.")]
Pictures = Annotated[Path | None, typer.Option(help="Folder of the pictures; the config's if not given.")]
EngineName = Annotated[str, typer.Option(help="auto, torch or onnx.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only so many pairs, spread over the file.")]
SkipBad = Annotated[bool, typer.Option(help="Leave out pictures that cannot be used.")]
VALIDATION, CONFIG = Path("data/splits/val.json"), Path("configs/eval_chicken.yaml")


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        predictions: `{"predictions", "presence", "meta"}`, ready to be written.
        about: checkpoint, engine, data, hardware, versions, timings.
    """

    measurement: Measurement
    predictions: dict[str, Any]
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The metrics file."""
        return {**self.about, **self.measurement.to_json()}


def evaluate_checkpoint(
    settings: EvalSettings,
    *,
    checkpoint: str,
    truth_path: Path,
    engine: str = "auto",
    limit: int | None = None,
    skip_bad: bool = False,
) -> Evaluation:
    """Run a checkpoint over an SA-Co file and measure it.

    Args:
        checkpoint: a name or a folder, as `load_engine` takes it.
        limit: only so many pairs, spread evenly over the file.
        skip_bad: leave out pairs whose picture cannot be used instead of ending.

    Raises:
        BadInput: ground truth or pictures that cannot be used, each named.
        BadCheckpoint: no such weights.
    """
    from sam3.engines import load_engine

    truth = _chosen(read_ground_truth(truth_path), settings.concept, limit)
    weights = checkpoint_line(checkpoint)
    lowest = min(settings.score_threshold, SWEPT[0])  # the sweep needs what the threshold would hide
    runner = load_engine(engine, checkpoint=checkpoint, threshold=lowest)
    start = time.perf_counter()
    found = ground_pairs(
        runner,
        evaluated_pairs([truth]),
        Path(settings.images),
        batch=settings.batch,
        min_score=lowest,
        skip_bad=skip_bad,
        normalised=truth.normalised_boxes,
    )
    truth = truth.keep(found.presence.keys())
    about = {
        "checkpoint": weights,
        "engine": getattr(runner, "name", engine),
        "data": {"file": str(truth_path), "sha256": file_sha256(truth_path), "skipped": found.skipped},
        "score_threshold": settings.score_threshold,
        "hardware": hardware_line(),
        "versions": versions(),
        "timings": _timings(found, time.perf_counter() - start),
    }
    predictions = {
        "meta": {key: about[key] for key in ("checkpoint", "engine", "data")},
        "presence": {str(image_id): p for image_id, p in found.presence.items()},
        "predictions": found.rows,
    }
    parsed = parse_predictions(predictions, truth.pairs, "segm", Path("predictions"))
    return Evaluation(measure(truth, parsed, settings), predictions, about)


def _chosen(truth: GroundTruth, concept: str | None, limit: int | None) -> GroundTruth:
    """The pairs asked for: of one phrase, and not more than `limit`."""
    ids = [i for i in truth.evaluable if concept is None or truth.pairs[i].text_input == concept]
    if concept is not None and not ids:
        raise BadInput(f'{truth.path}: no pair asks for "{concept}". Set concept to null for all.', field="concept")
    if limit is not None and limit < len(ids):
        ids = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, limit).round().astype(int))]
    return truth.keep(set(ids))


def _timings(found: Grounded, total: float) -> dict[str, float]:
    """Seconds by step, and pictures a second; rounded, since nothing is computed from them."""
    steps = {f"{step}_s": round(seconds, 3) for step, seconds in found.seconds.items()}
    return {
        **steps,
        "total_s": round(total, 3),
        "images": found.images,
        "images_per_s": round(found.images / total, 2),
    }


def settings_of(config: Path, images: Path | None) -> EvalSettings:
    """How to measure: the config's settings, with another folder of pictures if one is given."""
    settings = load_settings(config)
    return settings if images is None else replace(settings, images=str(images))


def evaluate(
    checkpoint: Annotated[str, typer.Option(help="sam3-lite, facebook/sam3 or a checkpoint folder.")],
    json_path: TruthFile = VALIDATION,
    config: ConfigFile = CONFIG,
    images: Pictures = None,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("reports/evaluate.json"),
    predictions: Annotated[Path | None, typer.Option(help="Where the masks go; beside --out if not given.")] = None,
    engine: EngineName = "auto",
    limit: Limit = None,
    skip_bad: SkipBad = False,
) -> None:
    """Measure a checkpoint: cgF1 and everything around it."""
    settings = settings_of(config, images)
    result = evaluate_checkpoint(
        settings, checkpoint=checkpoint, truth_path=json_path, engine=engine, limit=limit, skip_bad=skip_bad
    )
    write_json(predictions or out.with_name(f"{out.stem}_predictions.json"), result.predictions, indent=None)
    write_json(out, result.to_json())
    print_headline(result, out)


def print_headline(result: Evaluation, out: Path) -> None:
    """Three figures with their intervals, warnings, and where the rest is."""
    measured = result.measurement
    for name, interval in (
        ("cgF1", measured.intervals.cgf1),
        ("pmF1", measured.intervals.pmf1),
        ("IL_MCC", measured.intervals.il_mcc),
    ):
        print(f"{name:7}{interval.value:.3f}  ({interval.low:.3f} to {interval.high:.3f})")
    for warning in measured.score.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    skipped = result.about["data"]["skipped"]
    if skipped:
        print(f"warning: pictures left out: {len(skipped)}; {out} names them", file=sys.stderr)
    print(f"{len(measured.lines)} pairs with {result.about['checkpoint']['name']}; details in {out}")


def main() -> None:
    """The script: an error that a person can mend is one line and exit status 1."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(evaluate)
    try:
        app()
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
