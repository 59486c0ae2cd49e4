"""The charts of the page: how training went, where the threshold should be, what presence is worth.

Each function takes what it draws and returns an SVG string (see `charts`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sam3_agent.finished_run import Measured
from sam3_agent.report.charts import AFTER, BAD, BEFORE, FAINT, GOOD, GRID, INK, SERIES, chart
from sam3_agent.training_record import Curve, Training

TERMS = ("class", "box", "giou", "mask", "dice")


def training_charts(training: Training) -> list[tuple[str, str, str]]:
    """(title, what to look for, SVG) of the charts that have something to show."""
    made = [
        ("Loss", "should fall and flatten; validation rising alone is overfitting", _loss(training)),
        ("cgF1 on validation", "the kept checkpoint is marked", _quality(training)),
        ("Loss terms", "each relative to its start, log scale", _terms(training)),
        ("Presence loss", "both must fall: one alone means always yes or always no", _presence(training)),
        ("Gradient norm", "spikes mean broken labels or too high a learning rate", _gradient(training)),
        ("Learning rate", "warm-up, then cosine", _rate(training)),
    ]
    return [(title, hint, svg) for title, hint, svg in made if svg]


def threshold_chart(before: Measured, after: Measured) -> str:
    """cgF1 of both checkpoints at every score threshold."""
    with chart("sweep") as made:
        axes = made.axes
        for measured, colour, name in ((before, BEFORE, "baseline"), (after, AFTER, "fine-tuned")):
            at = [point.threshold for point in measured.sweep]
            axes.plot(at, [point.cgf1 for point in measured.sweep], color=colour, label=name)
            axes.plot([measured.best.threshold], [measured.best.cgf1], "o", color=colour, markersize=6)
        axes.axvline(after.score_threshold, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
        axes.set(xlabel="score threshold", xlim=(0, 1), ylim=(min(0, axes.get_ylim()[0]), 1))
        axes.legend(loc="upper right", ncols=2)
    return made.svg


def calibration_chart(before: Measured, after: Measured) -> str:
    """Presence against how often the concept is there; a perfect model lies on the diagonal. "" without presence."""
    with chart("calibration") as made:
        axes = made.axes
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2)
        for measured, colour, name in ((before, BEFORE, "baseline"), (after, AFTER, "fine-tuned")):
            if measured.calibration is None:
                return ""
            bins = [b for b in measured.calibration.bins if b.pairs]
            x, y = [b.mean_presence for b in bins], [b.share_positive for b in bins]
            axes.plot(x, y, color=colour, linewidth=1.2)
            axes.scatter(x, y, [16 + 220 * b.pairs / len(measured.pairs) for b in bins], color=colour, label=name,
                         edgecolors="none", alpha=0.85)  # fmt: skip
        axes.set(xlabel="presence", ylabel="share that shows it", xlim=(-0.04, 1.04), ylim=(-0.06, 1.08))
        for handle in axes.legend(loc="upper left").legend_handles:
            handle.set_sizes([40])
    return made.svg


def _draw(axes: Any, curve: Curve, colour: str, name: str = "") -> None:
    """The raw figure faintly, its running mean on top."""
    if len(curve) > 40:
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.6, alpha=0.28)
        axes.plot(curve.steps, curve.smooth(), color=colour, label=name)
    elif len(curve):
        axes.plot(curve.steps, curve.values, color=colour, label=name)


def _loss(training: Training) -> str:
    train, val = training.curve("train/loss"), training.curve("val/loss")
    if not len(train):
        return ""
    with chart("loss") as made:
        _draw(made.axes, train, BEFORE, "training")
        made.axes.plot(val.steps, val.values, color=AFTER, marker="o", markersize=4, label="validation")
        high = np.quantile(train.values, 0.98)
        made.axes.set(xlabel="step", ylim=(0, max([high, *val.values.tolist()]) * 1.08))
        made.axes.legend(loc="upper right")
    return made.svg


def _quality(training: Training) -> str:
    if not len(training.curve("val/cgf1")):
        return ""
    with chart("quality") as made:
        axes = made.axes
        for name, colour, label in (("il_mcc", SERIES[3], "IL_MCC"), ("pmf1", SERIES[1], "pmF1")):
            curve = training.curve(f"val/{name}")
            axes.plot(curve.steps, curve.values, color=colour, linewidth=1.2, label=label)
        curve = training.curve("val/cgf1")
        axes.plot(curve.steps, curve.values, color=AFTER, marker="o", markersize=4, label="cgF1")
        # Lightning counts a checkpoint's steps from 1 and the log's from 0
        at = int(np.abs(curve.steps - training.best_step).argmin())
        axes.plot(curve.steps[at], curve.values[at], "o", markersize=11, markerfacecolor="none", color=INK)
        axes.set(xlabel="step", ylim=(min(0, *curve.values), 1))
        axes.legend(loc="lower right")
    return made.svg


def _terms(training: Training) -> str:
    curves = {name: training.curve(f"train/{name}") for name in TERMS}
    if not any(map(len, curves.values())):
        return ""
    with chart("terms") as made:
        for colour, (name, curve) in zip(SERIES, curves.items(), strict=True):
            if len(curve):
                smooth = curve.smooth()
                made.axes.plot(curve.steps, smooth / (smooth[0] or 1.0), color=colour, label=name)
        made.axes.set(xlabel="step", yscale="log")
        _plain_log_ticks(made.axes)
        made.axes.legend(loc="upper right", ncols=3, columnspacing=1.0)
    return made.svg


def _presence(training: Training) -> str:
    if not len(training.curve("train/presence_negative")):
        return ""
    with chart("presence") as made:
        _draw(made.axes, training.curve("train/presence_positive"), GOOD, "where it is")
        _draw(made.axes, training.curve("train/presence_negative"), BAD, "where it is not")
        made.axes.set(xlabel="step", ylim=(0, None))
        made.axes.legend(loc="upper right")
    return made.svg


def _gradient(training: Training) -> str:
    norm = training.curve("train/grad_norm")
    if not len(norm):
        return ""
    clip = training.config.get("optimizer", {}).get("clip")
    with chart("gradient") as made:
        _draw(made.axes, norm, SERIES[2])
        if clip:
            made.axes.axhline(clip, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
            made.axes.annotate(f"clipped to {clip:g}", (norm.steps[0], clip), (0, 4), textcoords="offset points",
                               color=FAINT, fontsize=9)  # fmt: skip
        made.axes.set(xlabel="step", yscale="log")
        _plain_log_ticks(made.axes)
    return made.svg


def _rate(training: Training) -> str:
    names = sorted(name for name in training.curves if name.startswith("lr-"))
    if not names:
        return ""
    top = max((training.curve(name) for name in names), key=lambda curve: curve.values.max(initial=0))
    with chart("rate") as made:
        made.axes.plot(top.steps, top.values, color=SERIES[4])
        made.axes.set(xlabel="step", ylim=(0, None))
        made.axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=False)
    return made.svg


def _plain_log_ticks(axes: Any) -> None:
    """Write 0.1, not 10 to a superscript: mathematics text would not take the page's type."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if _decades(axes) < 2 else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _decades(axes: Any) -> float:
    low, high = axes.get_ylim()
    return float(np.log10(high / low)) if low > 0 else 9.0
