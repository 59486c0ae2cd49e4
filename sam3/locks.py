"""Advisory locks of open files and folders: they end with the process that holds them, however it ends.

with path.open("a") as stream:
    sole_writer(stream, path, "batch")
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any

from sam3.errors import BadInput


def is_free(guard: int | IO[Any]) -> bool:
    """Lock an open file or folder; False where somebody has it. The lock ends with the process, or when it is closed."""
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has it, or this file system has no locks: it is left alone
        return False
    return True


def taken(guard: IO[Any]) -> bool:
    """Take a file for this process, not for its children, until it is closed; False where another process has it.

    Raises:
        OSError: this file system has no locks.
    """
    try:
        fcntl.lockf(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of POSIX: a child that inherits the file does not hold it
    except (BlockingIOError, PermissionError):
        return False
    return True


def sole_writer(stream: IO[str], path: Path, what: str) -> None:
    """Be the only one who writes a file: two runs in one would write between each other's lines.

    Args:
        what: of what the file is the output, for the message.

    Raises:
        BadInput: another process writes it.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = f"{path}: another {what} is writing it. Wait for it, or give another --out."
        raise BadInput(said, field="out") from None
    except OSError:  # a file system without locks
        pass
