"""What the etl saw and decided, counted: reports/etl.json and the table on the screen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.table import Table

from sam3_agent.etl.pairing import Verdict
from sam3_agent.etl.records import LabelProblem

NO_NEGATIVES = (
    "no negatives: every picture shows the concept, so cgF1 will be 0 whatever the model does. "
    "Add pictures without it to images/not_<concept>/."
)


@dataclass(slots=True)
class Tally:
    """Running counts of one etl run.

    Attributes:
        pictures: pictures looked at.
        kinds: pairs by "positive" and "negative".
        negatives_because: negatives by folder, absent-label, empty-label, other-objects.
        outlines: instances by label format and how they were drawn, "yolo box".
        rules: rows of etl_issues.csv by (rule, action).
        excluded: excluded pictures by rule, all of them: somebody has to look at each.
        other_classes: shapes by class name that is not the concept.
    """

    concept: str
    pictures: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    instances: int = 0
    not_exhaustive: int = 0
    negatives_because: Counter[str] = field(default_factory=Counter)
    outlines: Counter[str] = field(default_factory=Counter)
    label_files: Counter[str] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    excluded: dict[str, list[str]] = field(default_factory=dict)
    other_classes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, verdict: Verdict) -> None:
        """Count one picture; `path` is relative to images/."""
        self.pictures += 1
        if verdict.label_format:
            self.label_files[verdict.label_format] += 1
        self.other_classes.update(verdict.other_classes)
        pair = verdict.pair
        if pair is None:
            self.excluded.setdefault(verdict.because, []).append(path)
            return
        self.kinds[pair.kind] += 1
        self.instances += len(pair.instances)
        self.not_exhaustive += not pair.exhaustive
        if pair.kind == "negative":
            self.negatives_because[verdict.because] += 1
        for instance in pair.instances:
            self.outlines[f"{verdict.label_format} {instance.drawn_as}"] += 1

    def add_problem(self, problem: LabelProblem) -> None:
        """Count one row of the issues file."""
        self.rules[problem.rule, problem.action] += 1

    @property
    def warnings(self) -> list[str]:
        """What somebody should know before they go on."""
        found = [] if self.kinds["negative"] else [NO_NEGATIVES]
        if self.not_exhaustive:
            found.append(f"{self.not_exhaustive} pairs are not exhaustive (a shape was lost); metrics leave them out.")
        return found

    def to_json(self) -> dict[str, Any]:
        """The content of reports/etl.json; keys are sorted, so that equal data gives equal bytes."""
        return {
            "concept": self.concept,
            "pictures": self.pictures,
            "pairs": self.kinds.total(),
            "positives": self.kinds["positive"],
            "negatives": self.kinds["negative"],
            "instances": self.instances,
            "not_exhaustive": self.not_exhaustive,
            "negatives_because": dict(sorted(self.negatives_because.items())),
            "label_files": dict(sorted(self.label_files.items())),
            "outlines": dict(sorted(self.outlines.items())),
            "rules": {f"{rule} ({action})": count for (rule, action), count in sorted(self.rules.items())},
            "excluded": {rule: len(files) for rule, files in sorted(self.excluded.items())},
            "excluded_pictures": dict(sorted(self.excluded.items())),
            "ambiguous_images": self.excluded.get("ambiguous-class", []),
            "other_classes": dict(sorted(self.other_classes.items())),
            "warnings": self.warnings,
        }

    def table(self) -> Group:
        """The same, for a person."""
        top = Table(title=f'pairs for "{self.concept}"', title_justify="left")
        for name in ("pictures", "positives", "instances", "negatives", "excluded"):
            top.add_column(name, justify="right")
        out = sum(map(len, self.excluded.values()))
        counts = (self.pictures, self.kinds["positive"], self.instances, self.kinds["negative"], out)
        top.add_row(*(f"{count:,}" for count in counts))
        detail = Table(show_header=False, box=None, padding=(0, 2))
        for name, counter in (
            ("outlines", self.outlines),
            ("negatives because", self.negatives_because),
            ("excluded because", Counter({rule: len(files) for rule, files in self.excluded.items()})),
            ("findings", Counter({f"{rule} ({action})": n for (rule, action), n in self.rules.items()})),
            ("other classes", self.other_classes),
        ):
            if counter:
                text = ", ".join(f"{key} {count:,}" for key, count in counter.most_common(12))
                detail.add_row(name, text)
        return Group(top, detail)
