"""The curated tables behind the pack: what is taken from which package, and what it is called.

Five CSV files stand beside this module and are the only place where names live: `packages.csv` (licence and
author), `vocabulary.csv` (concept, kind, hypernyms, emoji names), `exclude.csv` (emoji that show something
else), `pictures.csv` (photographs and clip art) and `backgrounds.csv`.
Edit those and run `sam3-agent build-pack`; no code changes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Package:
    """One package the pack is made from."""

    name: str
    channel: str  # "deb", "npm" or "pip"
    licence: str  # SPDX expression, or words where SPDX has none
    licence_file: str  # its text under licences/
    author: str


@dataclass(frozen=True, slots=True)
class Concept:
    """A nameable object: its own name first in `synonyms`, the broadest word last."""

    name: str
    kind: str
    synonyms: tuple[str, ...]
    emoji: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A photograph or drawing with alpha inside a package."""

    package: str
    path: str
    concept: str
    style: str


@dataclass(frozen=True, slots=True)
class BackgroundSource:
    """A photograph inside a package; `shows` lists the phrases it would be wrong to call absent."""

    package: str
    path: str
    shows: tuple[str, ...]
    crops: int


def packages() -> dict[str, Package]:
    """Every package, by name."""
    return {row["package"]: Package(*row.values()) for row in _rows("packages.csv")}


def vocabulary() -> dict[str, Concept]:
    """Every concept, by name."""
    return {
        row["concept"]: Concept(row["concept"], row["kind"], _split(row["synonyms"]), _split(row["emoji"]))
        for row in _rows("vocabulary.csv")
    }


def excluded(package: str) -> set[str]:
    """Emoji of a package that go by a known name but show something else."""
    return {row["name"] for row in _rows("exclude.csv") if row["package"] == package}


def pictures() -> list[PictureSource]:
    """Photographs and clip art, in the order of the table."""
    return [PictureSource(*row.values()) for row in _rows("pictures.csv")]


def backgrounds() -> list[BackgroundSource]:
    """Background photographs, in the order of the table."""
    return [
        BackgroundSource(row["package"], row["path"], _split(row["shows"]), int(row["crops"]))
        for row in _rows("backgrounds.csv")
    ]


def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(";") if part)
