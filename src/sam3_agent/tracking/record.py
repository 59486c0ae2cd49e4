"""What is remembered of a run, the same for every tracker: settings, figures, curves, tags and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3_agent.finished_run import FinishedRun, Measured
from sam3_agent.params import Params
from sam3_agent.training_record import Curve

# the page is added by `report`, which runs later and shows what was registered
REPORTS = ("baseline.json", "evaluate.json", "negatives.json", "compare.json", "etl.json", "split.json")


@dataclass(frozen=True)
class Record:
    """A run as trackers keep it.

    Attributes:
        settings: "train.loss.focal_loss_weight" -> "5.0"; of training and of params.yaml.
        metrics: "candidate/cgF1" -> number.
        tags: where the figures come from, as text.
        files: reports that exist, by the folder to put them in.
    """

    name: str
    settings: dict[str, str]
    metrics: dict[str, float]
    curves: dict[str, Curve]
    tags: dict[str, str]
    files: dict[str, list[Path]]
    checkpoint: Path


def record_of(run: FinishedRun, params: Params) -> Record:
    """Collect what is to be remembered of a run."""
    training, candidate = run.training, run.candidate
    configs = [path for path in (Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")) if path.is_file()]
    return Record(
        name=f"{run.concept} {candidate.sha256[:8]}",
        settings={
            **dict(_flat(training.config, "train")),
            **dict(_flat(params.model_dump(mode="json"), "params")),
            "base": training.base,
            "steps": str(training.steps),
            "batch_size": str(training.batch_size),
        },
        metrics={**_metrics(run.baseline, "baseline"), **_metrics(candidate, "candidate"), **_decided(run)},
        curves=training.curves,
        tags={
            "concept": run.concept,
            "checkpoint_sha256": candidate.sha256,
            "base_sha256": training.base_sha256,
            "data_sha256": training.data_sha256,
            "validation_sha256": candidate.data_sha256,
            "git_commit": training.git_commit or "unknown",
            "hardware": candidate.hardware,
            "gate": "passed" if run.decision.passed else "refused",
        },
        files={
            "reports": [path for name in REPORTS if (path := run.places.reports / name).is_file()],
            "configs": configs,
        },
        checkpoint=run.places.model,
    )


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys; lists stay whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}")
    else:
        yield prefix, str(value)


def _metrics(measured: Measured, side: str) -> dict[str, float]:
    found: dict[str, float | None] = {
        "cgF1": measured.cgf1.value,
        "cgF1_low": measured.cgf1.low,
        "cgF1_high": measured.cgf1.high,
        "pmF1": measured.pmf1.value,
        "IL_MCC": measured.il_mcc.value,
        "pass_rate": measured.pass_rate,
        "presence_on_negatives": measured.presence_on_negatives,
        "ece": measured.calibration.ece if measured.calibration else None,
        **{kind.replace(" ", "_"): float(count) for kind, count in measured.errors.items()},
    }
    return {f"{side}/{name}": value for name, value in found.items() if value is not None}


def _decided(run: FinishedRun) -> dict[str, float]:
    gain = run.decision.gain
    return {
        "gain/cgF1": gain.value,
        "gain/cgF1_low": gain.low,
        "gain/cgF1_high": gain.high,
        "negatives/pass_rate": run.negatives.pass_rate,
        "negatives/mean_presence": run.negatives.mean_presence,
        "negatives/detections": float(run.negatives.detections),
    }
