"""A finished run of the pipeline, read back from the files its stages wrote.

`report`, `register`, `demo` and the notebook all speak of one run; this is where they get it from, typed and
checked to be one run and not a mixture. Nothing is measured here.
Try it: `python -c "from sam3_agent.finished_run import read_run; print(read_run().candidate.cgf1)"`.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.eval.bootstrap import Interval
from sam3.eval.calibration import Bin, Calibration
from sam3.eval.negatives import NegativesVerdict
from sam3.eval.sweep import SweepPoint
from sam3.files import read_json
from sam3_agent.training_record import Training, read_training


@dataclass(frozen=True, slots=True)
class Places:
    """Where the stages of a run left their files."""

    reports: Path = Path("reports")
    splits: Path = Path("data/splits")
    images: Path = Path("data/raw/images")
    model: Path = Path("models/finetuned")


@dataclass(frozen=True, slots=True)
class PairRow:
    """One validation pair as a checkpoint left it.

    Attributes:
        kind: TP, FP, FN or TN, of the pair as a whole.
        annotations, detections: how many there are.
        presence: probability that the phrase is in the picture; None when not recorded.
        f1: mean over IoU thresholds, in [0, 1].
        error: the gravest kind of mistake, "ok" without one; `errors` counts all of them.
    """

    image_id: int
    file_name: str
    text_input: str
    kind: str
    annotations: int
    detections: int
    presence: float | None
    f1: float
    error: str
    errors: dict[str, int]


@dataclass(frozen=True)
class Measured:
    """A checkpoint on the validation pairs: what `baseline` and `evaluate` wrote.

    Attributes:
        confidence: of the three intervals, e.g. 0.95. resampled: what was drawn for them, in the plural.
        best: the point of the sweep with the highest cgF1.
        errors: mistakes by kind over all pairs.
        pairs: by image_id, in the order of the file.
    """

    checkpoint: str
    sha256: str
    engine: str
    hardware: str
    data_sha256: str
    score_threshold: float
    cgf1: Interval
    pmf1: Interval
    il_mcc: Interval
    confidence: float
    resampled: str
    sweep: tuple[SweepPoint, ...]
    best: SweepPoint
    calibration: Calibration | None
    errors: dict[str, int]
    pairs: dict[int, PairRow]

    @cached_property
    def negatives(self) -> list[PairRow]:
        """The pairs with nothing to find."""
        return [row for row in self.pairs.values() if not row.annotations]

    @property
    def clean_negatives(self) -> int:
        """Negatives on which nothing was found."""
        return sum(not row.detections for row in self.negatives)

    @property
    def pass_rate(self) -> float | None:
        """Share of clean negatives; None without negatives."""
        return self.clean_negatives / len(self.negatives) if self.negatives else None

    @property
    def presence_on_negatives(self) -> float | None:
        """Mean presence where there is nothing; None when not recorded."""
        return self.calibration.mean_on_negatives if self.calibration else None


@dataclass(frozen=True, slots=True)
class Decision:
    """What `compare` decided. `gain` is of cgF1; `probability` the share of resamples in which it is above 0."""

    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    gain: Interval
    relative_gain: float | None
    probability: float


@dataclass(frozen=True, slots=True)
class Registration:
    """What `register` did with the candidate: `version` in the registry, None when it was refused."""

    name: str
    version: int | None
    run_id: str


@dataclass(frozen=True)
class DataSummary:
    """What went in.

    Attributes:
        etl, split: contents of reports/etl.json and split.json.
        issues: rows of etl_issues.csv by (rule, action), the most frequent first.
    """

    etl: dict[str, Any]
    split: dict[str, Any]
    issues: list[tuple[str, str, int]]


@dataclass(frozen=True)
class FinishedRun:
    """Everything the stages of one run wrote, except pictures and masks."""

    places: Places
    baseline: Measured
    candidate: Measured
    negatives: NegativesVerdict
    decision: Decision
    training: Training
    data: DataSummary
    registration: Registration | None = None  # None when `register` has not run on these weights

    @property
    def concept(self) -> str:
        """What the run is about."""
        return str(self.data.etl["concept"])


def read_run(places: Places | None = None) -> FinishedRun:
    """Read a finished run.

    Args:
        places: the folders; those of dvc.yaml when None.

    Raises:
        BadInput: a file is missing (the message names the stage that writes it), is not what the stage writes,
            or the files are of different runs.
    """
    where = places or Places()
    reports = where.reports
    run = FinishedRun(
        places=where,
        baseline=_parsed(reports / "baseline.json", "baseline", _measured),
        candidate=_parsed(reports / "evaluate.json", "evaluate", _measured),
        negatives=_parsed(reports / "negatives.json", "negatives", NegativesVerdict.from_json),
        decision=_parsed(reports / "compare.json", "compare", _decision),
        training=read_training(where.model),
        data=DataSummary(
            etl=_parsed(reports / "etl.json", "etl", lambda data: data | {"concept": data["concept"]}),
            split=_parsed(reports / "split.json", "split", lambda data: data | {"train": data["train"]}),
            issues=_issues(reports / "etl_issues.csv"),
        ),
    )
    _check_one_run(run, read_json(reports / "compare.json"))
    return replace(run, registration=_registration(reports / "register.json", run.candidate.sha256))


def needs_stage(path: Path, stage: str) -> BadInput:
    """The error for a file that is not there yet."""
    return BadInput(f"{path}: not there yet. The stage {stage} writes it: dvc repro {stage}", field=stage)


def _parsed(path: Path, stage: str, parse: Any) -> Any:
    if not path.is_file():
        raise needs_stage(path, stage)
    data = read_json(path)
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path}: not what the stage {stage} writes ({error!r:.60}). Run it again: dvc repro -f -s {stage}"
        ) from error


def _check_one_run(run: FinishedRun, compared: dict[str, Any]) -> None:
    for role, file, measured in (
        ("baseline", "baseline.json", run.baseline),
        ("candidate", "evaluate.json", run.candidate),
    ):
        if compared[role]["sha256"] != measured.sha256:
            raise BadInput(
                f"{run.places.reports / 'compare.json'} is about other weights than {file} "
                f"({compared[role]['name']}, {measured.checkpoint}). Run it again: dvc repro compare",
                field="checkpoint",
            )


def _measured(data: dict[str, Any]) -> Measured:
    spread = data["intervals"]
    return Measured(
        checkpoint=data["checkpoint"]["name"],
        sha256=data["checkpoint"]["sha256"],
        engine=data["engine"],
        hardware=data["hardware"],
        data_sha256=data["data"]["sha256"],
        score_threshold=data["score_threshold"],
        cgf1=Interval(**spread["cgF1"]),
        pmf1=Interval(**spread["pmF1"]),
        il_mcc=Interval(**spread["IL_MCC"]),
        confidence=spread["confidence"],
        resampled={"source": "sources", "image": "pictures", "pair": "pairs"}[spread["group_by"]],
        sweep=tuple(map(_point, data["sweep"])),
        best=_point(data["best_threshold"]),
        calibration=_calibration(data["calibration"]),
        errors=dict(data["errors"]),
        pairs={row["image_id"]: _pair(row) for row in data["pairs"]},
    )


def _point(value: dict[str, Any]) -> SweepPoint:
    keys = ("threshold", "cgF1", "pmF1", "IL_MCC", "IL_precision", "IL_recall", "detections")
    return SweepPoint(*(value[key] for key in keys))


def _calibration(value: dict[str, Any] | None) -> Calibration | None:
    return None if value is None else Calibration(**{**value, "bins": tuple(Bin(**row) for row in value["bins"])})


def _pair(row: dict[str, Any]) -> PairRow:
    return PairRow(**{name: row[name] for name in PairRow.__slots__})


def _decision(data: dict[str, Any]) -> Decision:
    gate = data["gate"]
    return Decision(
        passed=gate["passed"],
        reasons=tuple(gate["reasons"]),
        notes=tuple(gate["notes"]),
        gain=Interval(**data["gain"]),
        relative_gain=data["relative_gain"],
        probability=data["probability_of_gain"],
    )


def _registration(path: Path, sha256: str) -> Registration | None:
    if not path.is_file():
        return None
    found = _parsed(path, "register", lambda data: data | {"checkpoint_sha256": data["checkpoint_sha256"]})
    if found["checkpoint_sha256"] != sha256:  # of an earlier run: these weights have not been through it yet
        return None
    return Registration(found["name"], found["version"], found["run_id"])


def _issues(path: Path) -> list[tuple[str, str, int]]:
    if not path.is_file():
        raise needs_stage(path, "etl")
    with path.open(encoding="utf-8", newline="") as stream:
        counted = Counter((row["rule"], row["action"]) for row in csv.DictReader(stream))
    return [(rule, action, count) for (rule, action), count in counted.most_common()]
