"""`sam3-agent report`: one self-contained HTML page about a finished run, and the summary beside it.

Verdict first, then the evidence, then what to do next. Nothing is fetched when the page is opened: pictures
are data URIs, charts inline SVG. The words and the layout are in `page.html.j2`, the look in `page.css`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sam3.files import atomic_write, write_json
from sam3.types import UInt8Array
from sam3_agent.finished_run import FinishedRun, PairRow, Places, read_run

COLUMNS = ("ground truth", "baseline", "fine-tuned")


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture on the page: a data URI, and what it shows in words."""

    uri: str
    what: str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A pair on the page. `badge` names the story or the mistake, `detail` is one line on each panel's figures."""

    row: PairRow
    badge: str
    detail: str
    panels: list[Panel]


def report(
    reports: Annotated[Path, typer.Option(help="Folder with what the other stages wrote.")] = Path("reports"),
    splits: Annotated[Path, typer.Option(help="Folder of the splits.")] = Path("data/splits"),
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures [data.raw of params.yaml].")] = None,
    model: Annotated[Path, typer.Option(help="Folder of the fine-tuned checkpoint.")] = Path("models/finetuned"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("reports/report.html"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Write the page about a finished run, and summary.txt and summary.json beside it."""
    from rich.console import Console

    from sam3_agent.params import load_params
    from sam3_agent.report.summary import summary_json, summary_table, summary_text, verdict

    folder = images or Path(load_params(params).data.raw) / "images"
    run = read_run(Places(reports, splits, folder, model))
    with Console(stderr=True).status("drawing pictures and charts"):
        page = render(run)
    with atomic_write(out) as stream:
        stream.write(page)
    with atomic_write(out.with_name("summary.txt")) as stream:
        stream.write(summary_text(run))
    write_json(out.with_name("summary.json"), summary_json(run))
    console = Console()
    console.print(summary_table(run, console.width))
    console.print(verdict(run), highlight=False)
    _attach(run, out)
    print(f"{out} ({len(page) / 1e6:.1f} MB), open it in a browser")


def _attach(run: FinishedRun, out: Path) -> None:
    """Put the page beside the run in MLflow, if it was logged there; a store that is away is only mentioned."""
    from sam3.errors import Unavailable
    from sam3_agent.tracking.mlflow_store import Store

    if run.registration is None:
        return
    try:
        Store().attach(run.registration.run_id, out)
    except Unavailable as error:
        print(f"warning: the page is not in MLflow: {error}", file=sys.stderr)


def render(run: FinishedRun) -> str:
    """The page of a run as HTML.

    Raises:
        BadInput: pictures or masks of the run are missing.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from sam3_agent.report import advice, curves, selection, summary

    pages = Environment(
        loader=PackageLoader("sam3_agent.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "shown": summary.shown,
        "change": summary.change_shown,
        "percent": lambda value: "not measured" if value is None else f"{100 * value:.1f} %",
    }
    template = pages.get_template("page.html.j2")
    return template.render(
        run=run,
        css=Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8")),
        verdict=summary.verdict(run),
        figures=[(figure, summary.is_better(figure)) for figure in summary.figures(run)],
        number=summary.number,
        changes=_changes(run),
        worst=_worst(run),
        meaning=selection.MEANING,
        training=[(title, hint, Markup(svg)) for title, hint, svg in curves.training_charts(run.training)],
        sweep=Markup(curves.threshold_chart(run.baseline, run.candidate)),
        calibration=Markup(curves.calibration_chart(run.baseline, run.candidate)),
        steps=advice.next_steps(run),
    )


def _changes(run: FinishedRun) -> list[Exhibit]:
    from sam3_agent.report.pictures import Album
    from sam3_agent.report.selection import found, telling_changes, there

    album, made = Album(run), []
    for change in telling_changes(run):
        pair = change.after.image_id
        draws: tuple[Callable[[int], UInt8Array], ...] = (album.ground_truth, album.baseline, album.candidate)
        words = (there(change.after), found(change.before), found(change.after))
        panels = [_panel(draw(pair), f"{name}: {text}") for draw, name, text in zip(draws, COLUMNS, words, strict=True)]
        detail = f"F1 {change.before.f1:.2f} to {change.after.f1:.2f}" if change.after.annotations else "a negative"
        made.append(Exhibit(change.after, change.story, detail, panels))
    return made


def _worst(run: FinishedRun) -> list[Exhibit]:
    from sam3_agent.report.pictures import Album
    from sam3_agent.report.selection import describe, worst_pairs

    album, made = Album(run), []
    for row in worst_pairs(run.candidate):
        panels = [
            _panel(album.ground_truth(row.image_id), COLUMNS[0]),
            _panel(album.candidate(row.image_id), COLUMNS[2]),
        ]
        made.append(Exhibit(row, row.error, describe(row), panels))
    return made


def _panel(image: UInt8Array, what: str) -> Panel:
    from sam3_agent.report.outlines import data_uri

    return Panel(data_uri(image), what)
