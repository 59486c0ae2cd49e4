"""What notebooks/error_analysis.ipynb shows: figures of a run for reading one at a time.

Functions here return tables and pictures (PIL images, which every notebook front end shows); the notebook has the words.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from sam3_agent.finished_run import FinishedRun, PairRow
from sam3_agent.report.pictures import Album
from sam3_agent.report.selection import found, there

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

BEFORE, AFTER, FAINT = "#d9692c", "#0f7fc4", "#8a909a"


def pair_table(run: FinishedRun) -> pd.DataFrame:
    """One row a validation pair, baseline and candidate side by side, the worst of the candidate first."""
    import pandas as pd

    rows = [
        {
            "image_id": after.image_id,
            "picture": after.file_name,
            "there": after.annotations,
            "found before": run.baseline.pairs[image_id].detections,
            "found": after.detections,
            "F1 before": run.baseline.pairs[image_id].f1,
            "F1": after.f1,
            "presence": after.presence,
            "mistake": after.error,
        }
        for image_id, after in run.candidate.pairs.items()
    ]
    table = pd.DataFrame(rows)
    right = (table["mistake"] == "ok").astype(int)
    return table.assign(right=right).sort_values(["right", "F1", "image_id"]).drop(columns="right").round(3)


def mistakes_chart(run: FinishedRun) -> Image:
    """Mistakes by kind, before and after."""
    from matplotlib.figure import Figure

    kinds = sorted({*run.baseline.errors, *run.candidate.errors}, key=lambda kind: run.candidate.errors.get(kind, 0))
    figure = Figure(figsize=(7, 0.6 + 0.5 * len(kinds)), layout="constrained")
    axes, at = figure.subplots(), np.arange(len(kinds))
    for shift, measured, colour, name in (
        (0.2, run.baseline, BEFORE, "baseline"),
        (-0.2, run.candidate, AFTER, "fine-tuned"),
    ):
        counts = [measured.errors.get(kind, 0) for kind in kinds]
        axes.barh(at + shift, counts, 0.36, color=colour, label=name)
    axes.set_yticks(at, kinds)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("mistakes on the validation pairs")
    axes.legend(frameon=False, loc="lower right")
    return _picture(figure)


def presence_chart(run: FinishedRun) -> Image:
    """Presence on positives and negatives, pair by pair: where the two clouds overlap, the model guesses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes, rng = figure.subplots(), np.random.default_rng(0)
    for line, (measured, colour) in enumerate(((run.candidate, AFTER), (run.baseline, BEFORE))):
        for side in (0, 1):
            rows = [
                row
                for row in measured.pairs.values()
                if bool(row.annotations) == bool(side) and row.presence is not None
            ]
            x = [float(row.presence or 0) for row in rows]
            y = line + (0.18 if side else -0.18) + rng.uniform(-0.1, 0.1, len(rows))
            axes.scatter(x, y, 18, color=colour if side else "none", edgecolors=colour, linewidths=1)
    axes.axvline(run.candidate.score_threshold, color=FAINT, linewidth=1, linestyle="--")
    axes.set_yticks([0, 1], ["fine-tuned", "baseline"])
    axes.set(xlabel="presence (filled: it is there; hollow: it is not)", xlim=(-0.02, 1.02))
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _picture(figure)


def pair_figure(album: Album, row: PairRow) -> Image:
    """Ground truth, baseline and candidate of one pair, with what was found."""
    from matplotlib.figure import Figure

    before = album.run.baseline.pairs[row.image_id]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = (
        (album.ground_truth, f"ground truth: {there(row)}"),
        (album.baseline, f"baseline: {found(before)}"),
        (album.candidate, f"fine-tuned: {found(row)}"),
    )
    for axes, (draw, title) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(draw(row.image_id))
        axes.set_title(title, fontsize=10, loc="left", color="#444")
        axes.axis("off")
    figure.suptitle(f"{row.error}: {row.file_name}", x=0.004, ha="left", fontsize=12, fontweight="bold")
    return _picture(figure)


def _picture(figure: Figure) -> Image:
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return Image.open(stream)
