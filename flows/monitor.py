"""Flow `monitor`: drift of the pictures and what people dislike; each alarm is an event that starts a mining run.

Emits `sam3-agent.drift` and `sam3-agent.feedback.burst`; limits are in configs/loop.yaml under monitoring and triggers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task

from flows import shown
from flows.steps import OPTIONS, alive
from sam3.files import write_json

SESSIONS = "sqlite:///sessions.db"


@flow(name="monitor", persist_result=True, result_serializer="json")
def monitor(
    current: str = "data/inbox", checkpoint: str = "sam3-lite", engine: str = "auto", sessions: str = SESSIONS
) -> dict[str, Any]:
    """Look once.

    Args:
        current: today's pictures: a folder, or the database of the service.
        checkpoint, engine: the model that looks. sessions: database with the ratings.
    """
    from sam3_agent.loop_settings import load_loop

    limits = load_loop().triggers
    with alive():
        found = drift_step(current, checkpoint, engine)
        down = feedback_step(sessions, limits.hours)
        if found["alarms"]:
            shown.event("sam3-agent.drift", alarms=found["alarms"])
        if down >= limits.thumbs_down:
            shown.event("sam3-agent.feedback.burst", thumbs_down=down, hours=limits.hours)
        return {"alarms": found["alarms"], "pictures": found["pictures"], "thumbs_down": down}


@task(**OPTIONS)
def drift_step(current: str, checkpoint: str, engine: str) -> dict[str, Any]:
    """Today's pictures against training: reports/drift.json."""
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.monitoring.drift import drift_of
    from sam3_agent.params import load_params

    images = Path(load_params().data.raw) / "images"
    settings = load_loop().monitoring
    found = drift_of(current, Path("data/splits/train.json"), images, checkpoint, engine, None, settings)
    write_json("reports/drift.json", found.to_json())
    shown.table("drift", [dict(row) for row in found.to_json()["tests"]], f"{found.pictures} pictures of today.")
    return found.to_json()


@task(**OPTIONS)
def feedback_step(sessions: str, hours: float) -> int:
    """Thumbs down in the last hours."""
    from sam3_agent.monitoring.ratings import thumbs_down

    return thumbs_down(sessions, hours)


if __name__ == "__main__":
    print(monitor())
