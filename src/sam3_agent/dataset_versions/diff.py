"""Two versions of a data set side by side: how many, what came, what went, what was relabelled.

sam3-agent dataset diff data-v1.0 data-v1.1
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.files import atomic_write, write_json
from sam3_agent.dataset_versions.facts import Fact

SHOWN = 40  # files of a list that a person reads


@dataclass(frozen=True)
class DatasetDiff:
    """From one version to another.

    Attributes:
        before, after: counts by pictures, positives, negatives, instances, left_out, sources.
        added, removed: files. changed: file -> what is other than before. batches: added pictures by batch.
    """

    old: str
    new: str
    before: dict[str, int]
    after: dict[str, int]
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}

    def to_markdown(self) -> str:
        """For a person; the first files of each list."""
        lines = [f"# {self.old} -> {self.new}", "", "| | before | after | |", "| --- | ---: | ---: | ---: |"]
        for key, value in self.after.items():
            old = self.before.get(key, 0)
            lines.append(f"| {key.replace('_', ' ')} | {old:,} | {value:,} | {value - old:+,} |")
        for name, rows in (
            ("Added", [f"`{file}`" for file in self.added]),
            ("Removed", [f"`{file}`" for file in self.removed]),
            ("Changed", [f"`{file}`: {what}" for file, what in self.changed.items()]),
            ("By batch", [f"{batch}: {count:,}" for batch, count in self.batches.items()]),
        ):
            if rows:
                more = [f"... and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []
                lines += ["", f"## {name} ({len(rows):,})", "", *(f"- {row}" for row in [*rows[:SHOWN], *more])]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """`<new>.diff.json` and `.md`."""
        write_json(folder / f"{self.new}.diff.json", self.to_json())
        with atomic_write(folder / f"{self.new}.diff.md") as stream:
            stream.write(self.to_markdown())


def diff(old: str, before: dict[str, Fact], new: str, after: dict[str, Fact]) -> DatasetDiff:
    """Compare two versions by what is in them; a picture that only moved or was renamed counts as changed."""
    homes = {fact.content: file for file, fact in before.items() if fact.content}
    added, changed, moved = [], {}, set[str]()
    for file in sorted(after):
        fact = after[file]
        old_file = file if file in before else homes.get(fact.content)
        if old_file is None or (old_file != file and old_file in after):
            added.append(file)
        elif what := _change(before[old_file], fact):
            changed[file] = what
            moved.add(old_file)
    removed = sorted(file for file in before if file not in after and file not in moved)
    batches = Counter(after[file].batch for file in added if after[file].batch)
    return DatasetDiff(old, new, counts(before), counts(after), added, removed, changed, dict(sorted(batches.items())))


def counts(facts: dict[str, Fact]) -> dict[str, int]:
    """The numbers of a version."""
    kinds = Counter(fact.kind for fact in facts.values())
    return {
        "pictures": len(facts),
        "positives": kinds["positive"],
        "negatives": kinds["negative"],
        "instances": sum(fact.instances for fact in facts.values()),
        "left_out": kinds[""],
        "sources": len({fact.source for fact in facts.values() if fact.source}),
        "from_batches": sum(bool(fact.batch) for fact in facts.values()),
    }


def _change(old: Fact, new: Fact) -> str:
    """In words; "" when nothing is other than before."""
    found = []
    if old.file != new.file:
        found.append(f"was {old.file}")
    if old.content != new.content:
        found.append("other picture")
    if old.kind != new.kind:
        found.append(f"{old.kind or 'left out'} -> {new.kind or 'left out'}")
    if old.instances != new.instances:
        found.append(f"{old.instances} -> {new.instances} outlines")
    elif old.outline != new.outline and old.kind == new.kind:
        found.append("outlines redrawn")
    return ", ".join(found)
