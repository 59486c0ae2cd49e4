"""A batch as people left it: `data/annotated/<batch>/`, the same whoever corrected it and with what.

    annotations.jsonl      a row an annotation: who, when, on which task, over which model's pre-labels, what they drew
    images/  labels/       the settled pictures with LabelMe files: a raw folder, ready for `sam3-agent merge`
    batch.json             the state of every picture: settled, disputed, ambiguous, contradictory

Rows are keyed by annotation and replaced only by a later update, so that a delivery that comes five times, or late,
changes nothing. One writer at a time; files change whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sam3.errors import BadInput
from sam3.files import atomic_write, write_json
from sam3_agent.annotation.shapes import fill
from sam3_agent.mining import labelme
from sam3_agent.mining.batch import FACTS
from sam3_agent.mining.flag import agreement

ROWS, LOCK = "annotations.jsonl", ".lock"
AGREED = 0.7  # agreement of two annotators from which their picture needs no third
State = Literal["positive", "negative", "ambiguous", "disputed", "contradictory"]


@dataclass(frozen=True)
class Annotation:
    """What one person said of one picture.

    Attributes:
        id: of the annotation, unique in the batch and the same at every delivery.
        batch, file: the picture: name of its batch and of its file.
        sha256: of the picture's bytes. width, height: upright, pixels.
        annotator: who. task: where: "label-studio project/task", or the file that came. model_version: of the
            pre-labels. created, updated: ISO 8601. seconds: of work, if known.
        none, ambiguous: what was said of the whole picture. reviewed: the last word, whatever others said.
        instances: of each individual its outlines, rings [[x, y], ...] in pixels.
    """

    id: str
    batch: str
    file: str
    sha256: str
    width: int
    height: int
    annotator: str
    task: str
    model_version: str
    created: str
    updated: str
    instances: list[list[list[list[float]]]] = field(default_factory=list)
    none: bool = False
    ambiguous: bool = False
    reviewed: bool = False
    seconds: float | None = None

    def masks(self) -> Any:
        """bool (N, H, W)."""
        drawn = [fill([np.array(ring) for ring in rings], self.height, self.width) for rings in self.instances]
        return np.stack(drawn) if drawn else np.zeros((0, self.height, self.width), bool)

    def state(self) -> State:
        """What it makes of the picture."""
        if self.ambiguous:
            return "ambiguous"
        if self.none and self.instances:
            return "contradictory"
        return "positive" if self.instances else "negative"


@dataclass
class Delivery:
    """What came of one delivery of annotations.

    Attributes:
        new, updated, unchanged, withdrawn: annotations. refused: why some were not taken.
        states: pictures of the batch by state. agreement: mean of pictures that two or more people looked at, 0..1.
    """

    batch: str
    folder: Path
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    refused: list[str] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    agreement: float | None = None
    twice: int = 0

    @property
    def changed(self) -> bool:
        """Whether the batch is another one than before."""
        return bool(self.new or self.updated or self.withdrawn)


def deliver(
    folder: Path,
    rows: Iterable[Annotation],
    pictures: Callable[[Annotation], bytes],
    *,
    gone: Callable[[dict[str, Any]], bool] = lambda row: False,
    concept: str,
) -> Delivery:
    """Take annotations into a batch.

    Args:
        folder: `data/annotated/<batch>`; made if need be.
        rows: what came. pictures: the bytes of a row's picture; called for pictures that are not there yet.
        gone: of rows that are held, those that were withdrawn where they came from.
        concept: the label of what is outlined.
    """
    with alone(folder / LOCK):
        held = {row["id"]: row for row in read_rows(folder)}
        done = Delivery(folder.name, folder)
        for row in rows:
            before = held.get(row.id)
            if before is not None and before["updated"] >= row.updated:
                done.unchanged += 1
                continue
            try:
                _keep_picture(folder, row, pictures)
            except BadInput as error:
                done.refused.append(str(error))
                continue
            done.new, done.updated = done.new + (before is None), done.updated + (before is not None)
            held[row.id] = asdict(row)
        for key in [key for key, row in held.items() if gone(row)]:
            del held[key]
            done.withdrawn += 1
        if done.changed or not (folder / FACTS).is_file():
            _write(folder, held, concept)
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    done.states, done.agreement, done.twice = facts["states"], facts["agreement"], facts["twice"]
    return done


def settle(rows: list[Annotation]) -> tuple[State, Annotation, float | None]:
    """The state of a picture, the annotation that speaks for it, and how far its annotators agree.

    A review has the last word. Else the latest of each person counts, and where two disagree nobody is believed.
    """
    latest: dict[str, Annotation] = {}
    for row in sorted(rows, key=lambda row: (row.updated, row.id)):
        latest[row.annotator] = row
    said = list(latest.values())
    scores = [_agreement(a, b) for at, a in enumerate(said) for b in said[at + 1 :]]
    agreed = min(scores) if scores else None
    reviewed = [row for row in rows if row.reviewed]
    speaker = max(reviewed or said, key=lambda row: (row.updated, row.id))
    if not reviewed and agreed is not None and agreed < AGREED:
        return "disputed", speaker, agreed
    return speaker.state(), speaker, agreed


def _agreement(a: Annotation, b: Annotation) -> float:
    """0..1: panoptic quality of what both drew; 0 when only one could tell."""
    if a.ambiguous or b.ambiguous:
        return float(a.ambiguous and b.ambiguous)
    return agreement(a.masks(), b.masks())


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a batch; [] when there are none yet.

    Raises:
        BadInput: a line is not JSON; names it.
    """
    path = folder / ROWS
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: not JSON ({error}). Remove the line and pull again.") from error
    return rows


