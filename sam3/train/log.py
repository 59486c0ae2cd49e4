"""The figures of a run, step by step, across kills.

Lightning's CSV logger starts its file anew whenever a run goes on, and writes it again for each new column. What was
there is set aside first, and a column is added beside the file; the whole curve is put together at the end: of steps
that were run twice, the later run counts. Lightning writes a step's row after the checkpoint that follows the step, so a
checkpoint carries that row, in case the kill comes in between.
"""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from sam3.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

CURRENT = "metrics.csv"
ROW = "logged_row"


class RunLog(CSVLogger):
    """Lightning's CSV logger, whose file is whole at any moment."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = _WholeWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


class _WholeWriter(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Add columns: beside the file, and then in its place."""
        with Path(self.metrics_file_path).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        with atomic_write(self.metrics_file_path) as stream:
            writer = csv.DictWriter(stream, fieldnames)
            writer.writeheader()
            writer.writerows(rows)


class LastRow(L.Callback):
    """Puts the figures of the last step into every checkpoint, under `ROW`."""

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add them."""
        figures = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("train/")}
        checkpoint[ROW] = {"step": trainer.global_step - 1, "epoch": trainer.current_epoch, **figures}


def set_aside(folder: Path, row: dict[str, float] | None = None) -> None:
    """Keep the log of an interrupted run before a new one overwrites it.

    Args:
        folder: holds metrics.csv and what was kept before.
        row: of the last step before the checkpoint from which the run goes on; added where it is missing.
    """
    current = folder / CURRENT
    if current.is_file():
        current.rename(folder / f"before_{len(_kept(folder))}.csv")
    if row and not _has(_rows(_kept(folder)), row):
        import pandas as pd

        last = (_kept(folder) or [folder / "before_0.csv"])[-1]
        rows = pd.concat([_rows([last]), pd.DataFrame([row])], ignore_index=True)
        last.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(last) as stream:
            rows.sort_values("step", kind="stable").to_csv(stream, index=False)


def whole_log(folder: Path) -> str:
    """All rows as CSV text, ordered by step.

    Args:
        folder: holds metrics.csv and what `set_aside` kept.
    """
    rows = _rows([*_kept(folder), folder / CURRENT])
    return "" if rows.empty else rows.to_csv(index=False)


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("before_[0-9]*.csv"), key=lambda path: int(path.stem.split("_")[1]))


def _rows(parts: list[Path]) -> pd.DataFrame:
    """Rows of all parts; from where a part begins, what earlier ones say does not count."""
    import pandas as pd

    rows = pd.DataFrame()
    for part in map(_part, filter(Path.is_file, parts)):
        if len(rows) and len(part):
            rows = rows[rows["step"] < part["step"].min()]
        rows = pd.concat([rows, part], ignore_index=True) if len(rows) else part
    return rows


def _part(path: Path) -> pd.DataFrame:
    """Whole rows of a file; a log that was damaged stops no training, and says what is left out."""
    import pandas as pd

    text = path.read_bytes().decode(errors="replace").replace("\0", "")
    whole = text[: text.rfind("\n") + 1]  # a row that was cut off says a wrong step
    if not whole.strip():
        return pd.DataFrame()
    try:
        rows = pd.read_csv(io.StringIO(whole), on_bad_lines="warn")
        return rows[pd.to_numeric(rows["step"], errors="coerce").notna()]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, KeyError) as error:
        warnings.warn(f"{path}: left out of the curve, it cannot be read ({error}).", stacklevel=2)
        return pd.DataFrame()


def _has(rows: pd.DataFrame, row: dict[str, float]) -> bool:
    figures = [name for name in row if name.startswith("train/")]
    if not figures or rows.empty or figures[0] not in rows:
        return not figures
    return bool(rows.loc[rows["step"] == row["step"], figures[0]].notna().any())
