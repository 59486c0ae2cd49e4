"""Which pictures were handed out, in which batch: the memory that keeps a picture from being handed out twice.

One SQLite file beside the batches. A batch is written here, whole, in one transaction, before its folder is made; a
folder that is missing or unfinished after a kill is made again from these rows. Keyed by the SHA-256 of the bytes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sam3.errors import Unavailable

FILE = ".ledger.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS batch (name TEXT PRIMARY KEY, at REAL NOT NULL, facts TEXT NOT NULL, done INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS handed (
  sha256 TEXT PRIMARY KEY, dhash TEXT, batch TEXT NOT NULL REFERENCES batch(name), row TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS handed_batch ON handed (batch);
"""


class Ledger:
    """The ledger of one folder of batches.

    Raises:
        Unavailable: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / FILE, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # what was promised survives a power cut, too
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{folder / FILE}: cannot be used ({error}). Free or unlock the folder.") from error

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone with the ledger: what is read and written inside is one transaction, and others wait."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the ledger is in use by another miner ({error}). Try again when it is done.") from error
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def has(self, sha256: str) -> bool:
        """Whether a picture was handed out."""
        return self._db.execute("SELECT 1 FROM handed WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def hashes(self) -> Iterator[int]:
        """Difference hashes of everything that was handed out."""
        for (text,) in self._db.execute("SELECT dhash FROM handed WHERE dhash IS NOT NULL"):
            yield int(text, 16)

    def add(self, name: str, facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        """Promise a batch; call it in a `turn`."""
        self._db.execute("INSERT INTO batch VALUES (?, ?, ?, 0)", (name, time.time(), json.dumps(facts)))
        for row in rows:
            dhash = None if row["dhash"] is None else f"{row['dhash']:016x}"
            text = json.dumps(row, ensure_ascii=False)
            self._db.execute("INSERT INTO handed VALUES (?, ?, ?, ?)", (row["sha256"], dhash, name, text))

    def facts(self, name: str) -> dict[str, Any] | None:
        """What a batch was promised with, `done` added; None when there is no such batch."""
        row = self._db.execute("SELECT facts, done FROM batch WHERE name = ?", (name,)).fetchone()
        return None if row is None else {**json.loads(row[0]), "done": bool(row[1])}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The pictures of a batch, in the order in which they were chosen."""
        found = self._db.execute("SELECT row FROM handed WHERE batch = ? ORDER BY rowid", (name,))
        return [json.loads(text) for (text,) in found]

    def finished(self, name: str) -> None:
        """Its folder is whole."""
        self._db.execute("UPDATE batch SET done = 1 WHERE name = ?", (name,))

    def unfinished(self) -> list[str]:
        """Promised batches whose folder is not known to be whole, oldest first."""
        return [name for (name,) in self._db.execute("SELECT name FROM batch WHERE done = 0 ORDER BY at, name")]

    def names(self) -> list[str]:
        """All batches, oldest first."""
        return [name for (name,) in self._db.execute("SELECT name FROM batch ORDER BY at, name")]

    def close(self) -> None:
        """End the connection."""
        self._db.close()
