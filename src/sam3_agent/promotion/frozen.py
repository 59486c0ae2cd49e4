"""The validation set that does not move: kept apart from `split`, which chooses anew when the data grows.

`freeze` copies it once and writes down its checksum; `check_frozen` refuses a file that has changed, and
`check_apart` refuses a training file that holds one of its pictures, under whatever name.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from sam3.errors import BadInput
from sam3.files import atomic_write, read_json, write_json

FROZEN = Path("data/frozen/val.json")


def freeze(source: Path, images: Path, target: Path = FROZEN) -> Path:
    """Make `source` the frozen set, unless there is one: that stays. Returns its place.

    Raises:
        BadInput: no such file, a picture is missing, or what is frozen has changed.
    """
    record = _record(target)
    if record.is_file():
        check_frozen(target)
        return target
    pictures = {name: _sha256(images / name) for name in sorted(_names(source))}
    with source.open("rb") as old, atomic_write(target, "wb") as new:
        shutil.copyfileobj(old, new)
    write_json(record, {"sha256": _sha256(target), "pictures": pictures})  # last: without it nothing is frozen
    return target


def check_frozen(frozen: Path = FROZEN) -> None:
    """Raise `BadInput` when the frozen set is not what was frozen."""
    row = read_json(_record(frozen))
    if _sha256(frozen) != row["sha256"]:
        raise BadInput(
            f"{frozen}: has changed since it was frozen, so figures would not compare. Restore it (git, dvc), or "
            f"remove it with {_record(frozen).name} to freeze another set and start over.",
            field="val",
        )


def check_apart(frozen: Path, train: Path, images: Path) -> None:
    """Raise `BadInput` when a picture is in the frozen set and in a training file."""
    held = read_json(_record(frozen))["pictures"]
    contents = {sha256: name for name, sha256 in held.items()}
    for name in sorted(_names(train)):
        same = name if name in held else contents.get(_sha256(images / name))
        if same is not None:
            raise BadInput(
                f"{train}: {name} is {same} of {frozen}, which must never be trained on. Take it out of the raw "
                "folder or of the training split.",
                field="train",
            )


def _record(frozen: Path) -> Path:
    return frozen.with_suffix(".frozen.json")


def _names(path: Path) -> Iterable[str]:
    return {str(row["file_name"]) for row in read_json(path)["images"]}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).") from error
