"""What a training run left beside its weights: training.json and the curves of metrics.csv.

Lightning's CSV logger writes one row a step with empty cells where nothing was logged; here every column is a
curve of its own. Read by `finished_run`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.errors import BadInput
from sam3.files import read_json


@dataclass(frozen=True, eq=False)
class Curve:
    """A logged figure: steps (N,) int64, ascending; values (N,) float64, finite."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def smooth(self, share: float = 0.04) -> NDArray[np.float64]:
        """(N,) exponential mean over about `share` of the curve, without the usual bias at the start."""
        keep = 1 - 1 / max(2.0, share * len(self))
        total, weight, out = 0.0, 0.0, np.empty(len(self))
        for at, value in enumerate(self.values):
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
            out[at] = total / weight
        return out


@dataclass(frozen=True)
class Training:
    """How the candidate came to be.

    Attributes:
        steps: optimiser steps.
        best_step: the one whose weights were kept.
        config: the resolved config.
        warnings: what the run said in words while it went.
        curves: "train/loss", "val/cgf1", ... -> curve.
    """

    base: str
    base_sha256: str
    data_sha256: str
    git_commit: str | None
    steps: int
    batch_size: int
    best_step: int
    config: dict[str, Any]
    warnings: tuple[str, ...]
    versions: dict[str, str]
    curves: dict[str, Curve]

    def curve(self, name: str) -> Curve:
        """A curve by name; one without points when it was not logged."""
        return self.curves.get(name, Curve(np.zeros(0, np.int64), np.zeros(0)))


def read_training(model: Path) -> Training:
    """Read `training.json` and `metrics.csv` of a trained checkpoint folder.

    Raises:
        BadInput: one of them is missing or not what the stage train writes.
    """
    record, curves = model / "training.json", model / "metrics.csv"
    for path in (record, curves):
        if not path.is_file():
            raise BadInput(f"{path}: not there yet. The stage train writes it: dvc repro train", field="train")
    data = read_json(record)
    try:
        return Training(
            base=data["base"],
            base_sha256=data["base_sha256"],
            data_sha256=data["data_sha256"],
            git_commit=data["git_commit"],
            steps=data["steps"],
            batch_size=data["batch_size"],
            best_step=data["validation"]["step"],
            config=dict(data["config"]),
            warnings=tuple(data["warnings"]),
            versions=dict(data["versions"]),
            curves=read_curves(curves),
        )
    except (KeyError, TypeError) as error:
        raise BadInput(
            f"{record}: not what the stage train writes ({error!r:.60}). Run it again: dvc repro -f -s train"
        ) from error


def read_curves(path: Path) -> dict[str, Curve]:
    """Every column of a metrics.csv as a curve; cells that are empty or not finite are left out.

    Raises:
        BadInput: a cell is not a number; file, line and column are named.
    """
    points: dict[str, dict[int, float]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        for row in rows:
            for name, cell in row.items():
                if name in ("step", "epoch") or not cell:
                    continue
                try:
                    # a resumed run logs the steps after its last checkpoint again: the later row counts
                    points.setdefault(name, {})[int(row["step"])] = float(cell)
                except (KeyError, ValueError, TypeError) as error:
                    raise BadInput(
                        f"{path}, line {rows.line_num}: {name} is {cell!r:.40}, expected a number at a step."
                    ) from error
    return {name: _curve(values) for name, values in points.items()}


def _curve(points: dict[int, float]) -> Curve:
    steps = np.array(sorted(points), np.int64)
    values = np.array([points[step] for step in steps.tolist()])
    fine = np.isfinite(values)
    return Curve(steps[fine], values[fine])
