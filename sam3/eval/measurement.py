"""Everything that one prediction file says about one ground-truth file, and the JSON it is kept in.

`measure` computes the metric, its intervals, the threshold sweep, calibration and a line a pair;
`read_report` gets the scored pairs back from a metrics file, so that a comparison matches nothing again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.eval.bootstrap import Intervals, intervals
from sam3.eval.calibration import Calibration, calibrate
from sam3.eval.cgf1 import CgF1, evaluated_pairs, mean_f1, overlaps, score_overlaps
from sam3.eval.matching import PairScore
from sam3.eval.mistakes import Mistake, headline, mistakes
from sam3.eval.predictions import Predictions
from sam3.eval.saco import GroundTruth, Pair
from sam3.eval.settings import EvalSettings, GroupBy
from sam3.eval.sweep import SWEPT, SweepPoint, best, sweep
from sam3.files import read_json

FEW_GROUPS = 10


@dataclass(frozen=True)
class PairLine:
    """One pair as the report shows it.

    Attributes:
        presence: None when the predictions do not say.
        scores: of the detections that count, highest first.
        found: mistakes by kind.
    """

    pair: Pair
    score: PairScore
    presence: float | None
    scores: tuple[float, ...]
    found: Counter[Mistake]

    def to_json(self) -> dict[str, Any]:
        """`PairScore.to_json` and what a reader wants beside it."""
        return {
            **self.score.to_json(),
            "file_name": self.pair.file_name,
            "text_input": self.pair.text_input,
            "source": self.pair.source,
            "presence": self.presence,
            "scores": list(self.scores),
            "ious": sorted((m.iou for m in self.score.matches), reverse=True),
            "f1": mean_f1(self.score),
            "error": headline(self.found),
            "errors": dict(self.found),
        }


@dataclass(frozen=True)
class Measurement:
    """A model on a set of pairs. `calibration` is None when the predictions have no presence."""

    score: CgF1
    intervals: Intervals
    group_by: GroupBy
    points: list[SweepPoint]
    calibration: Calibration | None
    lines: list[PairLine]

    @property
    def presence(self) -> dict[int, float]:
        """Pair id -> presence, where known."""
        return {line.pair.image_id: line.presence for line in self.lines if line.presence is not None}

    def to_json(self) -> dict[str, Any]:
        """The published figures, the headline figures at the top, and the rest of this module."""
        mistakes_found: Counter[Mistake] = sum((line.found for line in self.lines), Counter())
        headlines = {"cgF1": self.score.cgf1, "pmF1": self.score.pmf1, "IL_MCC": self.score.il_mcc}
        return {
            **headlines,
            **self.score.to_json(),
            "intervals": {**self.intervals.to_json(), "group_by": self.group_by},
            "best_threshold": best(self.points).to_json(),
            "sweep": [point.to_json() for point in self.points],
            "calibration": self.calibration.to_json() if self.calibration else None,
            "errors": dict(mistakes_found),
            "pairs": [line.to_json() for line in self.lines],
        }


def group_keys(places: Sequence[tuple[str, str]], group_by: GroupBy) -> list[str] | None:
    """Key of the group that each pair is resampled with; a pair without a source goes with its picture.

    Args:
        places: (P,) source and file name of each pair.
        group_by: "pair" draws each pair alone: None.
    """
    if group_by == "pair":
        return None
    return [(source if group_by == "source" else "") or file_name for source, file_name in places]


def measure(truth: GroundTruth, predictions: Predictions, settings: EvalSettings) -> Measurement:
    """Compute everything for predictions whose masks have been read.

    Raises:
        BadInput: no pair can be evaluated.
    """
    pairs = evaluated_pairs([truth])
    threshold = settings.score_threshold
    by_pair = overlaps([truth], predictions, "segm", min_score=min(threshold, SWEPT[0]))
    score = score_overlaps(by_pair, "segm", threshold=threshold)
    keys = group_keys([(p.source, p.file_name) for p in pairs], settings.group_by)
    return Measurement(
        score=replace(score, warnings=(*score.warnings, *_few_groups(keys))),
        intervals=intervals(score, groups=keys, resamples=settings.bootstrap, seed=settings.seed),
        group_by=settings.group_by,
        points=sweep(by_pair),
        calibration=_calibration(score, predictions.presence),
        lines=[_line(p, s, truth, predictions, threshold) for p, s in zip(pairs, score.pairs, strict=True)],
    )


def _few_groups(keys: Sequence[str] | None) -> tuple[str, ...]:
    """A warning when so few groups are resampled that an interval means little."""
    count = FEW_GROUPS if keys is None else len(set(keys))
    if count >= FEW_GROUPS:
        return ()
    return (f"only {count} groups to resample: the intervals mean little. Set group_by to image or pair.",)


def _calibration(score: CgF1, presence: Mapping[int, float]) -> Calibration | None:
    if not all(pair.image_id in presence for pair in score.pairs):
        return None
    return calibrate([presence[pair.image_id] for pair in score.pairs], [pair.annotations > 0 for pair in score.pairs])


def _line(pair: Pair, score: PairScore, truth: GroundTruth, predictions: Predictions, threshold: float) -> PairLine:
    counted = [p for p in predictions.of(pair.image_id) if p.score >= threshold and p.category_id in truth.categories]
    return PairLine(
        pair=pair,
        score=score,
        presence=predictions.presence.get(pair.image_id),
        scores=tuple(sorted((p.score for p in counted), reverse=True)),
        found=mistakes(score, truth.instances(pair.image_id), counted),
    )


@dataclass(frozen=True)
class Report:
    """A metrics file read back: the scored pairs and what they were measured on.

    Attributes:
        files: pair id -> picture.
        groups: (P,) key of the group that each pair is resampled with; None for each pair alone.
    """

    path: Path
    score: CgF1
    files: dict[int, str]
    groups: list[str] | None
    presence: dict[int, float]
    checkpoint: dict[str, Any]
    data_sha256: str


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read a metrics file that `evaluate` wrote.

    Raises:
        BadInput: not such a file; the message says how to make one.
    """
    data = read_json(path)
    try:
        rows = data["pairs"]
        return Report(
            path=Path(path),
            score=CgF1("segm", tuple(PairScore.from_json(row) for row in rows), tuple(data.get("warnings", ()))),
            files={row["image_id"]: row["file_name"] for row in rows},
            groups=group_keys([(row["source"], row["file_name"]) for row in rows], data["intervals"]["group_by"]),
            presence={row["image_id"]: row["presence"] for row in rows if row["presence"] is not None},
            checkpoint=dict(data["checkpoint"]),
            data_sha256=str(data["data"]["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a metrics file of evaluate ({error!r:.60}). Run evaluate again.") from error
