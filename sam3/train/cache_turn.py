"""Whose turn it is to write into a feature cache: runs that share one (a sweep, say) fill it one after the other.

A lock for each rank, so that the processes of one run fill it side by side and those of the next wait for them, find
everything there, and encode nothing twice. Under the lock, what a killed process had begun is removed.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam3.files import disk_named
from sam3.locks import taken

LEFT = re.compile(r"\.?shard-r(?P<rank>\d+)-.*")


@contextmanager
def turn(folder: Path, rank: int) -> Iterator[None]:
    """Alone in writing shards of this rank; waits for another run, and says so.

    Raises:
        BadInput: the folder cannot be written.
    """
    with disk_named(folder):
        guard = _guard(folder, rank).open("w")
    with guard:
        try:
            held = taken(guard)
            if not held:
                print(f"{folder}: another run is filling it; waiting for that", flush=True)
                fcntl.lockf(guard, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: names are unique, so the worst is work done twice
            yield
            return
        clear_leftovers(folder, rank)
        yield


def clear_leftovers(folder: Path, rank: int) -> None:
    """Remove what killed processes had begun to write, of this rank and of others that nobody has now.

    Call it in this rank's `turn`.
    """
    begun: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        named = LEFT.fullmatch(path.name)
        if named and not _whole(path):
            begun.setdefault(int(named["rank"]), []).append(path)
    _remove(begun.pop(rank, []))
    for other, paths in begun.items():
        with _guard(folder, other).open("w") as guard:
            try:
                if taken(guard):
                    _remove(paths)
            except OSError:
                continue


def _whole(path: Path) -> bool:
    """A shard with its index, or the index itself."""
    return not path.name.startswith(".") and path.with_suffix(".json").is_file()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if not _whole(path):  # it may have been finished since it was looked at
            path.unlink(missing_ok=True)


def _guard(folder: Path, rank: int) -> Path:
    return folder / f".fill-{rank}"
