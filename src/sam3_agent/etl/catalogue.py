"""Which pictures and label files there are, and which label belongs to which picture.

Walks the raw folder once into a private SQLite table that spills to disk, so memory stays flat however
many files there are, and sorting, matching and finding doubles are queries. A label belongs to the picture
with its stem: `labels/a.txt` to `images/**/a.jpg`, `labels/x/a.txt` to `images/x/a.jpg`. Names are compared
in Unicode NFC, so a file named on a Mac meets its label named on Linux.
"""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sam3.errors import BadInput
from sam3.images import PICTURE_SUFFIXES
from sam3_agent.etl.records import Action, LabelProblem

LABEL_SUFFIXES = (".txt", ".json")
_TABLES = """
CREATE TABLE picture (path TEXT, nfc TEXT, folder TEXT, stem TEXT);
CREATE TABLE label (path TEXT, folder TEXT, stem TEXT, suffix TEXT);
"""
_INDEXES = """
CREATE INDEX picture_stem ON picture (stem, folder);
CREATE INDEX picture_order ON picture (nfc, path);
CREATE INDEX label_stem ON label (stem, folder);
"""
_PICTURES = """
SELECT path, folder, stem,
  (SELECT group_concat(path, char(0)) FROM label
     WHERE label.stem = picture.stem AND label.folder IN ('', picture.folder)),
  (SELECT group_concat(path, char(0)) FROM picture AS other
     WHERE other.stem = picture.stem AND other.path != picture.path
     AND (other.folder = picture.folder OR EXISTS
       (SELECT 1 FROM label WHERE label.stem = picture.stem AND label.folder = '')))
FROM picture ORDER BY nfc, path
"""
_ORPHANS = """
SELECT path FROM label WHERE NOT EXISTS
  (SELECT 1 FROM picture WHERE picture.stem = label.stem AND label.folder IN ('', picture.folder))
ORDER BY path
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture and what its name leads to.

    Attributes:
        path: relative to the images folder, as spelt on disk.
        folder: its first folder ("" when it lies at the top), NFC.
        stem: file name without suffix, NFC.
        labels: label files with its stem, relative to the labels folder.
        rivals: other pictures the same label file would fit.
    """

    path: str
    folder: str
    stem: str
    labels: tuple[str, ...]
    rivals: tuple[str, ...]


class Catalogue:
    """The files of one raw folder. Not for keeping: the table vanishes with the object.

    Args:
        raw: the raw folder, with `images/` and (unless nothing is labelled) `labels/` in it.

    Raises:
        BadInput: there is no `images` folder.
    """

    def __init__(self, raw: Path) -> None:
        self.problems: list[LabelProblem] = []
        self._base = raw
        if not (raw / "images").is_dir():
            raise BadInput(
                f"{raw}: has no folder images/. Expected {raw}/images/<concept>/*.jpg and {raw}/labels/*.txt "
                "or *.json; point data.raw in params.yaml at such a folder.",
                field="data.raw",
            )
        self._db = sqlite3.connect("")  # "" is a private database on disk, not in memory
        self._db.executescript(_TABLES)
        self._db.executemany("INSERT INTO picture VALUES (?,?,?,?)", self._picture_rows())
        self._db.executemany("INSERT INTO label VALUES (?,?,?,?)", self._label_rows())
        self._db.executescript(_INDEXES)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM picture").fetchone()[0])

    def pictures(self) -> Iterator[Entry]:
        """Every picture, in the order of NFC-normalised paths."""
        for path, folder, stem, labels, rivals in self._db.execute(_PICTURES):
            yield Entry(path, folder.split("/")[0], stem, _split(labels), _split(rivals))

    def orphans(self) -> Iterator[str]:
        """Label files that fit no picture, relative to the labels folder."""
        for (path,) in self._db.execute(_ORPHANS):
            yield path

    def count_labels(self, suffix: str) -> int:
        """How many label files end in `suffix` (".txt", ".json")."""
        return int(self._db.execute("SELECT count(*) FROM label WHERE suffix = ?", (suffix,)).fetchone()[0])

    def _picture_rows(self) -> Iterator[tuple[str, str, str, str]]:
        for path in self._walk(self._base / "images", PICTURE_SUFFIXES):
            nfc = unicodedata.normalize("NFC", path)
            name = PurePosixPath(nfc)
            yield path, nfc, nfc.rpartition("/")[0], name.stem

    def _label_rows(self) -> Iterator[tuple[str, str, str, str]]:
        labels = self._base / "labels"
        for path in self._walk(labels, LABEL_SUFFIXES) if labels.is_dir() else ():
            name = PurePosixPath(unicodedata.normalize("NFC", path))
            if str(name) != "classes.txt":
                yield (
                    path,
                    "" if str(name.parent) == "." else str(name.parent),
                    name.stem,
                    name.suffix.lower(),
                )

    def _walk(self, root: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
        """Files under `root` with one of `suffixes`, as relative paths; everything odd becomes a problem."""
        base = len(str(root)) + 1
        # images/ or labels/ may themselves be links to another disk: that is the owner's word
        homes = (self._base.resolve(), root.resolve())
        folders = [str(root)]
        while folders:
            for entry in _entries(folders.pop()):
                refusal = _refusal(entry, homes, suffixes)
                if refusal:
                    shown = entry.path[base:].encode("utf-8", "backslashreplace").decode()
                    self.problems.append(LabelProblem(f"{root.name}/{shown}", 0, *refusal))
                elif entry.is_dir():
                    folders.append(entry.path)
                else:
                    yield entry.path[base:]


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, hidden files left out."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed ({error.strerror}). Check its permissions.") from error


def _refusal(
    entry: os.DirEntry[str], homes: tuple[Path, ...], suffixes: tuple[str, ...]
) -> tuple[str, Action, str] | None:
    """(rule, action, detail) when the entry is not to be read."""
    if entry.is_symlink():
        target = Path(entry.path).resolve()
        if not any(target.is_relative_to(home) for home in homes):
            return (
                "outside-folder",
                "dropped",
                "a link out of the raw folder is not followed; copy the file in",
            )
        if target.is_dir():
            return (
                "linked-folder",
                "dropped",
                "a link to a folder is not followed; its files count where they lie",
            )
    if not _encodable(entry.name):
        return "undecodable-name", "dropped", "the file name is not UTF-8; rename it"
    if entry.is_dir():
        return None
    if Path(entry.name).suffix.lower() not in suffixes:
        return "unknown-suffix", "noted", f"not read; expected one of {' '.join(sorted(suffixes))}"
    if not entry.is_file():  # a pipe would block the reader for ever
        return "not-a-file", "dropped", "not a regular file, or a link to nothing"
    return None


def _encodable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _split(joined: str | None) -> tuple[str, ...]:
    return tuple(sorted(joined.split("\0"))) if joined else ()
