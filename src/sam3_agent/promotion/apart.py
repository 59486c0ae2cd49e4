"""What is measured on was never trained on: checked again before anything is promoted, by content and not by name.

The validation side itself is frozen with the data set (`sam3_agent.etl.frozen`, which `split` honours).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam3.errors import BadInput
from sam3.files import file_sha256, read_json


def check_apart(measured: Path, pictures: Path, train: Path, images: Path) -> None:
    """Refuse an SA-Co file that shares a picture with a training file, under whatever name.

    Args:
        pictures: the folder that file names in `measured` are relative to. images: that of `train`.

    Raises:
        BadInput: they share one; names it.
    """
    held = names_of(measured)
    contents = {_sha256(pictures / name): name for name in sorted(held)}
    for name in sorted(names_of(train)):
        same = name if name in held and pictures == images else contents.get(_sha256(images / name))
        if same is not None:
            raise BadInput(
                f"{train}: {name} is {same} of {measured}, which must never be trained on. Split anew, or take it out "
                "of the raw folder.",
                field="train",
            )


def names_of(path: Path) -> set[str]:
    """The pictures of an SA-Co file."""
    rows: Iterable[dict[str, object]] = read_json(path)["images"]
    return {str(row["file_name"]) for row in rows}


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).") from error
