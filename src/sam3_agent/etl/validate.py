"""The validate stage: data/saco/pairs.json against the expectations; a fatal one stops the pipeline.

Writes reports/validate.json and the data docs, reports/data_docs/index.html, also when it fails: they say
which rows to mend. Try it: `sam3-agent validate`.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from sam3.errors import BadInput
from sam3.files import write_json
from sam3_agent.etl.data_docs import readable_offline
from sam3_agent.etl.expectations import Finding, annotation_suite, check, image_suite
from sam3_agent.etl.saco import SacoFile, read_saco
from sam3_agent.etl.tally import NO_NEGATIVES
from sam3_agent.params import load_params


def validate(
    pairs: Annotated[Path, typer.Argument(help="The SA-Co file to check.")] = Path("data/saco/pairs.json"),
    reports: Annotated[Path, typer.Option(help="Folder for validate.json and data_docs.")] = Path("reports"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Check the pairs with Great Expectations and pycocotools; name the rows that are wrong."""
    concept = load_params(params).concept
    findings = run_validate(pairs, reports, concept)
    console = Console()
    for finding in findings:
        if not finding.fatal:
            console.print(f"[bold red]warning:[/] {finding}")
    fatal = [finding for finding in findings if finding.fatal]
    if fatal:
        listed = "; ".join(map(str, fatal))
        raise BadInput(
            f"{pairs}: {len(fatal)} expectations failed. {listed}. See {reports}/data_docs/index.html, "
            "mend the labels and run `sam3-agent etl` again."
        )
    console.print(f"{pairs}: all expectations hold · {reports}/data_docs/index.html")


def run_validate(pairs: Path, reports: Path, concept: str) -> list[Finding]:
    """Check a SA-Co file and write the report and the data docs.

    Returns:
        What failed, the fatal findings first.

    Raises:
        BadInput: the file cannot be read, has no pairs, or the reports cannot be written.
    """
    saco = read_saco(pairs)
    if not saco.images:
        raise BadInput(f"{pairs}: has no pairs. Run `sam3-agent etl` on a folder with pictures.", field="images")
    findings = _findings(saco, reports, concept)
    if not any(count == 0 for _, count in saco.counts()):
        findings.append(Finding("images", NO_NEGATIVES, False, 0, []))
    findings.sort(key=lambda finding: not finding.fatal)
    summary = {
        "ok": not any(finding.fatal for finding in findings),
        "pairs": len(saco.images),
        "annotations": len(saco.annotations),
        "findings": [asdict(finding) for finding in findings],
    }
    write_json(reports / "validate.json", summary)
    return findings


def _findings(saco: SacoFile, reports: Path, concept: str) -> list[Finding]:
    # imported here: pandas and the tables take a second that `--help` should not
    from sam3_agent.etl.tables import annotation_table, image_table

    rows = track(saco.annotations, "masks", console=Console(stderr=True), transient=True)
    tables = {"images": image_table(saco), "annotations": annotation_table(saco, rows)}
    suites = {"images": image_suite(concept), "annotations": annotation_suite()}
    target = reports / "data_docs"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=reports, prefix=".data_docs.") as folder:
            docs = Path(folder) / "docs"
            docs.mkdir()
            findings = check(tables, suites, docs)
            readable_offline(docs)
            shutil.rmtree(target, ignore_errors=True)
            docs.rename(target)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror}). Free or unlock the folder.") from error
    return findings
