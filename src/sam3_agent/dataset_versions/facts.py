"""A data set in one line a picture: what it shows, who labelled it, and what tells two versions apart.

The lines of a version are kept, gzipped, in `data/versions/`, so that any two can be compared without fetching either.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.files import atomic_write
from sam3_agent.etl.catalogue import Catalogue
from sam3_agent.etl.convert import pairing_of
from sam3_agent.etl.likeness import look_at
from sam3_agent.etl.pairing import Verdict
from sam3_agent.params import Params

LINEAGE = "lineage.jsonl"


@dataclass(frozen=True)
class Fact:
    """One picture of a data set.

    Attributes:
        file: relative to images/. content: of the bytes, 32 hex digits. dhash: difference hash, 16 hex digits; "" if
            flat. kind: positive, negative, or "" when the etl leaves it out; why says why then.
        instances: outlines. outline: digest of kind and outlines. source: group for the split.
        batch: that brought it; "" for one that was there from the start.
    """

    file: str
    content: str
    dhash: str
    kind: str
    instances: int
    outline: str
    source: str
    batch: str = ""
    why: str = ""


def facts_of(raw: Path, params: Params) -> dict[str, Fact]:
    """Every picture of a raw folder, by file name, as the etl sees it.

    Raises:
        BadInput: no such folder.
    """
    from tqdm import tqdm

    catalogue = Catalogue(raw)
    pairing = pairing_of(raw, catalogue, params, verify_pixels=False)
    lineage = {row["file"]: row["batch"] for row in read_lineage(raw)}
    found = {}
    for number, entry in enumerate(tqdm(catalogue.pictures(), "facts", len(catalogue), unit="picture"), start=1):
        verdict = pairing.judge(number, entry)
        found[entry.path] = _fact(raw, entry.path, verdict, lineage.get(entry.path, ""))
    return found


def _fact(raw: Path, file: str, verdict: Verdict, batch: str) -> Fact:
    pair = verdict.pair
    try:
        look = look_at(raw / "images" / file)
        content, dhash = look.digest.hex(), "" if look.dhash is None else f"{look.dhash:016x}"
    except BadInput:
        content, dhash = "", ""
    if pair is None:
        return Fact(file, content, dhash, "", 0, "", "", batch, verdict.because)
    return Fact(file, content, dhash, pair.kind, len(pair.instances), outline_digest(verdict), pair.source, batch)


def outline_digest(verdict: Verdict) -> str:
    """Of kind and outlines, whatever file they stand in and in whatever order."""
    import hashlib

    assert verdict.pair is not None
    outlines = sorted(json.dumps([ring.round(1).tolist() for ring in one.polygons]) for one in verdict.pair.instances)
    return hashlib.sha256(json.dumps([verdict.pair.kind, outlines]).encode()).hexdigest()[:16]


def read_lineage(raw: Path) -> Iterator[dict[str, Any]]:
    """Where merged pictures come from: rows of file, sha256, batch, annotation, annotator, task, model_version."""
    path = raw / LINEAGE
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: not JSON ({error}). Restore the file: dvc checkout") from error


def write_facts(path: Path, facts: dict[str, Fact]) -> None:
    """Write facts, the same bytes for the same facts."""
    with (
        atomic_write(path, "wb") as stream,
        gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") as packed,
    ):
        for file in sorted(facts):
            packed.write(json.dumps(asdict(facts[file]), ensure_ascii=False).encode() + b"\n")


def read_facts(path: Path) -> dict[str, Fact]:
    """Facts of a version.

    Raises:
        BadInput: missing or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            rows = [Fact(**json.loads(line)) for line in stream]
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise BadInput(f"{path}: no facts of a version ({error}). Restore it: git checkout -- {path}") from error
    return {row.file: row for row in rows}
