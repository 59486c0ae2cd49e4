"""Positive, negative or left out: what folder and label file together say about one picture.

The rules are the branches of `decide`, in that order. A picture that nobody looked at is never taught as a
negative, and where folder and label contradict each other nobody is believed. Pure; called by `pairing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam3_agent.etl.naming import Side, Vocabulary
from sam3_agent.etl.records import Kind, LabelSheet


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a label file speaks of, whether or not its shapes can be used: (class name, line) by meaning.

    `unknown` counts shapes of which not even the class could be read.
    """

    concept: list[tuple[str, int]]
    ambiguous: list[tuple[str, int]]
    other: list[tuple[str, int]]
    unknown: int = 0

    @classmethod
    def of(cls, sheet: LabelSheet, vocabulary: Vocabulary) -> Spoken:
        """Sort the class names of a label sheet."""
        spoken: dict[str, list[tuple[str, int]]] = {"concept": [], "ambiguous": [], "other": []}
        for name, line in [*((shape.name, shape.line) for shape in sheet.shapes), *sheet.lost]:
            if name:
                spoken[vocabulary.meaning(name)].append((name, line))
        return cls(**spoken, unknown=sum(not name for name, _ in sheet.lost))


@dataclass(frozen=True, slots=True)
class Ruling:
    """`kind` of the pair, or None when the picture is left out.

    Attributes:
        because: "labels" for a positive; "folder", "absent-label", "empty-label" or "other-objects" for a
            negative; the rule for an excluded picture.
        detail, line: for the row of an excluded picture.
    """

    kind: Kind | None
    because: str
    detail: str = ""
    line: int = 0


def decide(side: Side, spoken: Spoken | None, usable: int) -> Ruling:
    """Decide about one picture.

    Args:
        side: what its folder promises.
        spoken: what its label file speaks of; None without a label file.
        usable: instances of the concept with a usable shape.
    """
    if spoken is None:
        return _without_label(side)
    if spoken.ambiguous:
        name, line = spoken.ambiguous[0]
        return Ruling(None, "ambiguous-class", f"{name!r} is ambiguous (etl.ambiguous in params.yaml)", line)
    if spoken.concept and side == "negative":
        name, line = spoken.concept[0]
        detail = f"{name!r} is labelled in the folder of negatives; move the picture or mend the label"
        return Ruling(None, "concept-in-negative-folder", detail, line)
    if usable:
        return Ruling("positive", "labels")
    if spoken.concept:
        name, line = spoken.concept[0]
        return Ruling(None, "no-usable-shape", f"{name!r} is labelled, but no shape could be used", line)
    if spoken.unknown and side != "negative":
        return Ruling(None, "no-usable-shape", "lines that could not be read may show the concept")
    if spoken.other and side == "positive":
        names = ", ".join(sorted({name for name, _ in spoken.other})[:5])
        detail = f"only {names}; add a synonym to etl.synonyms or move the picture"
        return Ruling(None, "no-concept-in-label", detail)
    if spoken.other:
        return Ruling("negative", "other-objects")
    # in the concept's folder too: somebody made the file, so somebody looked
    return Ruling("negative", "folder" if side == "negative" else "empty-label")


def _without_label(side: Side) -> Ruling:
    if side == "positive":
        return Ruling(None, "unlabelled", "in the concept's folder without a label file; label it or move it")
    if side == "foreign":
        return Ruling(None, "unlabelled", "no label file, and its folder was sorted for another concept")
    return Ruling("negative", "folder" if side == "negative" else "absent-label")
