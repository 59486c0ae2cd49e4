"""Checkpoints of a run on disk: whole or not at all, and read back in one line when they are broken.

Lightning writes to the temporary folder and moves: across file systems that is a copy, and a kill or a full disk in the
middle of it costs the only checkpoint there is. Here the bytes are written beside the target and renamed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from sam3.errors import BadCheckpoint, Unavailable
from sam3.files import atomic_write, disk_named
from sam3.locks import taken

LOCK = ".lock"


class WholeCheckpoints(TorchCheckpointIO):
    """What Lightning writes checkpoints with."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the state of a run.

        Raises:
            BadInput: the disk is full or locked; an earlier checkpoint of this name is as it was.
        """
        held = io.BytesIO()  # torch's own writer aborts the process when a file cannot take what it gives
        torch.save(checkpoint, held)
        with atomic_write(path, "wb") as stream:
            stream.write(held.getbuffer())


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Nobody else trains in this folder: a run whose parent was killed may still be at it.

    Raises:
        Unavailable: somebody does. BadInput: the folder cannot be written.
    """
    with disk_named(work):
        work.mkdir(parents=True, exist_ok=True)
        guard = (work / LOCK).open("w")
    with guard:
        with suppress(OSError):  # a file system without locks
            if not taken(guard):
                raise Unavailable(
                    f"{work}: another run is training there. Wait for it, end it, or give another train.work."
                )
        yield


def clear_leftovers(work: Path) -> None:
    """Remove what a killed run had begun to write."""
    for path in work.glob(".*.ckpt.*"):
        path.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint of a run, on the CPU.

    Raises:
        BadCheckpoint: it cannot be read.
    """
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # damaged files raise whatever their reader raises
        raise BadCheckpoint(f"{path}: cut short or damaged. Remove it, or start over with --fresh.") from error
