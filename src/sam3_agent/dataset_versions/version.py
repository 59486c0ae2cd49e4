"""A merged data set -> a version: bytes with DVC, a git tag data-v1.N, and a report of what is new.

version = version_dataset(Path("data/dataset"))     # nothing changed since the last one: the last one
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadConfig, BadInput, Unavailable
from sam3_agent.dataset_versions.diff import DatasetDiff, diff
from sam3_agent.dataset_versions.facts import facts_of, read_facts, write_facts
from sam3_agent.dataset_versions.merge import DATASET, VERSIONS
from sam3_agent.params import load_params

TAG = re.compile(r"^data-v1\.(\d+)$")


@dataclass(frozen=True)
class Version:
    """A version of the data set.

    Attributes:
        tag: "data-v1.3". previous: the one before. new: whether this call made it. diff: between the two.
    """

    tag: str
    previous: str
    new: bool
    diff: DatasetDiff


def dataset(
    action: Annotated[str, typer.Argument(help="version: tag what is there. diff OLD NEW: compare two versions.")],
    names: Annotated[list[str] | None, typer.Argument(help="Two versions, for diff.")] = None,
    raw: Annotated[Path, typer.Option(help="The data set.")] = DATASET,
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Version the data set, or compare two versions of it."""
    if action == "version" and not names:
        made = version_dataset(raw, params=params)
        counts = f"{len(made.diff.added)} added, {len(made.diff.removed)} removed, {len(made.diff.changed)} changed"
        print(f"{made.tag}{'' if made.new else ' (nothing is new)'}: {counts} since {made.previous}")
    elif action == "diff" and names and len(names) == 2:
        old, new = names
        facts = [read_facts(_file(VERSIONS, name)) for name in names]
        print(diff(old, facts[0], new, facts[1]).to_markdown())
    else:
        raise BadConfig("dataset: expected `dataset version`, or `dataset diff data-v1.0 data-v1.1`.", field="action")


def version_dataset(
    raw: Path, *, params: Path = Path("params.yaml"), versions: Path = VERSIONS, message: str = ""
) -> Version:
    """Version what is in a data set; run in the top folder of the repository.

    Killed at any moment and called again, it ends with one version: the tag is set last.

    Raises:
        BadInput: `raw` is the output of a stage, or there is no first version. Unavailable: git or dvc refuses.
    """
    settings = load_params(params)
    number = max(
        (int(found[1]) for tag in _git("tag", "--list", "data-v1.*").split() if (found := TAG.match(tag))), default=0
    )
    previous, tag = f"data-v1.{number}", f"data-v1.{number + 1}"
    before = read_facts(_file(versions, previous))
    after = facts_of(raw, settings)
    change = diff(previous, before, tag, after)
    if not (change.added or change.removed or change.changed):
        return Version(previous, previous, False, change)
    write_facts(_file(versions, tag), after)
    change.write(versions)
    _dvc("add", "--quiet", str(raw))
    ignore = raw.parent / ".gitignore"
    paths = [f"{raw}.dvc", *([str(ignore)] if ignore.is_file() else []), *_versions_of(versions, tag)]
    _git("add", "--", *paths)
    if _git("status", "--porcelain", "--", *paths).strip():
        text = message or f"Data {tag}: {len(change.added)} added, {len(change.changed)} changed"
        _git("commit", "--quiet", "-m", text, "--", *paths)
    _git("tag", "-a", tag, "-m", f"{len(after)} pictures, {len(change.added)} more than in {previous}")
    return Version(tag, previous, True, change)


def _versions_of(versions: Path, tag: str) -> list[str]:
    """What of a version is kept in git; of the first one, its facts."""
    files = [versions / f"{tag}.diff.json", versions / f"{tag}.diff.md", _file(versions, tag)]
    return [str(path) for path in (*files, _file(versions, "data-v1.0")) if path.is_file()]


def _file(versions: Path, tag: str) -> Path:
    path = versions / f"{tag}.facts.jsonl.gz"
    if not TAG.match(tag):
        raise BadInput(f"{tag}: expected a version like data-v1.1.", field="version")
    return path


def _git(*words: str) -> str:
    return _run(["git", *words])


def _dvc(*words: str) -> str:
    return _run([sys.executable, "-m", "dvc", *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise Unavailable(f"{Path(command[0]).name} {' '.join(command[1:4])}: {said[0][:300]}")
    return done.stdout
