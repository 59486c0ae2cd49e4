"""`sam3-agent merge`: what people settled goes into the data set, through the checks of the etl.

    sam3-agent merge data/annotated/batch-0001            # into data/dataset, begun as a copy of data.raw if need be

Positives and negatives both. Refused, and listed: what is not settled, what the etl or the validation finds wrong, and
whatever is in the frozen validation split or comes from its sources. Where a picture is there already with another
label, that is a conflict: the old label stays unless --replace says otherwise, or it came from the same batch.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer

from sam3.errors import BadInput
from sam3.files import atomic_write, read_json, write_json
from sam3_agent.annotation.annotated import LOCK, Annotation, alone, by_picture, read_rows, settle
from sam3_agent.dataset_versions.facts import (
    LINEAGE,
    Fact,
    facts_of,
    outline_digest,
    read_lineage,
    write_facts,
)
from sam3_agent.etl.catalogue import Catalogue
from sam3_agent.etl.convert import pairing_of
from sam3_agent.etl.frozen import freeze, load_frozen
from sam3_agent.etl.likeness import NEAR, Likeness, look_at
from sam3_agent.etl.pairing import Verdict
from sam3_agent.etl.saco import SacoWriter
from sam3_agent.etl.validate import run_validate
from sam3_agent.mining.batch import FACTS
from sam3_agent.params import Params, load_params

DATASET, VALIDATION, VERSIONS = Path("data/dataset"), Path("data/splits/val.json"), Path("data/versions")


@dataclass(frozen=True)
class Finding:
    """Why a picture was not merged, or what somebody should look at: file, rule, and what was found."""

    file: str
    rule: str
    detail: str


@dataclass
class MergeReport:
    """What a merge did.

    Attributes:
        added, updated: files in the data set, relative to images/. unchanged: pictures that were there already.
        positives, negatives: of added and updated. refused: not merged. conflicts: there with another label.
    """

    batch: str
    raw: Path
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    positives: int = 0
    negatives: int = 0
    refused: list[Finding] = field(default_factory=list)
    conflicts: list[Finding] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the data set is another one than before."""
        return bool(self.added or self.updated)


