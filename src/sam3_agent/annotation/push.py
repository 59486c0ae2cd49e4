"""A mined batch -> a Label Studio project: one task a picture, pre-labelled; pushed twice it is still one.

sam3-agent annotate push data/to_annotate/batch-0001
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sam3.errors import BadInput
from sam3.files import read_json
from sam3_agent.annotation.annotated import alone
from sam3_agent.annotation.labelling import instructions, labelling_config
from sam3_agent.annotation.shapes import IMAGE, prelabels
from sam3_agent.annotation.studio import MARK, Studio
from sam3_agent.mining.batch import FACTS, IMAGES, MANIFEST

AT_ONCE = 50  # tasks of one call
ACTIONS = ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]
SECRET_HEADER = "X-Sam3-Annotation-Secret"


@dataclass(frozen=True)
class Pushed:
    """A batch in Label Studio.

    Attributes:
        project: its number. url: of its page. tasks: pictures in it. new: of them, added by this call.
    """

    project: int
    url: str
    tasks: int
    new: int


def push_batch(folder: Path, studio: Studio, *, annotators: int = 1, how: str = "auto", renew: bool = False) -> Pushed:
    """Make the project of a batch, or add what it lacks.

    Args:
        folder: as `mine_batch` made it, inside `studio.files`.
        annotators: people who are to look at each picture.
        how: pre-labels as "polygon", "brush", or "auto".
        renew: give a project that is there already today's tools and instructions, in place of what it has.

    Raises:
        BadInput: no batch there, or outside the folder that the server may show. Unavailable: no answer.
    """
    facts, rows = read_batch(folder)
    inside = _inside(folder, studio.files)
    with alone(folder / ".push.lock"):  # two at once would make two projects
        project = _project(studio, facts, annotators, renew)
        _connect(studio, project, inside)
        held = {task["data"].get("sha256") for task in studio.tasks(project)}
        missing = [row for row in rows if row["sha256"] not in held]
        for at in range(0, len(missing), AT_ONCE):
            tasks = [_task(row, facts, inside, how) for row in missing[at : at + AT_ONCE]]
            studio.call("POST", f"/api/projects/{project}/import", json=tasks)
    return Pushed(project, f"{studio.url}/projects/{project}/data", len(rows), len(missing))


def read_batch(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The facts and the manifest rows of a mined batch.

    Raises:
        BadInput: it is none.
    """
    if not (folder / FACTS).is_file() or not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder}: no {FACTS} and {MANIFEST} in it. Make a batch: sam3-agent mine")
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    try:
        return read_json(folder / FACTS), [json.loads(line) for line in lines]
    except ValueError as error:
        raise BadInput(
            f"{folder / MANIFEST}: a line is not JSON ({error}). Remove the folder and mine again."
        ) from error


def model_version(facts: dict[str, Any]) -> str:
    """The name of the model that made the pre-labels."""
    model = facts["model"]
    return f"{Path(model['checkpoint']).name}@{model['sha256'][:12]}"


def _task(row: dict[str, Any], facts: dict[str, Any], inside: str, how: str) -> dict[str, Any]:
    regions = prelabels(row, facts["concept"], facts["prefill"], how)
    address = quote(f"{inside}/{row['file']}")
    return {
        "data": {
            IMAGE: f"/data/local-files/?d={address}",
            "batch": facts["name"],
            "name": Path(row["file"]).name,
            "sha256": row["sha256"],
            "width": row["width"],
            "height": row["height"],
            "why": ", ".join(row.get("reasons") or ["best of the rest"]),
        },
        "predictions": [
            {"model_version": model_version(facts), "score": round(float(row["presence"]), 4), "result": regions}
        ],
    }


def _project(studio: Studio, facts: dict[str, Any], annotators: int, renew: bool) -> int:
    """The number of the batch's project; made if there is none."""
    concept = facts["concept"]
    page = {
        "label_config": labelling_config(concept),
        "expert_instruction": instructions(concept),
        "show_instruction": True,
    }
    for project in studio.projects():
        if project["batch"] == facts["name"]:
            if renew:
                studio.call("PATCH", f"/api/projects/{project['id']}", json=page)
            return int(project["id"])
    made = studio.call(
        "POST",
        "/api/projects",
        json={
            "title": f"{concept} · {facts['name']}"[:50],
            "description": f"{MARK}: {facts['name']}",
            **page,
            "show_collab_predictions": True,
            "maximum_annotations": annotators,
            "model_version": model_version(facts),
            "enable_empty_annotation": True,
        },
    )
    return int(made["id"])


def _connect(studio: Studio, project: int, inside: str) -> None:
    """Let the project show the pictures, ask our backend, and tell it of what people finish."""
    target = str(studio.files.resolve() / inside / IMAGES)
    held = studio.call("GET", "/api/storages/localfiles", params={"project": project})
    if not any(one["path"] == target for one in held):
        row = {"project": project, "title": "pictures", "path": target, "use_blob_urls": True}
        studio.call("POST", "/api/storages/localfiles", json=row)
    if not studio.backend:
        return
    hook = f"{studio.backend}/webhook"
    if not any(one["url"] == hook for one in studio.call("GET", "/api/webhooks/", params={"project": project})):
        row = {"project": project, "url": hook, "send_payload": True, "send_for_all_actions": False,
               "actions": ACTIONS, "headers": {SECRET_HEADER: studio.secret}}  # fmt: skip
        studio.call("POST", "/api/webhooks/", json=row)
    if not any(one["url"] == studio.backend for one in studio.call("GET", "/api/ml", params={"project": project})):
        row = {"project": project, "url": studio.backend, "title": "sam3", "is_interactive": True,
               "auth_method": "BASIC_AUTH", "basic_auth_user": "label-studio", "basic_auth_pass": studio.secret}  # fmt: skip
        studio.call("POST", "/api/ml", json=row)


def _inside(folder: Path, files: Path) -> str:
    try:
        return folder.resolve().relative_to(files.resolve()).as_posix()
    except ValueError as error:
        raise BadInput(
            f"{folder}: Label Studio shows only what lies in {files}. Start it with --files, or move the batch."
        ) from error
