"""Packages for the pack: used when they lie there, asked for by name when not, refused in one line."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from sam3.errors import Unavailable
from sam3_agent.barnyard import fetch
from sam3_agent.barnyard.tables import Package

EMOJI = Package("@somebody/emoji", "npm", "MIT", "MIT.txt", "Somebody")


def archive(folder: Path, version: str) -> None:
    inside = folder / "package" / "package.json"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_text(json.dumps({"version": version}))
    with tarfile.open(folder / f"somebody-emoji-{version}.tgz", "w:gz") as tar:
        tar.add(inside, "package/package.json")


def test_an_archive_that_lies_there_is_unpacked_and_its_version_read(tmp_path: Path) -> None:
    archive(tmp_path, "1.2.3")
    found = fetch.unpack(EMOJI, tmp_path)
    assert found.version == "1.2.3" and (found.folder / "package" / "package.json").is_file()


def test_a_package_that_is_missing_needs_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="@somebody/emoji: needs `npm`"):
        fetch.unpack(EMOJI, tmp_path)


def test_a_package_of_a_longer_name_is_not_mistaken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    archive(tmp_path, "1.0.0")
    (tmp_path / "somebody-emoji-1.0.0.tgz").rename(tmp_path / "somebody-emoji-flat-1.0.0.tgz")
    with pytest.raises(Unavailable):
        fetch.unpack(EMOJI, tmp_path)