def by_picture(rows: Iterable[dict[str, Any]]) -> dict[str, list[Annotation]]:
    """Annotations of each picture, by file name."""
    found: dict[str, list[Annotation]] = {}
    for row in rows:
        found.setdefault(row["file"], []).append(Annotation(**row))
    return found


def _write(folder: Path, held: dict[str, dict[str, Any]], concept: str) -> None:
    """Rows, labels of settled pictures, and the state; labels of what is not settled (any more) go."""
    rows = sorted(held.values(), key=lambda row: (row["file"], row["id"]))
    with atomic_write(folder / ROWS) as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    pictures: dict[str, dict[str, Any]] = {}
    wanted: dict[str, dict[str, Any]] = {}
    for file, said in by_picture(rows).items():
        state, speaker, agreed = settle(said)
        pictures[file] = {"state": state, "annotation": speaker.id, "annotators": len({row.annotator for row in said}),
                          "agreement": None if agreed is None else round(agreed, 4)}  # fmt: skip
        if state in ("positive", "negative"):
            wanted[f"{Path(file).stem}.json"] = _page(speaker, concept)
    for path in (folder / "labels").glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, page in wanted.items():
        labelme.write(folder / "labels" / name, page)
    scores = [one["agreement"] for one in pictures.values() if one["agreement"] is not None]
    states = [one["state"] for one in pictures.values()]
    facts = {
        "batch": folder.name,
        "concept": concept,
        "annotations": len(rows),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "agreement": round(float(np.mean(scores)), 4) if scores else None,
        "twice": len(scores),
        "pictures": pictures,
    }
    write_json(folder / FACTS, facts)


def _page(row: Annotation, concept: str) -> dict[str, Any]:
    """The LabelMe file of a settled picture; outlines of one individual share a group."""
    shapes = []
    for number, rings in enumerate(row.instances, start=1):
        group = number if len(rings) > 1 else None
        shapes += [labelme.shape(concept, ring, "", group) for ring in rings]
    flags = {labelme.nothing_here(concept): not row.instances, labelme.AMBIGUOUS: False}
    page = labelme.page(shapes, row.file, row.width, row.height, flags)
    about = {"batch": row.batch, "annotation": row.id, "annotator": row.annotator, "model": row.model_version}
    return {**page, "sam3_agent": about}


def _keep_picture(folder: Path, row: Annotation, pictures: Callable[[Annotation], bytes]) -> None:
    path = folder / "images" / row.file
    if path.is_file():
        return
    data = pictures(row)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise BadInput(
            f"{row.file}: its bytes are not those that were handed out. Put the picture back and pull again."
        )
    with atomic_write(path, "wb") as stream:
        stream.write(data)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One writer at a time, in all processes of this machine: webhook and poll may come together."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
