"""The pack of cut-outs and backgrounds in `data/pack/`, as objects.

Everything that composes scenes starts here: `Pack.load()` reads the two tables, pictures are decoded when
they are first asked for and kept. Made by `sam3-agent build-pack`; `data/pack/ATTRIBUTION.csv` says where
each picture comes from.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from sam3.errors import BadInput
from sam3.types import UInt8Array

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "data" / "pack"
T = TypeVar("T")
MAKE_IT = "It is part of the repository; `sam3-agent build-pack` remakes it."


@dataclass(frozen=True, eq=False)
class Cutout:
    """One object on a transparent ground. Equal only to itself; `file` names it.

    Attributes:
        file: path inside the pack; unique.
        concept: what it is, as short as people say it ("hen").
        kind: coarse category, for negatives within a kind ("bird").
        synonyms: every phrase that is true of it, narrow to broad ("hen", "chicken", "bird", "animal").
        colour: "red", "white", ... or "" when no colour prevails.
        holdout: "" | "style" | "barnyard": why pretraining must not see it.
    """

    folder: Path
    file: str
    style: str
    concept: str
    kind: str
    synonyms: tuple[str, ...]
    colour: str
    is_photo: bool
    usable: bool
    holdout: str

    @cached_property
    def rgba(self) -> UInt8Array:
        """(h, w, 4) uint8 RGBA, straight alpha. Read-only, decoded once."""
        return _decode(self.folder / self.file, cv2.IMREAD_UNCHANGED, cv2.COLOR_BGRA2RGBA)

    @cached_property
    def premultiplied(self) -> UInt8Array:
        """(h, w, 4) uint8, colour times alpha: what a compositor warps, free of halos. Read-only."""
        alpha = self.rgba[..., 3:].astype(np.uint16)
        colour = (self.rgba[..., :3] * alpha + 127) // 255
        out = np.dstack([colour, alpha]).astype(np.uint8)
        out.flags.writeable = False
        return out


@dataclass(frozen=True, eq=False)
class Background:
    """A photograph to stand objects on. Crops of one photograph share `source`.

    Attributes:
        shows: phrases it would be wrong to call absent in this picture.
    """

    folder: Path
    file: str
    source: str
    shows: tuple[str, ...]

    @cached_property
    def rgb(self) -> UInt8Array:
        """(h, w, 3) uint8 RGB. Read-only, decoded once."""
        return _decode(self.folder / self.file, cv2.IMREAD_COLOR, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True, eq=False)
class Pack:
    """All cut-outs and backgrounds, in the order of the tables."""

    cutouts: tuple[Cutout, ...] = field(default_factory=tuple)
    backgrounds: tuple[Background, ...] = field(default_factory=tuple)

    @classmethod
    def load(cls, folder: Path | str | None = None) -> Pack:
        """Read the tables of a pack folder (the repository's own when None); no picture is decoded yet.

        Raises:
            BadInput: the folder or a table is missing, or a table lacks a column.
        """
        root = Path(folder) if folder is not None else DEFAULT_FOLDER
        if not root.is_dir():
            raise BadInput(f"{root}: no such folder; the pack of cut-outs was expected there. {MAKE_IT}")
        cutouts = _read(root, "cutouts.csv", _cutout)
        return cls(tuple(c for c in cutouts if c.usable), tuple(_read(root, "backgrounds.csv", _background)))

    def select(
        self,
        *,
        phrase: str | None = None,
        kind: str | None = None,
        styles: Iterable[str] | None = None,
        photos: bool | None = None,
        holdout: Iterable[str] | None = None,
    ) -> tuple[Cutout, ...]:
        """Cut-outs that meet every condition given.

        Args:
            phrase: the cut-out's synonyms contain it ("chicken" finds hens and roosters).
            kind: the cut-out's kind is this.
            styles: the style is one of these.
            photos: True for photographs only, False for drawings only.
            holdout: the holdout mark is one of these; [""] gives what pretraining may see.
        """
        among = None if styles is None else set(styles)
        marks = None if holdout is None else set(holdout)
        return tuple(
            c
            for c in self.cutouts
            if (phrase is None or phrase in c.synonyms)
            and (kind is None or c.kind == kind)
            and (among is None or c.style in among)
            and (photos is None or c.is_photo == photos)
            and (marks is None or c.holdout in marks)
        )

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Every concept that has a cut-out, sorted."""
        return tuple(sorted({c.concept for c in self.cutouts}))


def _cutout(root: Path, row: dict[str, str]) -> Cutout:
    return Cutout(
        folder=root,
        file=row["file"],
        style=row["style"],
        concept=row["concept"],
        kind=row["kind"],
        synonyms=tuple(row["synonyms"].split(";")),
        colour=row["colour"],
        is_photo=row["is_photo"] == "1",
        usable=row["usable"] == "1",
        holdout=row["holdout"],
    )


def _background(root: Path, row: dict[str, str]) -> Background:
    return Background(root, row["file"], row["source"], tuple(filter(None, row["shows"].split(";"))))


def _read(root: Path, name: str, make: Callable[[Path, dict[str, str]], T]) -> list[T]:
    path = root / name
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [make(root, row) for row in csv.DictReader(stream)]
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}). {MAKE_IT}") from error
    except KeyError as error:
        raise BadInput(f"{path}: column {error} is missing. {MAKE_IT}", field=str(error.args[0])) from error


def _decode(path: Path, flag: int, order: int) -> UInt8Array:
    pixels = cv2.imread(str(path), flag)
    if pixels is None:
        raise BadInput(f"{path}: missing or not a picture, but the pack lists it. {MAKE_IT}")
    out = np.asarray(cv2.cvtColor(pixels, order), np.uint8)
    out.flags.writeable = False
    return out
