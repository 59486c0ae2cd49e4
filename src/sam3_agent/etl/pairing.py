"""One picture and its label file -> one pair, or the reason why the picture is left out.

Reads both, repairs the shapes, and puts together what `ruling` decides. A broken picture, a broken label file or
a label that fits two pictures excludes the picture. When a shape that may have been one more individual could
not be used, the pair is not exhaustive, and no metric counts it. Called by the etl stage, once a picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sam3_agent.etl.catalogue import Entry
from sam3_agent.etl.geometry import repair, union
from sam3_agent.etl.labels_labelme import read_labelme
from sam3_agent.etl.labels_yolo import read_yolo
from sam3_agent.etl.naming import Vocabulary
from sam3_agent.etl.pictures import Picture, read_picture
from sam3_agent.etl.records import Instance, LabelProblem, LabelSheet, Pair, Shape
from sam3_agent.etl.ruling import Ruling, Spoken, decide

# nothing that anybody could see was lost with these, so the other shapes are still all there are
HARMLESS = frozenset({"outside-image", "zero-area", "too-small"})
MAX_LABEL_BYTES = 64_000_000
_REJECTED = {
    "too-few-points": "an outline needs 3 points or more",
    "outside-image": "lies wholly outside the picture",
    "zero-area": "encloses nothing",
    "too-small": "smaller than etl.min_area in params.yaml",
}
_REPAIRED = {
    "self-crossing": "the outline crosses itself; kept what it encloses",
    "outside-image": "clipped to the picture",
}


@dataclass(slots=True)
class Verdict:
    """What became of one picture.

    Attributes:
        pair: None when the picture is excluded.
        because: as in `Ruling`.
        label_format: "yolo", "labelme" or "" when no label file was read.
        other_classes: names of shapes that are not the concept.
    """

    pair: Pair | None = None
    because: str = ""
    label_format: Literal["yolo", "labelme", ""] = ""
    problems: list[LabelProblem] = field(default_factory=list)
    other_classes: list[str] = field(default_factory=list)

    def exclude(self, file: str, rule: str, detail: str, line: int = 0) -> Verdict:
        """Leave the picture out, with a row that says why."""
        self.problems.append(LabelProblem(file, line, rule, "excluded", detail))
        self.because, self.pair = rule, None
        return self


@dataclass(frozen=True, slots=True)
class Pairing:
    """The settings under which pictures are judged.

    Attributes:
        raw: the raw folder.
        vocabulary: what class and folder names mean.
        class_names: classes.txt, in order.
        min_area: pixels squared.
        group: group 1 of this pattern on the file stem is the source; without a match the path is.
        verify_pixels: decode every picture.
    """

    raw: Path
    vocabulary: Vocabulary
    class_names: list[str]
    min_area: float
    group: re.Pattern[str]
    verify_pixels: bool = True

    def judge(self, image_id: int, entry: Entry) -> Verdict:
        """Read one picture and its label, and decide."""
        verdict, file = Verdict(), f"images/{entry.path}"
        if entry.labels and entry.rivals:
            detail = f"{entry.labels[0]} fits {entry.rivals[0]} as well; give the pictures different names"
            return verdict.exclude(file, "duplicate-name", detail)
        picture = read_picture(f"{self.raw}/{file}", verify=self.verify_pixels)
        if picture.rule:
            return verdict.exclude(file, picture.rule, picture.detail)
        label = self._choose_label(entry, verdict)
        sheet = self._read_label(label, picture, verdict) if label else None
        if sheet is not None and not sheet.readable:
            verdict.because = sheet.problems[-1].rule
            return verdict
        spoken = Spoken.of(sheet, self.vocabulary) if sheet else None
        instances, complete = self._instances(sheet or LabelSheet(), picture, label, verdict)
        verdict.other_classes = [name for name, _ in spoken.other] if spoken else []
        ruling = decide(self.vocabulary.side(entry.folder), spoken, len(instances))
        if ruling.kind is None:
            return verdict.exclude(label or file, ruling.because, ruling.detail, ruling.line)
        verdict.because = ruling.because
        self._note_surprise(entry, label, ruling, verdict)
        exhaustive = complete or ruling.kind == "negative"
        size = (picture.width, picture.height)
        verdict.pair = Pair(image_id, entry.path, *size, ruling.kind, exhaustive, self._source(entry), instances)
        return verdict

    def _choose_label(self, entry: Entry, verdict: Verdict) -> str:
        """The label file to read, relative to the raw folder; "" without one."""
        # LabelMe carries names and exact outlines, so of two files it is the better witness
        ranked = sorted(entry.labels, key=lambda path: not path.lower().endswith(".json"))
        for path in ranked[1:]:
            detail = f"the picture has {ranked[0]} as well, which is used; remove one"
            verdict.problems.append(LabelProblem(f"labels/{path}", 0, "two-label-files", "dropped", detail))
        return f"labels/{ranked[0]}" if ranked else ""

    def _read_label(self, file: str, picture: Picture, verdict: Verdict) -> LabelSheet:
        size, flaw = (picture.width, picture.height), ""
        try:
            # pathlib would cost a tenth of the time here
            with open(f"{self.raw}/{file}", "rb") as stream:  # noqa: PTH123
                content = stream.read(MAX_LABEL_BYTES + 1)
            flaw = f"over {MAX_LABEL_BYTES} bytes" if len(content) > MAX_LABEL_BYTES else ""
        except OSError as error:
            flaw = f"cannot be read ({error.strerror})"
        if flaw:
            problem = LabelProblem(file, 0, "unreadable-label", "excluded", flaw)
            sheet = LabelSheet(problems=[problem], readable=False)
        elif file.lower().endswith(".json"):
            verdict.label_format = "labelme"
            # an empty file means the same in both formats: looked at, nothing there
            sheet = read_labelme(content, file, *size) if content.strip() else LabelSheet()
        else:
            verdict.label_format = "yolo"
            sheet = read_yolo(content, file, self.class_names, *size)
        verdict.problems += sheet.problems
        return sheet

    def _instances(
        self, sheet: LabelSheet, picture: Picture, label: str, verdict: Verdict
    ) -> tuple[list[Instance], bool]:
        """The concept's usable shapes as instances, and whether they are all there are to see."""
        meaning = self.vocabulary.meaning
        # a goose that could not be read hides no hen; a shape of unknown class may
        complete = not any(not name or meaning(name) == "concept" for name, _ in sheet.lost)
        instances: dict[tuple[int, int | None], Instance] = {}
        for shape in sheet.shapes:
            if meaning(shape.name) != "concept":
                continue
            instance, rejected = self._instance(shape, picture, label, verdict)
            if instance:
                key = (len(instances), None) if shape.group is None else (-1, shape.group)
                instances[key] = _joined(instances[key], instance) if key in instances else instance
            elif rejected not in HARMLESS:
                complete = False
        return list(instances.values()), complete

    def _instance(self, shape: Shape, picture: Picture, label: str, verdict: Verdict) -> tuple[Instance | None, str]:
        """The repaired shape, or None and the rule that rejects it."""
        outline = repair(shape.points, picture.width, picture.height, self.min_area)
        if outline.rejected:
            detail = _REJECTED[outline.rejected]
            verdict.problems.append(LabelProblem(label, shape.line, outline.rejected, "dropped", detail))
            return None, outline.rejected
        for rule in outline.rules:
            verdict.problems.append(LabelProblem(label, shape.line, rule, "repaired", _REPAIRED[rule]))
        where = (label, shape.line)
        return Instance(outline.polygons, outline.area, outline.bbox, shape.drawn_as, *where), ""

    def _note_surprise(self, entry: Entry, label: str, ruling: Ruling, verdict: Verdict) -> None:
        if ruling.kind == "negative" and self.vocabulary.side(entry.folder) == "positive":
            detail = f"{entry.folder}/ promises the concept, the label file is empty; taken as a negative"
            verdict.problems.append(LabelProblem(label, 0, "empty-label-in-positive-folder", "noted", detail))

    def _source(self, entry: Entry) -> str:
        match = self.group.search(entry.stem)
        return (match and match.group(1)) or entry.path.rpartition(".")[0]


def _joined(first: Instance, part: Instance) -> Instance:
    """One individual of two outlines, as when something stands in front of it."""
    whole = union([*first.polygons, *part.polygons])
    return Instance(whole.polygons, whole.area, whole.bbox, first.drawn_as, first.file, first.line)
