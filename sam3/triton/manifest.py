"""Checksums of a packaged version: what is damaged, half copied or added never loads.

`write_manifest(folder)` when a version is packaged; `verify(folder)` before it is deployed, and once more inside the
server when a model of it initialises. A manifest lists every file of its folder but itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sam3.errors import BadCheckpoint
from sam3.files import read_json, write_json

NAME = "manifest.json"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_of(folder: Path) -> list[str]:
    """Every file below `folder` but its own manifest and Python's caches, as sorted POSIX paths."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path.relative_to(folder).as_posix() for path in found if path != folder / NAME)


def write_manifest(folder: Path, **facts: Any) -> dict[str, Any]:
    """Write `manifest.json`: `facts` and the SHA-256 of each file; returns what it says."""
    content = {**facts, "files": {name: sha256_of(folder / name) for name in files_of(folder)}}
    write_json(folder / NAME, content)
    return content


def verify(folder: Path) -> dict[str, Any]:
    """Hold a folder against its manifest; returns the manifest.

    Raises:
        BadCheckpoint: no manifest, or the first file that is missing, changed or not listed.
    """
    path = folder / NAME
    if not path.is_file():
        raise BadCheckpoint(f"{path}: missing; the version is half copied or not a package. Package it again.")
    content = read_json(path)
    listed = content.get("files") if isinstance(content, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise BadCheckpoint(f"{path}: lists no files. Package the version again.")
    present = set(files_of(folder))
    for name, expected in listed.items():
        if name not in present:
            raise BadCheckpoint(f"{folder / name}: missing, though the manifest lists it. Package or copy it again.")
        if sha256_of(folder / name) != expected:
            raise BadCheckpoint(f"{folder / name}: its checksum is not the manifest's. Package or copy it again.")
    if extra := sorted(present - set(listed)):
        raise BadCheckpoint(f"{folder / extra[0]}: not in the manifest. Remove it, or package the version again.")
    return dict(content)
