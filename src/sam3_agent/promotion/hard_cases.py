"""Some pictures of every annotated batch are measured on and never trained on: the new hard cases.

Which ones is decided by the hash of their bytes, so that it does not depend on when or how often anybody asks.

    data/annotated/<batch>  ->  outputs/loop/train/<batch>   what `merge` gets
                            ->  data/hard/<batch>            images/, labels/, pairs.json: what `promote --hard` gets
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import BadInput
from sam3.files import atomic_write, read_json, write_json

TRAIN, HARD = Path("outputs/loop/train"), Path("data/hard")
ROWS, FACTS, PAIRS = "annotations.jsonl", "batch.json", "pairs.json"


@dataclass(frozen=True)
class HeldOut:
    """A batch in two parts. `hard` is None when nothing in that part can be measured on (no positives, say)."""

    train: Path
    hard: Path | None
    trained: int
    held: int


def is_hard(sha256: str, share: float) -> bool:
    """Whether a picture is held out; the same answer always."""
    return int(sha256[:8], 16) / 2**32 < share


def hold_out(
    annotated: Path, share: float, *, params: Path = Path("params.yaml"), train: Path = TRAIN, hard: Path = HARD
) -> HeldOut:
    """Divide an annotated batch; called again after more was annotated, both parts are made anew.

    Args:
        annotated: as `sam3_agent.annotation` leaves it. share: of its pictures that are held out.

    Raises:
        BadInput: no annotated batch there.
    """
    if not (annotated / FACTS).is_file():
        raise BadInput(f"{annotated}: no annotated batch. Pull one: sam3-agent annotate pull")
    rows = [json.loads(line) for line in (annotated / ROWS).read_text(encoding="utf-8").splitlines() if line.strip()]
    parts = {False: train / annotated.name, True: hard / annotated.name}
    counts = {}
    for held, place in parts.items():
        mine = [row for row in rows if is_hard(row["sha256"], share) is held]
        counts[held] = len({row["file"] for row in mine})
        _copy(annotated, place, mine)
    pairs = pairs_of(parts[True], params)
    return HeldOut(parts[False], pairs, counts[False], counts[True])


def _copy(annotated: Path, place: Path, rows: list[dict[str, object]]) -> None:
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for folder in ("images", "labels"):
        (part / folder).mkdir(parents=True)
    for file in sorted({str(row["file"]) for row in rows}):
        _link(annotated / "images" / file, part / "images" / file)
        label = annotated / "labels" / f"{Path(file).stem}.json"
        if label.is_file():
            _link(label, part / "labels" / label.name)
    with atomic_write(part / ROWS) as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    write_json(part / FACTS, read_json(annotated / FACTS))
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, place)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def pairs_of(folder: Path, params: Path) -> Path | None:
    """The settled pictures of an annotated folder as SA-Co pairs, `folder`/pairs.json; unsettled ones are removed.

    Returns:
        The file; None when nothing in it shows the concept.
    """
    from sam3_agent.etl.catalogue import Catalogue
    from sam3_agent.etl.convert import class_names, run_etl
    from sam3_agent.etl.naming import Vocabulary
    from sam3_agent.etl.pairing import Pairing
    from sam3_agent.params import load_params

    settled = {path.stem for path in (folder / "labels").glob("*.json")}
    for picture in list((folder / "images").rglob("*")):
        if picture.is_file() and picture.stem not in settled:
            picture.unlink()  # nobody has settled it: it says nothing about a model
    settings, catalogue = load_params(params), Catalogue(folder)
    pairing = Pairing(
        raw=folder, vocabulary=Vocabulary.from_params(settings), class_names=class_names(folder, catalogue),
        min_area=settings.etl.min_area, group=re.compile(settings.split.group_regex), verify_pixels=False,
    )  # fmt: skip
    try:
        run_etl(catalogue, pairing, folder / PAIRS, None)
    except BadInput:
        return None
    return folder / PAIRS
