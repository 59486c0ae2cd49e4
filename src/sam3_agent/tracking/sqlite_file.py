"""The SQLite file that runs go to: made whole or not at all, and opened before MLflow tries for a minute.

MLflow makes its tables in forty steps of which each is kept: a process that is killed among them leaves a file that
no later one can use. Here a new file is made beside its place and put there when it is done. Called by `Store`.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sam3.folders import YOUNG
from sam3.locks import is_free


def prepare(uri: str) -> None:
    """Make the file of a store if there is none; do nothing for stores that are no SQLite files.

    Raises:
        OSError: the folder cannot be written. sqlite3.Error: the file cannot be opened, or is no database.
        SQLAlchemyError: the disk is full.
    """
    path = sqlite_path(uri)
    if path is None:
        return
    if path.exists() and path.stat().st_size:  # SQLite itself makes an empty file on the first look
        with closing(sqlite3.connect(path, timeout=30)) as database:
            database.execute("PRAGMA schema_version").fetchone()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        is_free(handle)  # and ours from now on
        _make_tables(fresh)
        fresh.chmod(0o644)
        if path.exists() and not path.stat().st_size:
            path.unlink()
        try:
            os.link(fresh, path)  # unlike a rename it never replaces what another process has made meanwhile
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(fresh, path)
    finally:
        _remove(fresh)
        os.close(handle)


def sqlite_path(uri: str) -> Path | None:
    """The file behind a store's address; None where there is none."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:  # a folder, or an address that MLflow knows better
        return None
    file = url.database or ":memory:"
    return Path(file) if url.get_backend_name() == "sqlite" and not file.startswith((":", "file:")) else None


def _clear_leftovers(path: Path) -> None:
    """Remove what killed processes had begun; what a living one makes is locked."""
    for old in path.parent.glob(f".{path.name}.*"):
        if old.name.endswith("-journal") or time.time() - old.stat().st_mtime < YOUNG:
            continue
        handle = os.open(old, os.O_RDONLY)
        try:
            if is_free(handle):
                _remove(old)
        finally:
            os.close(handle)


def _remove(file: Path) -> None:
    for rest in (file, Path(f"{file}-journal")):
        rest.unlink(missing_ok=True)


def _make_tables(file: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{file}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
