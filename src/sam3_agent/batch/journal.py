"""What a batch has done so far: one line of JSON a picture, written when its answer is there. So a killed one goes on.

The first line says what was asked of whom; answers to another question are never mixed in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from sam3.errors import BadInput
from sam3.files import disk_named
from sam3.locks import sole_writer


@dataclass(frozen=True)
class Asked:
    """What a batch is about."""

    query: str
    threshold: float
    model: str


@dataclass(frozen=True)
class Line:
    """One picture's answer, or why there is none.

    Attributes:
        file: as given. stamp: its size and time, so that a changed picture is asked about again.
        annotations: COCO rows. problem: one line; empty where the picture was answered.
    """

    file: str
    stamp: str
    height: int = 0
    width: int = 0
    status: str = ""
    text: str = ""
    answer: bool | int | float | str | None = None
    uncertain: bool = False
    annotations: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


class Journal:
    """The lines of a batch.

    Args:
        path: of the file; made when first written.
        asked: what this run asks.

    Raises:
        BadInput: the file holds answers to something else.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path, self.asked = path, asked
        self.lines: dict[str, Line] = {}
        self._good = 0  # bytes that are whole lines
        if path.exists():
            with disk_named(path):
                self._read()

    def done(self, file: str, stamp: str) -> bool:
        """Whether this picture, unchanged, was answered."""
        line = self.lines.get(file)
        return line is not None and line.stamp == stamp and not line.problem

    @contextmanager
    def writing(self) -> Iterator[IO[str]]:
        """The open file, for `add`; what a killed run left half-written is cut off.

        Raises:
            BadInput: another batch is writing it, it holds answers to something else, or the disk is full or locked.
        """
        with disk_named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                sole_writer(stream, self.path, "batch")
                self._good = 0
                self._read()  # another batch may have ended since
                os.truncate(self.path, self._good)
                if not self._good:
                    _put(stream, asdict(self.asked))
                yield stream

    def add(self, stream: IO[str], line: Line) -> None:
        """One more picture."""
        self.lines[line.file] = line
        _put(stream, asdict(line))

    def _read(self) -> None:
        with self.path.open("rb") as stream:
            for number, data in enumerate(stream, start=1):
                if not data.endswith(b"\n"):
                    return  # the end of a killed run
                self._good += len(data)
                try:
                    row = json.loads(data)
                except ValueError:
                    row = None  # damaged: its picture is asked about again
                if number == 1 and row != asdict(self.asked):
                    other = repr(row["query"]) if isinstance(row, dict) and "query" in row else "something else"
                    raise BadInput(f"{self.path}: holds answers to {other}, or of other weights. Give another --out.")
                if number > 1 and row is not None:
                    line = self._line(row, number)
                    self.lines[line.file] = line

    def _line(self, row: Any, number: int) -> Line:
        try:
            line = Line(**row)
        except TypeError as error:
            said = f"{self.path}, line {number}: not written by this version. Remove the file, or give another --out."
            raise BadInput(said) from error
        return line


def _put(stream: IO[str], row: dict[str, Any]) -> None:
    stream.write(json.dumps(row) + "\n")  # ASCII: a name need not be UTF-8
    stream.flush()
