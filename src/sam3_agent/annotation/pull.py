"""Finished work from Label Studio -> `data/annotated/<batch>/`; as often as one likes.

    sam3-agent annotate pull

What a webhook says is only that something happened: the annotations are always asked of the server itself, so a late,
doubled or forged delivery cannot change a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sam3.errors import BadInput
from sam3.images import resolve_inside
from sam3_agent.annotation.annotated import Annotation, Delivery, deliver
from sam3_agent.annotation.shapes import BOX, CLICK, IMAGE, outlines_of
from sam3_agent.annotation.studio import Studio
from sam3_agent.mining.labelme import AMBIGUOUS, nothing_here

ANNOTATED = Path("data/annotated")


@dataclass
class PullReport:
    """What a pull brought.

    Attributes:
        deliveries: one a batch. waiting: tasks of each batch that nobody has finished.
    """

    deliveries: list[Delivery] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)

    @property
    def new(self) -> int:
        """Annotations that were not known."""
        return sum(one.new for one in self.deliveries)

    @property
    def updated(self) -> int:
        """Annotations that somebody changed."""
        return sum(one.updated for one in self.deliveries)

    @property
    def changed(self) -> bool:
        """Whether anything is other than before."""
        return any(one.changed for one in self.deliveries)


def pull(studio: Studio, out: Path = ANNOTATED, *, batch: str | None = None, project: int | None = None) -> PullReport:
    """Fetch what people finished.

    Args:
        out: folder of annotated batches. batch, project: only this one.

    Raises:
        Unavailable: the server does not answer. BadInput: no project of that batch.
    """
    report = PullReport()
    chosen = [one for one in studio.projects() if batch in (None, one["batch"]) and project in (None, one["id"])]
    if batch is not None and not chosen:
        raise BadInput(
            f"{batch}: Label Studio has no project of this batch. Run: sam3-agent annotate push", field="batch"
        )
    people = studio.people() if chosen else {}
    for one in chosen:
        report.deliveries.append(_pull_project(studio, one, out, people, report.waiting))
    return report


def _pull_project(
    studio: Studio, project: dict[str, Any], out: Path, people: dict[int, str], waiting: dict[str, int]
) -> Delivery:
    concept, sources = concept_of(project["label_config"]), dict[str, str]()
    rows, refused, open_tasks = [], [], 0
    for task in studio.tasks(project["id"]):
        finished = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
        open_tasks += not finished
        for one in finished:
            try:
                row = annotation_of(task, one, project, concept, people)
            except (BadInput, KeyError, TypeError, ValueError) as error:
                refused.append(f"task {task.get('id')}, annotation {one.get('id')}: {error}")
                continue
            sources[row.file] = task["data"][IMAGE]
            rows.append(row)
    here = {row.id for row in rows}
    mine = f"label-studio {project['id']}/"
    done = deliver(
        out / project["batch"],
        rows,
        lambda row: _picture(studio, sources[row.file]),
        gone=lambda row: row["task"].startswith(mine) and row["id"] not in here,
        concept=concept,
    )
    done.refused += refused
    waiting[project["batch"]] = open_tasks
    return done


def annotation_of(
    task: dict[str, Any], one: dict[str, Any], project: dict[str, Any], concept: str, people: dict[int, str]
) -> Annotation:
    """One annotation of Label Studio as a row.

    Raises:
        BadInput: a region that cannot be read.
    """
    data = task["data"]
    width, height, said = int(data["width"]), int(data["height"]), set[str]()
    instances = []
    for result in one.get("result") or ():
        if result.get("type") == "choices":
            said |= set(result["value"].get("choices") or ())
        elif result.get("from_name") not in (BOX, CLICK):  # prompts, not outlines
            rings = outlines_of(result, width, height)
            if rings:
                instances.append([ring.round(2).tolist() for ring in rings])
    author = one.get("completed_by")
    number = int((author.get("id") if isinstance(author, dict) else author) or 0)
    made = {
        prediction["id"]: prediction for prediction in task.get("predictions") or () if isinstance(prediction, dict)
    }
    parent = made.get(one.get("parent_prediction")) or next(iter(made.values()), {})
    return Annotation(
        id=f"ls-{project['id']}-{one['id']}-{data['sha256'][:8]}",
        batch=project["batch"],
        file=Path(data["name"]).name,
        sha256=data["sha256"],
        width=width,
        height=height,
        annotator=people.get(number, str(number)),
        task=f"label-studio {project['id']}/{task['id']}",
        model_version=str(parent.get("model_version") or ""),
        created=one["created_at"],
        updated=one["updated_at"],
        instances=instances,
        none=nothing_here(concept) in said,
        ambiguous=AMBIGUOUS in said,
        reviewed=bool(one.get("ground_truth")),
        seconds=one.get("lead_time"),
    )


def concept_of(config: str) -> str:
    """The concept of a labelling config of ours: its first label."""
    import xml.etree.ElementTree as ElementTree

    label = ElementTree.fromstring(config).find(".//Label")
    if label is None or not label.get("value"):
        raise BadInput("the project's labelling config has no label. Restore it: sam3-agent annotate push")
    return str(label.get("value"))


def _picture(studio: Studio, address: str) -> bytes:
    """The bytes behind a task's picture: `/data/local-files/?d=<path>`, inside the folder that the server shows."""
    named = parse_qs(urlsplit(address).query).get("d", [""])[0]
    try:
        return resolve_inside(studio.files, named).read_bytes()
    except OSError as error:
        raise BadInput(f"{named}: cannot be read in {studio.files} ({error.strerror}). Put the batch back.") from error
