"""The run in one table: what `make demo` prints and reports/summary.{txt,json} keep.

`figures` decides what is shown and how; the page, the terminal and the JSON file are views of it.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from sam3.eval.bootstrap import Interval
from sam3_agent.finished_run import FinishedRun, Measured
from sam3_agent.report.selection import MEANING

if TYPE_CHECKING:
    from rich.table import Table

Z95 = 1.959964
WIDE = 116  # columns that the table needs with its words


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; `None` where a checkpoint has no such figure.

    Attributes:
        meaning: a few words for people who do not know the name.
        up: whether more is better.
        whole: a count and not a share.
    """

    name: str
    meaning: str
    before: Interval | float | None
    after: Interval | float | None
    up: bool = True
    whole: bool = False

    @property
    def change(self) -> float | None:
        """After minus before."""
        before, after = number(self.before), number(self.after)
        return None if before is None or after is None else after - before


def figures(run: FinishedRun) -> list[Figure]:
    """The figures a run is judged by, in the order people ask for them."""
    old, new = run.baseline, run.candidate
    return [
        Figure("cgF1", "found, outlined, silent elsewhere", old.cgf1, new.cgf1),
        Figure("pmF1", "outlines, where it is there", old.pmf1, new.pmf1),
        Figure("IL_MCC", "there or not, picture by picture", old.il_mcc, new.il_mcc),
        Figure("pass rate", "negatives without a single find", pass_rate(old), pass_rate(new)),
        Figure("presence on negatives", "belief where there is nothing", old.presence_on_negatives,
               new.presence_on_negatives, up=False),
        Figure("presence on positives", "belief where it is there", _on_positives(old), _on_positives(new)),
        *(
            Figure(kind, meaning, float(old.errors.get(kind, 0)), float(new.errors.get(kind, 0)),
                   up=False, whole=True)
            for kind, meaning in MEANING.items()
        ),
    ]  # fmt: skip


def pass_rate(measured: Measured) -> Interval | None:
    """Share of clean negatives with its 95 % interval (Wilson 1927); None without negatives."""
    count, clean = len(measured.negatives), measured.clean_negatives
    if not count:
        return None
    share, z2 = clean / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def verdict(run: FinishedRun) -> str:
    """The decision in one sentence with its figures."""
    new, gain = run.candidate.cgf1, run.decision.gain
    certain = "outside chance" if gain.low > 0 else "within chance"
    measured = (
        f"cgF1 {new.value:.3f} ({new.low:.3f} to {new.high:.3f}) against {run.baseline.cgf1.value:.3f} before, "
        f"a change of {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}, {certain})"
    )
    clean = f"{run.candidate.clean_negatives} of {len(run.candidate.negatives)} negatives without a false alarm"
    start = "The candidate may replace the baseline" if run.decision.passed else "The candidate is refused"
    return f"{start}: {measured}; {clean}."


def number(value: Interval | float | None) -> float | None:
    """The value of a figure without its interval."""
    return value.value if isinstance(value, Interval) else value


def shown(value: Interval | float | None, whole: bool = False) -> str:
    """ "0.712 (0.65 to 0.77)", "0.031", "4", or "not measured"."""
    if value is None:
        return "not measured"
    if isinstance(value, Interval):
        return f"{value.value:.3f} ({value.low:.2f} to {value.high:.2f})"
    return f"{value:.0f}" if whole else f"{value:.3f}"


def change_shown(figure: Figure) -> str:
    """ "+0.213", "-4", or "" when there is nothing to compare."""
    if figure.change is None:
        return ""
    text = f"{figure.change:+.0f}" if figure.whole else f"{figure.change:+.3f}"
    return "0" if not figure.change else text


def is_better(figure: Figure) -> bool | None:
    """Whether the change is for the better; None when nothing changed that is worth a colour."""
    least = 0.5 if figure.whole else 0.0005
    if figure.change is None or abs(figure.change) < least:
        return None
    return (figure.change > 0) == figure.up


def summary_table(run: FinishedRun, width: int) -> Table:
    """The table for a terminal of `width` columns; a narrow one goes without the words beside the figures."""
    from rich.table import Table

    table = Table(title=f"{run.concept}: {run.candidate.checkpoint} against {run.baseline.checkpoint}", title_justify="left",
                  caption=run.candidate.hardware, caption_justify="left")  # fmt: skip
    table.add_column("figure", no_wrap=True)
    for heading in ("baseline", "fine-tuned", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    wide = width >= WIDE
    if wide:
        table.add_column("what it says", style="dim", no_wrap=True)
    for figure in figures(run):
        style = {True: "green", False: "red", None: ""}[is_better(figure)]
        cells = (shown(figure.before, figure.whole), shown(figure.after, figure.whole))
        change = f"[{style}]{change_shown(figure)}[/]" if style else change_shown(figure)
        meaning = [figure.meaning] if wide else []
        table.add_row(figure.name, *cells, change, *meaning, style="bold" if figure.name == "cgF1" else "")
    return table


def summary_text(run: FinishedRun, width: int = 124) -> str:
    """Table and verdict as plain text, for reports/summary.txt."""
    from rich.console import Console

    console = Console(width=width, no_color=True, record=True, file=io.StringIO())
    console.print(summary_table(run, console.width))
    console.print(verdict(run))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"


def summary_json(run: FinishedRun) -> dict[str, Any]:
    """Figures by checkpoint and the decision, for programs."""
    rows = figures(run)
    sides = {"baseline": run.baseline, "candidate": run.candidate}
    return {
        "concept": run.concept,
        "passed": run.decision.passed,
        "verdict": verdict(run),
        "gain": asdict(run.decision.gain),
        **{
            side: {
                "checkpoint": measured.checkpoint,
                "sha256": measured.sha256,
                "hardware": measured.hardware,
                **{f.name: number(f.before if side == "baseline" else f.after) for f in rows},
            }
            for side, measured in sides.items()
        },
    }


def _on_positives(measured: Measured) -> float | None:
    return measured.calibration.mean_on_positives if measured.calibration else None