def merge(
    annotated: Annotated[Path, typer.Argument(help="An annotated batch, data/annotated/<batch>.")],
    raw: Annotated[Path, typer.Option(help="The data set; begun as a copy of data.raw if there is none.")] = DATASET,
    validation: Annotated[Path, typer.Option(help="The split to freeze at the first merge.")] = VALIDATION,
    replace: Annotated[bool, typer.Option("--replace", help="Conflicts: the new label wins.")] = False,
    reports: Annotated[Path, typer.Option(help="Folder for merge_<batch>.json.")] = Path("reports"),
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Merge settled annotations into the data set."""
    report = merge_batch(annotated, raw, params=params, validation=validation, replace=replace)
    out = reports / f"merge_{report.batch}.json"
    write_json(out, {**asdict(report), "raw": str(report.raw)})
    print(
        f"{raw}: {len(report.added)} added, {len(report.updated)} updated ({report.positives} positives, "
        f"{report.negatives} negatives), {report.unchanged} unchanged, {len(report.refused)} refused, "
        f"{len(report.conflicts)} conflicts: {out}"
    )


def merge_batch(
    annotated: Path,
    raw: Path,
    *,
    params: Path = Path("params.yaml"),
    validation: Path = VALIDATION,
    replace: bool = False,
    versions: Path = VERSIONS,
) -> MergeReport:
    """Merge an annotated batch; killed at any moment and called again, it ends the same.

    Args:
        annotated: as `pull` and `accept` leave it. raw: the data set. validation: frozen at the first merge.
        replace: of two labels of one picture, believe the new one.

    Raises:
        BadInput: no such batch, another concept, nothing to freeze, or the merged pairs break an expectation.
    """
    settings = load_params(params)
    if not (annotated / FACTS).is_file():
        raise BadInput(f"{annotated}: no annotated batch. Pull one: sam3-agent annotate pull")
    about = read_json(annotated / FACTS)
    if about["concept"].casefold() not in settings.names_of_concept():
        raise BadInput(f"{annotated}: about {about['concept']!r}, params.yaml is about {settings.concept!r}.")
    report = MergeReport(annotated.name, raw)
    # no pull in the middle of it, and no other merge into the same data set
    with alone(annotated / LOCK), alone(raw.with_name(f".{raw.name}.lock")):
        begin(raw, settings, validation, versions)
        verdicts = _judged(annotated, settings, report)
        _check(verdicts, settings)
        _take_in(annotated, raw, verdicts, settings, report, replace)
    return report


def begin(raw: Path, params: Params, validation: Path, versions: Path = VERSIONS) -> None:
    """Begin a data set as a copy of `data.raw`, its validation side frozen.

    No links: DVC makes what it adds read-only, and an edit of the one would be an edit of the other.
    """
    if not (raw / "images").is_dir():
        source = Path(params.data.raw)
        if source.resolve() == raw.resolve() or not (source / "images").is_dir():
            raise BadInput(f"{source}: no raw folder to begin {raw} with. Set data.raw, or run: dvc repro barnyard")
        part = raw.with_name(f".{raw.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        os.replace(part, raw)
    freeze(raw, validation)
    first = versions / "data-v1.0.facts.jsonl.gz"
    if not first.is_file() and not (raw / LINEAGE).is_file():
        write_facts(first, facts_of(raw, params))


def _judged(annotated: Path, params: Params, report: MergeReport) -> list[tuple[Annotation, Verdict]]:
    """The settled pictures as the etl judges them; the others are refused."""
    said = by_picture(read_rows(annotated))
    catalogue = Catalogue(annotated)
    pairing = pairing_of(annotated, catalogue, params, verify_pixels=True)
    found, number = [], 0
    for entry in catalogue.pictures():
        if entry.path not in said:
            report.refused.append(Finding(entry.path, "not-annotated", "nobody has said anything about it"))
            continue
        state, speaker, agreed = settle(said[entry.path])
        if state not in ("positive", "negative"):
            more = "" if agreed is None else f"; agreement {agreed:.2f}"
            report.refused.append(Finding(entry.path, state, f"{len(said[entry.path])} annotations{more}"))
            continue
        number += 1
        verdict = pairing.judge(number, entry)
        if verdict.pair is None or verdict.pair.kind != state or not entry.labels:
            detail = "; ".join(problem.detail for problem in verdict.problems) or "its label file is missing"
            report.refused.append(Finding(entry.path, verdict.because or "no-label", detail))
            continue
        found.append((speaker, verdict))
    return found


def _check(verdicts: list[tuple[Annotation, Verdict]], params: Params) -> None:
    """The expectations of the validate stage, on what is about to be merged."""
    if not verdicts:
        return
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.json"
        with SacoWriter(pairs, params.concept) as writer:
            for _, verdict in verdicts:
                assert verdict.pair is not None
                writer.add(verdict.pair)
        found = run_validate(pairs, Path(folder) / "reports", params.concept)
    # those that name rows: a batch of negatives only is none for a data set that has positives
    fatal = [finding for finding in found if finding.fatal and finding.rows]
    if fatal:
        raise BadInput(f"{len(fatal)} expectations fail on the batch, nothing was merged: {'; '.join(map(str, fatal))}")


def _take_in(
    annotated: Path,
    raw: Path,
    verdicts: list[tuple[Annotation, Verdict]],
    params: Params,
    report: MergeReport,
    replace: bool,
) -> None:
    frozen, held = load_frozen(raw), facts_of(raw, params)
    assert frozen is not None
    known = [fact for fact in held.values() if fact.dhash and fact.kind]
    by_content = {fact.content: fact for fact in held.values() if fact.content}
    stems = {_stem(file): fact.content for file, fact in held.items()}
    lineage = {row["file"]: row for row in read_lineage(raw)}
    for row, verdict in verdicts:
        pair = verdict.pair
        assert pair is not None
        look = look_at(annotated / "images" / row.file)
        if why := frozen.touches(look, pair.source):
            report.refused.append(Finding(row.file, "in-validation", why))
            continue
        old = by_content.get(look.digest.hex())
        if old is not None and old.kind == pair.kind and old.outline == outline_digest(verdict):
            report.unchanged += 1
            if old.file not in lineage and _came_from(raw, old.file, row.batch):  # by a merge that was killed
                lineage[old.file] = _origin(row, old.file)
            continue
        if old is not None and not _may_replace(lineage.get(old.file), row, replace):
            detail = f"as {old.file}: {old.kind or 'left out'} with {old.instances}, now {pair.kind} with {len(pair.instances)}"
            report.conflicts.append(Finding(row.file, "other-label", detail))
            continue
        if old is None and (like := _contradicted(look, pair.kind, known)):
            detail = f"nearly the same picture is {like.file}, a {like.kind}; this one would be a {pair.kind}"
            report.conflicts.append(Finding(row.file, "near-copy", detail))
            continue
        file = _place(annotated, raw, row, pair.kind, params.concept, old, stems)
        (report.added if old is None else report.updated).append(file)
        report.positives += pair.kind == "positive"
        report.negatives += pair.kind == "negative"
        if old is not None:
            lineage.pop(old.file, None)
        lineage[file] = _origin(row, file)
    _write_lineage(raw, lineage)


def _contradicted(look: Likeness, kind: str, known: list[Fact]) -> Fact | None:
    """A picture of the data set that looks the same and has the opposite label."""
    if look.dhash is None or not known:
        return None
    hashes = np.array([int(fact.dhash, 16) for fact in known], np.uint64)
    near = np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(look.dhash)) <= NEAR)
    return next((known[at] for at in near if known[at].kind != kind), None)


def _came_from(raw: Path, file: str, batch: str) -> bool:
    """Whether a picture's label file says that this batch brought it."""
    label = raw / "labels" / f"{PurePosixPath(file).stem}.json"
    about = read_json(label).get("sam3_agent") if label.is_file() else None
    return isinstance(about, dict) and about.get("batch") == batch


def _may_replace(origin: dict[str, Any] | None, row: Annotation, replace: bool) -> bool:
    """A later word about a picture of the same batch replaces the earlier one."""
    return replace or (origin is not None and origin["batch"] == row.batch and origin["updated"] <= row.updated)


def _place(
    annotated: Path, raw: Path, row: Annotation, kind: str, concept: str, old: Fact | None, stems: dict[str, str]
) -> str:
    """Copy picture and label in; returns the picture's place, relative to images/."""
    own = PurePosixPath(row.file)
    name = own.name if old is None else PurePosixPath(old.file).name
    if old is None and _stem(name) in stems:
        name = f"{own.stem}-{row.sha256[:8]}{own.suffix}"
    stems[_stem(name)] = row.sha256
    file = f"{concept if kind == 'positive' else f'not_{concept}'}/{name}"
    label = read_json(annotated / "labels" / f"{own.stem}.json")
    for stale in (raw / "labels").glob(f"{_globbed(PurePosixPath(name).stem)}.*"):
        if stale.suffix != ".json":
            stale.unlink()  # of two label files the etl would complain
    # the label first: a picture without one would count as a negative that nobody looked at
    write_json(raw / "labels" / f"{PurePosixPath(name).stem}.json", {**label, "imagePath": f"../images/{file}"})
    if old is not None and old.file != file:
        (raw / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(raw / "images" / old.file, raw / "images" / file)
    elif old is None:
        with atomic_write(raw / "images" / file, "wb") as stream:
            stream.write((annotated / "images" / row.file).read_bytes())
    return file


def _stem(file: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", PurePosixPath(file).stem).casefold()


def _globbed(text: str) -> str:
    import glob

    return glob.escape(text)


def _origin(row: Annotation, file: str) -> dict[str, Any]:
    """image -> batch -> annotator -> model version."""
    kept = ("sha256", "batch", "annotator", "task", "model_version", "created", "updated")
    return {"file": file, "annotation": row.id, **{key: getattr(row, key) for key in kept}}


def _write_lineage(raw: Path, lineage: dict[str, dict[str, Any]]) -> None:
    import json

    with atomic_write(raw / LINEAGE) as stream:
        for file in sorted(lineage):
            stream.write(json.dumps(lineage[file], ensure_ascii=False, sort_keys=True) + "\n")
