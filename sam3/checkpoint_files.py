"""Is a checkpoint folder whole? Judged from names, sizes and headers, without reading the weights.

Cheap enough for `doctor` to ask every time and for `download` to ask before and after a copy.
"""

from __future__ import annotations

import json
from pathlib import Path


def weights_problem(folder: Path) -> str:
    """What is wrong with a checkpoint folder: a missing file, a cut one; "" when nothing is."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return f"{folder / 'model.safetensors'} is missing"
    return next((problem for file in files if (problem := safetensors_problem(file))), "")


def safetensors_problem(path: Path) -> str:
    """Compare a safetensors file's size with what its header promises; "" when they agree."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start.startswith(b"version "):
            return f"{path} is a Git LFS pointer and not the weights (git lfs pull)"
        length = int.from_bytes(start, "little")
        if size < 8 or length > size - 8:
            return f"{path} is cut short or no safetensors file"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{path} is no safetensors file"
    promised = 8 + length + max(ends, default=0)
    return "" if promised == size else f"{path} has {size} bytes, its header promises {promised}"
