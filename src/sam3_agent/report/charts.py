"""Charts as SVG that belong to the page: its type, its colours, light and dark.

Matplotlib draws with stand-in colours, which become the page's CSS variables, so that one drawing serves a
white page, a dark one and paper. The charts themselves are in `curves`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, FAINT, GRID, BEFORE, AFTER, GOOD, BAD = (f"#0{n}0203" for n in range(1, 8))
SERIES = tuple(f"#1{n}0203" for n in range(5))  # categories without a meaning of their own
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--line",
    BEFORE: "--before",
    AFTER: "--after",
    GOOD: "--good",
    BAD: "--bad",
    **{colour: f"--series-{n}" for n, colour in enumerate(SERIES)},
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it takes the page's type and can be searched
    "svg.hashsalt": "sam3-agent",  # equal runs give equal bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": FAINT,
    "legend.handlelength": 1.2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Chart:
    """A chart in the making: draw on `axes`; `svg` is filled when the block of `chart` ends."""

    def __init__(self, axes: Any) -> None:
        self.axes, self.svg = axes, ""


@contextmanager
def chart(name: str, size: tuple[float, float] = (4.4, 2.7)) -> Iterator[Chart]:
    """Draw one chart.

    Args:
        name: of the chart on the page; keeps the ids inside of several SVGs apart.
        size: in inches; the page scales it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        made = Chart(figure.add_subplot())
        yield made
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    made.svg = _for_the_page(stream.getvalue(), name)


def _for_the_page(svg: str, name: str) -> str:
    """Stand-in colours to variables, ids made unique, the page's type; no fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<metadata>.*?</metadata>|width="[\d.]+pt" |height="[\d.]+pt" ', "", svg, count=3, flags=re.S)
    svg = re.sub(r"#[01]\d0203", lambda m: f"var({VARIABLES[m[0]]})", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="|url\()#([^")]+)', rf"\1#{name}-\2", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--type)", svg)
    return svg.replace("<svg ", '<svg role="img" ', 1)
