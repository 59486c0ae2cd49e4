"""The disk a folder is on: where it is, and how fast it writes and reads in sequence.

Used by `check-hardware` (speed) and `doctor` (where to look for free space).
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import BadInput

GB = 10**9
CHUNK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Sequential speed in MB/s (10^6 bytes); `read` may come from memory if the cache stays."""

    write: float
    read: float


def nearest_folder(path: Path) -> Path:
    """`path` if it is a folder, else the first folder above it that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def measure_speed(folder: Path, size_mb: int = 64) -> DiskSpeed:
    """Write `size_mb` MB to a temporary file in `folder`, flush, drop the cache and read it back.

    Raises:
        BadInput: `folder` cannot be written or has no room.
    """
    block = os.urandom(CHUNK)  # not zeros: some file systems compress
    chunks = max(1, size_mb * 10**6 // CHUNK)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".disk-speed-", buffering=0) as file:
            start = time.perf_counter()
            for _ in range(chunks):
                file.write(block)
            os.fsync(file.fileno())
            written = time.perf_counter()
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            reading = time.perf_counter()
            while file.read(CHUNK):
                pass
            read = time.perf_counter()
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}). Free or unlock it.") from error
    megabytes = chunks * CHUNK / 10**6
    return DiskSpeed(megabytes / (written - start), megabytes / (read - reading))
