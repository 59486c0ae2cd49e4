"""The etl stage: data/raw -> data/saco/pairs.json, reports/etl.json and reports/etl_issues.csv.

One pass, one picture at a time, memory flat however many there are. Bad files cost themselves, never their
neighbours, and each has a row with file and line in etl_issues.csv. Look without writing:
`sam3-agent etl --dry-run data/raw`.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from sam3.errors import BadInput
from sam3.files import atomic_write, disk_named, write_json
from sam3_agent.etl.catalogue import Catalogue, Entry
from sam3_agent.etl.labels_yolo import read_class_names
from sam3_agent.etl.naming import Vocabulary
from sam3_agent.etl.pairing import Pairing
from sam3_agent.etl.records import LabelProblem
from sam3_agent.etl.saco import SacoWriter
from sam3_agent.etl.tally import Tally
from sam3_agent.params import Params, load_params

ISSUES = "etl_issues.csv"


def etl(
    raw: Annotated[Path | None, typer.Argument(help="Raw folder [data.raw of params.yaml].")] = None,
    out: Annotated[Path, typer.Option(help="The SA-Co file to write.")] = Path("data/saco/pairs.json"),
    reports: Annotated[Path, typer.Option(help="Folder for etl.json and etl_issues.csv.")] = Path("reports"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the summary, write nothing.")] = False,
    verify_pixels: Annotated[bool, typer.Option(help="Decode every picture to find truncated ones.")] = True,
) -> None:
    """Turn a folder of pictures and YOLO or LabelMe labels into SA-Co pairs."""
    settings = load_params(params)
    folder = raw or Path(settings.data.raw)
    with disk_named(tempfile.gettempdir()):  # what is read and judged waits there
        catalogue = Catalogue(folder)
        pairing = pairing_of(folder, catalogue, settings, verify_pixels=verify_pixels)
        tally = run_etl(catalogue, pairing, None if dry_run else out, None if dry_run else reports)
    console = Console()
    console.print(tally.table())
    for warning in tally.warnings:
        console.print(f"[bold red]warning:[/] {warning}")
    if not dry_run:
        console.print(f"{out} · every finding with file and line: {reports / ISSUES}")


def pairing_of(folder: Path, catalogue: Catalogue, params: Params, *, verify_pixels: bool) -> Pairing:
    """How the pictures of a raw folder are judged under params.yaml."""
    return Pairing(
        raw=folder,
        vocabulary=Vocabulary.from_params(params),
        class_names=class_names(folder, catalogue),
        min_area=params.etl.min_area,
        group=re.compile(params.split.group_regex),
        verify_pixels=verify_pixels,
    )


def class_names(raw: Path, catalogue: Catalogue) -> list[str]:
    """The class names for YOLO labels: labels/classes.txt, or classes.txt beside it.

    Raises:
        BadInput: there are YOLO labels and no classes.txt.
    """
    for path in (raw / "labels" / "classes.txt", raw / "classes.txt"):
        if path.is_file():
            return read_class_names(path)
    count = catalogue.count_labels(".txt")
    if count:
        raise BadInput(
            f"{raw}/labels/classes.txt: not found, and {count} YOLO label files need it. "
            "Write one class name a line, class 0 first."
        )
    return []


def run_etl(catalogue: Catalogue, pairing: Pairing, out: Path | None, reports: Path | None) -> Tally:
    """Judge every picture; write pairs and reports unless `out` and `reports` are None (a dry run).

    Raises:
        BadInput: no picture shows the concept, or a target cannot be written. Nothing is written then,
            save the issues file, which says why.
    """
    for target in filter(None, (out and out.parent, reports)):
        _check_writable(target)
    tally = Tally(pairing.vocabulary.concept)
    with (
        _issues_file(reports / ISSUES if reports else None) as issues,
        SacoWriter(out, tally.concept) if out else nullcontext() as pairs,
    ):
        for problem in catalogue.problems:
            _report(problem, issues, tally)
        for image_id, entry in enumerate(_with_progress(catalogue), start=1):
            verdict = pairing.judge(image_id, entry)
            tally.add(entry.path, verdict)
            for problem in verdict.problems:
                _report(problem, issues, tally)
            if pairs and verdict.pair:
                pairs.add(verdict.pair)
        for path in catalogue.orphans():
            detail = "no picture has this name; rename or remove the label"
            _report(
                LabelProblem(f"labels/{path}", 0, "label-without-picture", "dropped", detail),
                issues,
                tally,
            )
        _refuse_without_positives(pairing, tally)
    if reports:
        write_json(reports / "etl.json", tally.to_json())
    return tally


def _refuse_without_positives(pairing: Pairing, tally: Tally) -> None:
    if tally.kinds["positive"]:
        return
    seen = ", ".join(name for name, _ in tally.other_classes.most_common(5)) or "none"
    raise BadInput(
        f'{pairing.raw}: none of {tally.pictures} pictures shows "{tally.concept}" '
        f"(other classes seen: {seen}). Set concept in params.yaml, or add a name to etl.synonyms.",
        field="concept",
    )


def _report(problem: LabelProblem, issues: Any, tally: Tally) -> None:
    tally.add_problem(problem)
    if issues:
        issues.writerow(astuple(problem))


def _with_progress(catalogue: Catalogue) -> Iterator[Entry]:
    total = len(catalogue)
    console = Console(stderr=True)
    yield from track(catalogue.pictures(), "etl", total=total, console=console, transient=True)


@contextmanager
def _issues_file(path: Path | None) -> Iterator[Any]:
    """A CSV writer whose file appears when the run is over, also after an error people can mend."""
    if path is None:
        yield None
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as spool:
        writer = csv.writer(spool)
        writer.writerow([field.name for field in fields(LabelProblem)])
        try:
            yield writer
        except BadInput:
            _publish(spool, path)
            raise
        _publish(spool, path)


def _publish(spool: Any, path: Path) -> None:
    spool.seek(0)
    with atomic_write(path) as out:
        shutil.copyfileobj(spool, out, 1 << 20)


def _check_writable(folder: Path) -> None:
    """Find out before the long run, not after it, that the result has no place to go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}). Free or unlock the folder.") from error
