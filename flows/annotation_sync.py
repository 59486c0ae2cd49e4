"""Flow `annotation_sync`: what people have finished comes home; enough of it starts a retraining.

Emits `sam3-agent.annotations` at every change, and `sam3-agent.annotations.enough` once the settled pictures that are not
in the data set yet reach `triggers.annotations` of configs/loop.yaml. Pulling is idempotent: cron and webhook may both come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows import shown
from flows.steps import alive, pull_step

SETTLED = ("positive", "negative")


@flow(name="annotation_sync", persist_result=True, result_serializer="json")
def annotation_sync(batch: str | None = None, dataset: str = "data/dataset") -> dict[str, Any]:
    """Pull finished work, of one batch or of all."""
    from sam3_agent.loop_settings import load_loop

    wanted = load_loop().triggers.annotations
    with alive():
        report = pull_step(batch)
        ready = ready_batches(report["deliveries"], Path(dataset))
        total = sum(ready.values())
        if report["changed"]:
            shown.event("sam3-agent.annotations", new=report["new"], ready=total)
        if total >= wanted:
            shown.event("sam3-agent.annotations.enough", ready=total, batches=sorted(ready))
        return {**report, "ready": ready, "enough": total >= wanted}


def ready_batches(deliveries: list[dict[str, Any]], dataset: Path) -> dict[str, int]:
    """Batch -> settled pictures that the data set does not have yet; batches without any are left out."""
    from sam3_agent.dataset_versions.facts import read_lineage

    merged: dict[str, int] = {}
    for row in read_lineage(dataset) if dataset.is_dir() else ():
        merged[row["batch"]] = merged.get(row["batch"], 0) + 1
    found = {}
    for one in deliveries:
        settled = sum(int(one["states"].get(state, 0)) for state in SETTLED)
        left = settled - merged.get(one["batch"], 0)
        if left > 0:
            found[one["batch"]] = left
    return found


if __name__ == "__main__":
    print(annotation_sync()["ready"])
