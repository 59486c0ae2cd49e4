"""Writing files so that a reader never sees half of one.

Every result of the pipeline goes through `atomic_write` (or `write_json`): the bytes are written beside the
target and moved over it, so a process killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sam3.errors import BadInput, Sam3AgentError

# what is behind a failed write when the disk is: full, locked, broken, or something else in the place
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_TAKEN = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_DISK = frozenset(_FULL | _LOCKED | _TAKEN)
# the same from libraries that have errors of their own (safetensors, SQLite)
_SAID = ("No space left on device", "database or disk is full", "Read-only file system", "readonly database")


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; move it over `path` when the block ends without an error.

    Args:
        path: the target; its folder is made if need be.
        mode: "w" (UTF-8 text) or "wb".

    Raises:
        BadInput: the folder cannot be made or written (read-only, full, no permission).
    """
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; results are for everybody on the machine
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise BadInput(
            f"{target}: cannot be written ({error.strerror or error}). Free or unlock the folder."
        ) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as UTF-8 JSON, atomically. NaN and infinity are refused: they are not JSON."""
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=indent, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a UTF-8 JSON file.

    Raises:
        BadInput: the file is missing, unreadable or not JSON; the message names the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}, line {error.lineno}: not valid JSON ({error.msg}). Write it again.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text (byte {error.start}). Is it a JSON file?") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).{made_by(path)}") from error


def made_by(path: str | os.PathLike[str]) -> str:
    """A sentence about where a missing file comes from; empty for one that is there or that no stage makes."""
    parts = Path(path).parts
    made = len(parts) > 1 and parts[0] in ("data", "models", "reports") and not Path(path).exists()
    return " The pipeline makes it: make demo, or dvc repro." if made else ""


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as hex.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def disk_trouble(error: BaseException, where: str | os.PathLike[str] | None = None) -> BadInput | None:
    """What people are told when a disk is behind `error`; None when it is not.

    Args:
        where: what was being written; the file that the error names when None.
    """
    if isinstance(error, OSError) and error.errno in _DISK:
        said = error.strerror
        named = error.filename2 or error.filename  # of a copy, the second is the one that is written
    elif not isinstance(error, Sam3AgentError) and any(words in str(error) for words in _SAID):
        said, named = str(error).strip().splitlines()[0][:200], None
    else:
        return None
    what = f"{where}: cannot be written" if where else f"{named or 'the disk'}: cannot be used"
    return BadInput(f"{what} ({said}). Free or unlock it and give the same command again.")


@contextmanager
def disk_named(where: str | os.PathLike[str]) -> Iterator[None]:
    """A disk that is full or locked inside the block is one line about `where`.

    Raises:
        BadInput: it is.
    """
    try:
        yield
    except Exception as error:
        said = disk_trouble(error, where)
        if said is None:
            raise
        raise said from error
