"""Tensors on disk by key: safetensors shards, each with a checksum, each whole or not there.

A store is a folder of `shard-*.safetensors` with an index `shard-*.json` beside each (keys, bytes, SHA-256). The
index is written last, so a shard without one is what a killed process left (`sam3.train.cache_turn` removes it).
Nothing is changed once written; several processes may write shards of different names at the same time.

    store = FeatureStore(folder)
    store.write("r0-00000", {"key": [pack(tensor, "bf16"), ...]})
    store.read("key")
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam3.errors import BadInput
from sam3.files import file_sha256, read_json, write_json

STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
FP8_MOST = 448.0  # largest finite number of e4m3
TELL = 600.0  # seconds between signs of use


@dataclass(frozen=True)
class Packed:
    """A tensor in its stored type, and for FP8 the float32 scales it is multiplied by."""

    values: Tensor
    scale: Tensor | None = None


class FeatureStore:
    """Lists of tensors by key.

    Args:
        folder: made if need be.
        verify: hold every shard against its checksum; a damaged one is removed, and its keys are no longer there.
    """

    def __init__(self, folder: Path, *, verify: bool = True) -> None:
        self.folder = folder
        self.nbytes = 0
        self.dropped: list[str] = []
        self._told = time.monotonic()
        self._shard_of: dict[str, tuple[str, int]] = {}
        self._known: set[str] = set()
        self._open: dict[tuple[int, str], Any] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be made ({error.strerror}). Set cache.root to another place.") from error
        for index in sorted(folder.glob("shard-*.json")):
            self._admit(index, verify)

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of

    def __len__(self) -> int:
        return len(self._shard_of)

    def read(self, key: str) -> list[Tensor]:
        """The tensors of a key, mapped from the file: copy before changing them. FP8 comes back as bfloat16.

        Raises:
            BadInput: the shard has gone, or was cut short, since the store was opened.
        """
        from safetensors import SafetensorError

        name, count = self._shard_of[key]
        try:
            if time.monotonic() - self._told > TELL:
                self._told = time.monotonic()
                os.utime(self.folder)  # others see that it is in use
            shard = self._opened(name)
            return [self._decoded(shard, f"{key}.{at}") for at in range(count)]
        except (OSError, SafetensorError) as error:
            raise BadInput(
                f"{self.folder}/{name}: gone or damaged while it was in use ({error}). Run the training again: it is "
                "made anew."
            ) from error

    def write(self, name: str, content: Mapping[str, Sequence[Packed]]) -> None:
        """Add a shard; `name` must be new. CPU tensors as `pack` leaves them."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path = self._path(name)
        named = [(f"{key}.{at}", packed) for key, rows in content.items() for at, packed in enumerate(rows)]
        flat = {name: packed.values for name, packed in named}
        flat |= {f"{name}.scale": packed.scale for name, packed in named if packed.scale is not None}
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(flat, temporary)
            temporary.chmod(0o644)
            digest, size = file_sha256(temporary), temporary.stat().st_size
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:  # a full disk is the latter
            reason = getattr(error, "strerror", None) or error
            raise BadInput(f"{path}: cannot be written ({reason}). Free the disk or lower cache.budget_gb.") from error
        finally:
            temporary.unlink(missing_ok=True)
        counts = {key: len(rows) for key, rows in content.items()}
        write_json(path.with_suffix(".json"), {"sha256": digest, "bytes": size, "keys": counts}, indent=None)
        self._know(path.stem, counts, size)

    def refresh(self) -> None:
        """Take in the shards that other processes have written since."""
        for index in sorted(self.folder.glob("shard-*.json")):
            if index.stem not in self._known:
                self._admit(index, verify=False)

    def _admit(self, index: Path, verify: bool) -> None:
        path = index.with_suffix(".safetensors")
        try:
            row = read_json(index)
            whole = path.is_file() and path.stat().st_size == row["bytes"]
            if whole and verify:
                whole = file_sha256(path) == row["sha256"]
            counts = {str(key): int(count) for key, count in row["keys"].items()}
        except (BadInput, KeyError, TypeError, ValueError, AttributeError):
            whole, counts = False, {}
        if not whole:
            self.dropped.append(path.name)
            index.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            return
        self._know(path.stem, counts, int(row["bytes"]))

    def _know(self, stem: str, counts: Mapping[str, int], size: int) -> None:
        self.nbytes += size
        self._known.add(stem)
        self._shard_of.update({key: (stem, count) for key, count in counts.items()})

    def _path(self, name: str) -> Path:
        return self.folder / f"shard-{name}.safetensors"

    def _opened(self, stem: str) -> Any:
        from safetensors import safe_open

        at = (os.getpid(), stem)  # a mapping is not carried over a fork
        if at not in self._open:
            self._open[at] = safe_open(self.folder / f"{stem}.safetensors", framework="pt")
        return self._open[at]

    def _decoded(self, shard: Any, name: str) -> Tensor:
        tensor = shard.get_tensor(name)
        if tensor.dtype != STORED["fp8"]:
            return tensor
        return tensor.to(torch.bfloat16) * shard.get_tensor(f"{name}.scale").to(torch.bfloat16)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # open files stay with their process


def pack(tensor: Tensor, kind: str, channel: int = 0) -> Packed:
    """A float tensor as it is stored.

    Args:
        kind: a key of `STORED`. channel: the axis that has a scale of its own in FP8 (features differ in size
            between channels by orders of magnitude).
    """
    values = tensor.detach().cpu().contiguous()
    if kind != "fp8":
        return Packed(values.to(STORED[kind]))
    values = values.float()
    axes = [axis for axis in range(values.ndim) if axis != channel]
    scale = values.abs().amax(axes, keepdim=True).clamp(min=1e-12) / FP8_MOST
    return Packed((values / scale).to(STORED["fp8"]), scale)
