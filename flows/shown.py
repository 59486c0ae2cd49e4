"""What people see of a run in Prefect: tables, pictures and links beside its log; and the events that start others."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

WIDEST = 1200  # pixels of a picture that is shown
RESOURCE = "sam3-agent.loop"


def table(key: str, rows: Sequence[Mapping[str, Any]], about: str) -> None:
    """A table; values that are no plain ones are written as JSON."""
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    create_table_artifact(table=plain, key=key, description=about)


def sentences(key: str, title: str, lines: Sequence[str]) -> None:
    """A heading and a list."""
    create_markdown_artifact("\n".join([f"## {title}", "", *(f"- {line}" for line in lines)]), key=key)


def picture(key: str, path: Path, about: str) -> None:
    """A picture of this disk, made small and sent along: the page may be looked at from elsewhere."""
    import cv2

    image = cv2.imread(str(path)) if path.is_file() else None
    if image is None:
        return
    if image.shape[1] > WIDEST:
        height = round(image.shape[0] * WIDEST / image.shape[1])
        image = cv2.resize(image, (WIDEST, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    create_image_artifact(
        image_url=f"data:image/jpeg;base64,{base64.b64encode(bytes(data)).decode()}", key=key, description=about
    )


def link(key: str, address: str, text: str) -> None:
    """A link; a path of this machine becomes a file address."""
    address = address if "://" in address else Path(address).absolute().as_uri()
    create_link_artifact(link=address, link_text=text, key=key)


def event(name: str, **payload: Any) -> bool:
    """Tell the server that something happened, for the triggers of deployments; False where there is no server."""
    from sam3_agent.services import prefect_url

    if prefect_url() is None:
        get_run_logger().info("%s %s (no server to tell)", name, payload)
        return False
    from prefect.events import emit_event

    resource = {"prefect.resource.id": RESOURCE, "prefect.resource.name": "the data engine's loop"}
    emit_event(event=name, resource=resource, payload=payload)
    return True


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
