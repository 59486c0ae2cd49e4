"""Folders that are there whole or not at all: checkpoints, exported graphs, engines.

`fresh_folder` gives a folder beside the target to be filled, which takes the target's place at the end. A process that
is killed leaves the old folder or the new one; what it had begun is removed by the next that writes there.

    with fresh_folder("models/export") as fresh:
        (fresh / "decoder.onnx").write_bytes(graph)
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sam3.errors import BadInput
from sam3.files import disk_trouble
from sam3.locks import is_free

YOUNG = 5.0  # seconds; what is this new may be one whose maker has not locked it yet
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


@contextmanager
def fresh_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when the block ends without an error.

    Raises:
        BadInput: the disk is full, read-only or not ours to write.
    """
    target, guard = Path(path), None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise disk_trouble(error, target) or BadInput(f"{target}: cannot be written ({error.strerror}).") from error
    try:
        guard = os.open(fresh, os.O_RDONLY)
        is_free(guard)
        yield fresh
        fresh.chmod(0o755)
        swap_folder(fresh, target)
    except Exception as error:
        said = disk_trouble(error, target)
        if said is None:
            raise
        raise said from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if guard is not None:
            os.close(guard)


def clear_leftovers(target: Path) -> None:
    """Remove what killed processes had begun to write beside `target`; what a living one writes is locked."""
    for path in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):
            if not path.is_dir() or path.is_symlink() or time.time() - path.stat().st_mtime < YOUNG:
                continue
            guard = os.open(path, os.O_RDONLY)
            try:
                if is_free(guard):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(guard)


def swap_folder(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`, which is gone only when the new one stands."""
    if target.is_dir() and not target.is_symlink() and _exchanged(fresh, target):
        shutil.rmtree(fresh, ignore_errors=True)
        return
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
