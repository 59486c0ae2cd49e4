"""The figures of a run, step by step, across kills.

Lightning's CSV logger starts its file anew whenever a run goes on. What was there is set aside first; the whole
curve is put together at the end: of steps that were run twice, the later run counts.
"""

from __future__ import annotations

from pathlib import Path

CURRENT = "metrics.csv"


def set_aside(folder: Path) -> None:
    """Keep the log of an interrupted run before a new one overwrites it."""
    current = folder / CURRENT
    if current.is_file():
        current.rename(folder / f"before_{len(list(folder.glob('before_*.csv')))}.csv")


def whole_log(folder: Path) -> str:
    """All rows as CSV text, ordered by step.

    Args:
        folder: holds metrics.csv and what `set_aside` kept.
    """
    import pandas as pd

    kept = sorted(folder.glob("before_*.csv"), key=lambda path: int(path.stem.split("_")[1]))
    parts = [pd.read_csv(path) for path in [*kept, folder / CURRENT] if path.is_file() and path.stat().st_size]
    rows = None
    for part in parts:
        if rows is not None and len(part):
            rows = rows[rows["step"] < part["step"].min()]
        rows = part if rows is None else pd.concat([rows, part], ignore_index=True)
    return "" if rows is None else rows.to_csv(index=False)
