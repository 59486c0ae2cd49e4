"""One picture and its label file -> one pair, or the rule by which the picture is left out.

The rules, in this order (tests/unit/etl/test_pairing.py has a row for each):

* a broken picture or label file, or a label that fits two pictures, excludes the picture;
* an ambiguous class anywhere in the label excludes it: nobody knows what the bird was;
* a concept shape in the `not_<concept>` folder excludes it: folder and label contradict each other;
* concept shapes make a positive. If a line that could not be read may have been one more individual, the pair
  is not exhaustive, and no metric counts it;
* in the `<concept>` folder, an empty label file means "looked at, nothing there": a negative, noted. No label
  file, or one that names only other classes, proves nothing: excluded rather than taught as a negative;
* elsewhere, no label file, an empty one or one with other objects only makes a negative.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sam3_agent.etl.catalogue import Entry
from sam3_agent.etl.geometry import repair
from sam3_agent.etl.labels_labelme import read_labelme
from sam3_agent.etl.labels_yolo import read_yolo
from sam3_agent.etl.naming import Side, Vocabulary
from sam3_agent.etl.pictures import Picture, read_picture
from sam3_agent.etl.records import Instance, Kind, LabelProblem, LabelSheet, Pair, Shape

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
        because: "labels" for a positive; "folder", "absent-label", "empty-label" or "other-objects" for a
            negative; the rule for an excluded picture.
        label_format: "yolo", "labelme" or "" without a label file.
        other_classes: names of shapes that are not the concept.
    """

    pair: Pair | None = None
    because: str = ""
    label_format: Literal["yolo", "labelme", ""] = ""
    problems: list[LabelProblem] = field(default_factory=list)
    other_classes: list[str] = field(default_factory=list)


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
        verdict = Verdict()
        if entry.labels and entry.rivals:
            detail = f"{entry.labels[0]} fits {entry.rivals[0]} as well; give the pictures different names"
            return self._exclude(verdict, entry, "duplicate-name", detail)
        picture = read_picture(f"{self.raw}/images/{entry.path}", verify=self.verify_pixels)
        if picture.rule:
            return self._exclude(verdict, entry, picture.rule, picture.detail)
        sheet, label = self._read_label(entry, picture, verdict)
        if sheet is not None and not sheet.readable:
            verdict.because = sheet.problems[0].rule
            return verdict
        self._decide(verdict, entry, picture, sheet, label, image_id)
        return verdict

    def _read_label(self, entry: Entry, picture: Picture, verdict: Verdict) -> tuple[LabelSheet | None, str]:
        """The label sheet (None without a file) and its name for reports."""
        if not entry.labels:
            return None, ""
        # LabelMe carries names and exact outlines, so of two files it is the better witness
        chosen, *spare = sorted(entry.labels, key=lambda path: not path.lower().endswith(".json"))
        for path in spare:
            detail = f"the picture has {chosen} as well, which is used; remove one"
            verdict.problems.append(LabelProblem(f"labels/{path}", 0, "two-label-files", "dropped", detail))
        file, content = f"labels/{chosen}", b""
        size = (picture.width, picture.height)
        try:
            with open(f"{self.raw}/{file}", "rb") as stream:  # noqa: PTH123 - pathlib costs a tenth of the time here
                content = stream.read(MAX_LABEL_BYTES + 1)
        except OSError as error:
            problem = LabelProblem(file, 0, "unreadable-label", "excluded", f"cannot be read ({error.strerror})")
            sheet = LabelSheet(problems=[problem], readable=False)
        else:
            if len(content) > MAX_LABEL_BYTES:
                problem = LabelProblem(file, 0, "unreadable-label", "excluded", f"over {MAX_LABEL_BYTES} bytes")
                sheet = LabelSheet(problems=[problem], readable=False)
            elif chosen.lower().endswith(".json"):
                verdict.label_format = "labelme"
                # an empty file means the same in both formats: looked at, nothing there
                sheet = read_labelme(content, file, *size) if content.strip() else LabelSheet()
            else:
                verdict.label_format = "yolo"
                sheet = read_yolo(content, file, self.class_names, *size)
        verdict.problems += sheet.problems
        return sheet, file

    def _decide(
        self,
        verdict: Verdict,
        entry: Entry,
        picture: Picture,
        sheet: LabelSheet | None,
        label: str,
        image_id: int,
    ) -> None:
        side = self.vocabulary.side(entry.folder)
        wanted: list[Shape] = []
        for shape in sheet.shapes if sheet else ():
            meaning = self.vocabulary.meaning(shape.name)
            if meaning == "ambiguous":
                detail = f'"{shape.name}" is ambiguous (etl.ambiguous in params.yaml)'
                self._exclude(verdict, entry, "ambiguous-class", detail, label, shape.line)
                return
            if meaning == "concept":
                wanted.append(shape)
            else:
                verdict.other_classes.append(shape.name)
        if wanted and side == "negative":
            detail = f'"{wanted[0].name}" is labelled, but lies in {entry.folder}/; move it or mend the label'
            self._exclude(verdict, entry, "concept-in-negative-folder", detail, label, wanted[0].line)
            return
        instances, lost = self._instances(wanted, picture, label, verdict)
        lost += sheet.lost if sheet else 0
        kind: Kind = "positive"
        if instances:
            verdict.because = "labels"
        else:
            kind = "negative"
            refusal = self._why_not_negative(side, sheet, bool(wanted), lost)
            if refusal:
                self._exclude(verdict, entry, *refusal, label)
                return
            verdict.because = self._why_negative(side, sheet)
            if side == "positive":
                detail = f"{entry.folder}/ promises the concept, the label file is empty; taken as a negative"
                verdict.problems.append(LabelProblem(label, 0, "empty-label-in-positive-folder", "noted", detail))
        match = self.group.search(entry.stem)
        source = (match and match.group(1)) or entry.path.rpartition(".")[0]
        exhaustive = kind == "negative" or not lost
        verdict.pair = Pair(image_id, entry.path, picture.width, picture.height, kind, exhaustive, source, instances)

    def _instances(
        self, shapes: list[Shape], picture: Picture, label: str, verdict: Verdict
    ) -> tuple[list[Instance], int]:
        """The usable shapes as instances, and how many individuals were lost with the others."""
        instances, lost = [], 0
        for shape in shapes:
            outline = repair(shape.points, picture.width, picture.height, self.min_area)
            if outline.rejected:
                detail = _REJECTED[outline.rejected]
                verdict.problems.append(LabelProblem(label, shape.line, outline.rejected, "dropped", detail))
                lost += outline.rejected not in HARMLESS
                continue
            for rule in outline.rules:
                verdict.problems.append(LabelProblem(label, shape.line, rule, "repaired", _REPAIRED[rule]))
            bbox = outline.bbox
            instances.append(Instance(outline.polygons, outline.area, bbox, shape.drawn_as, label, shape.line))
        return instances, lost

    @staticmethod
    def _why_not_negative(side: Side, sheet: LabelSheet | None, had_concept: bool, lost: int) -> tuple[str, str] | None:
        """Rule and detail when a picture without instances cannot be taken for a negative."""
        if had_concept:
            return "no-usable-shape", "the concept is labelled, but no shape could be used"
        if lost and side != "negative":
            return "no-usable-shape", "lines that could not be read may show the concept"
        if sheet is None and side == "positive":
            return "unlabelled", "in the concept's folder without a label file; label it or move it"
        if sheet is None and side == "foreign":
            return "unlabelled", "no label file, and its folder was sorted for another concept"
        if side == "positive" and sheet is not None and sheet.shapes:
            names = ", ".join(sorted({shape.name for shape in sheet.shapes})[:5])
            return "no-concept-in-label", f"only {names}; add a synonym to etl.synonyms or move the picture"
        return None

    @staticmethod
    def _why_negative(side: Side, sheet: LabelSheet | None) -> str:
        if sheet is not None and sheet.shapes:
            return "other-objects"
        if side == "negative":
            return "folder"
        return "absent-label" if sheet is None else "empty-label"

    @staticmethod
    def _exclude(verdict: Verdict, entry: Entry, rule: str, detail: str, label: str = "", line: int = 0) -> Verdict:
        file = label or f"images/{entry.path}"
        verdict.problems.append(LabelProblem(file, line, rule, "excluded", detail))
        verdict.because, verdict.pair = rule, None
        return verdict
