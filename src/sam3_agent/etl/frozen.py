"""The validation side that never changes: written down once, kept with the data set, honoured by `split` and `merge`.

<raw>/frozen/validation.json    its pairs, byte for byte the val.json of the first version
<raw>/frozen/pictures.json      content, look and source of each picture: nothing like them may enter training
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3.errors import BadInput
from sam3.files import atomic_write, read_json
from sam3.images import resolve_inside
from sam3_agent.etl.likeness import NEAR, Likeness, look_at
from sam3_agent.etl.saco import read_saco

FOLDER, PAIRS, PICTURES = "frozen", "validation.json", "pictures.json"


@dataclass(frozen=True)
class FrozenValidation:
    """What training must not see.

    Attributes:
        files: pictures, relative to images/. contents: digests of their bytes, hex. sources: their groups.
        hashes: (N,) uint64, difference hashes of those with contrast.
    """

    files: frozenset[str]
    contents: frozenset[str]
    sources: frozenset[str]
    hashes: np.ndarray

    def touches(self, look: Likeness, source: str) -> str:
        """Why a picture must not enter training; "" when it may."""
        if look.digest.hex() in self.contents:
            return "the same picture is in the frozen validation split"
        if source in self.sources:
            return f"its source {source!r} is in the frozen validation split"
        near = look.dhash is not None and (np.bitwise_count(self.hashes ^ np.uint64(look.dhash)) <= NEAR).any()
        return "nearly the same picture is in the frozen validation split" if near else ""


def freeze(raw: Path, validation: Path) -> None:
    """Write the validation side down, once; what is frozen stays as it is.

    Args:
        raw: the data set. validation: val.json, its file names relative to `raw`/images.

    Raises:
        BadInput: no such split, or one of its pictures is not in the data set.
    """
    target = raw / FOLDER
    if (target / PICTURES).is_file():
        return
    if not validation.is_file():
        raise BadInput(f"{validation}: no validation split to freeze. Run the pipeline first: dvc repro split")
    rows = []
    for row in read_saco(validation).images:
        look = look_at(resolve_inside(raw / "images", row["file_name"]))
        dhash = None if look.dhash is None else f"{look.dhash:016x}"
        rows.append({"file": row["file_name"], "content": look.digest.hex(), "dhash": dhash,
                     "source": str(row.get("source", row["file_name"]))})  # fmt: skip
    with atomic_write(target / PAIRS, "wb") as stream, validation.open("rb") as source:
        shutil.copyfileobj(source, stream)
    with atomic_write(target / PICTURES) as stream:  # last: it says that both are there
        stream.write(json.dumps(rows, ensure_ascii=False, indent=0) + "\n")


def load_frozen(raw: Path) -> FrozenValidation | None:
    """The frozen side of a data set; None when nothing was frozen."""
    path = raw / FOLDER / PICTURES
    if not path.is_file():
        return None
    try:
        rows = read_json(path)
        hashes = np.array([int(row["dhash"], 16) for row in rows if row["dhash"]], np.uint64)
        return FrozenValidation(
            frozenset(row["file"] for row in rows),
            frozenset(row["content"] for row in rows),
            frozenset(row["source"] for row in rows),
            hashes,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not what `freeze` wrote ({error}). Restore it: dvc checkout {raw}") from error
