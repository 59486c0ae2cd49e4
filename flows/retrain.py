"""Flow `retrain`: annotated batches into the data set, the pipeline, candidate against champion, a person, the registry.

    python -m flows.retrain                       # what is annotated and not merged yet; then the whole pipeline
    python -m flows.retrain --approve             # a person decides in the Prefect UI, within configs/loop.yaml: approval.hours

One training at a time: a second run waits for the first. Killed, it goes on: DVC runs what is not done, the training
goes on from its last step, measurements are kept, aliases are set once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow

from flows import shown
from flows.annotation_sync import ready_batches
from flows.journal import alone
from flows.knobs import turn_to
from flows.people import ask
from flows.pipeline import pipeline
from flows.steps import alive, crown_step, merge_step, pull_step, start_step, weigh_step
from sam3.files import read_json

DATASET = Path("data/dataset")
DAY = 86_400.0


@flow(name="retrain", persist_result=True, result_serializer="json")
def retrain(
    batches: list[str] | None = None, approve: bool | None = None, latency: int = 8, deploy_event: bool = True
) -> dict[str, Any]:
    """Retrain on what people corrected, and promote the result if it passes.

    Args:
        batches: annotated batches to merge first; None: all that are pulled and not merged; []: none.
        approve: ask a person before promoting; None: as configs/loop.yaml says.
        latency: pictures on which speed is compared.
        deploy_event: tell the server of a new champion, which starts the deployment `deploy`.
    """
    from sam3_agent.loop_settings import load_loop

    settings = load_loop()
    with alive(), alone("training", patience=DAY):
        names = waiting_batches() if batches is None else batches
        merged = [merge_step(name, str(DATASET), settings.promotion.hold_out) for name in names]
        hard = next((row["hard"] for row in reversed(merged) if row["hard"]), None)
        outcome = train_and_weigh(hard, latency)
        asked = settings.approval.required if approve is None else approve
        if outcome["passed"] and asked:
            question = "\n".join(["Promote the candidate?", *(f"- {reason}" for reason in outcome["reasons"])])
            answer = ask(question, settings.approval.hours, "promote")
            outcome["answer"] = {"approve": answer.approve, "by": answer.by, "comment": answer.comment}
            outcome["passed"] = answer.approve
        if outcome["passed"]:
            outcome |= crown_step()
            if deploy_event:
                shown.event("sam3-agent.promoted", version=outcome["promoted"])
    kept = ("passed", "reasons", "notes", "cgF1", "promoted", "previous", "answer")
    return {"merged": merged, **{name: outcome[name] for name in kept if name in outcome}}


def train_and_weigh(hard: str | None, latency: int) -> dict[str, Any]:
    """The pipeline on the data set there is, from the weights in use on, and its candidate against the champion."""
    if DATASET.is_dir():
        turn_to({"data.raw": str(DATASET)})
    turn_to({"train.start": start_step()})
    pipeline(".", retries=2, retry_delay=10.0)
    outcome = dict(weigh_step(hard, latency=latency))
    registered = read_json("reports/register.json")
    if outcome["passed"] and not registered["registered"]:
        outcome["passed"] = False
        outcome["reasons"] = [*outcome["reasons"], *registered["reasons"], "the pipeline's own gate refused it."]
    return outcome


def waiting_batches() -> list[str]:
    """Annotated batches with something that the data set does not have; without a Label Studio, those on disk."""
    from sam3_agent.annotation.pull import ANNOTATED
    from sam3_agent.annotation.studio import Studio

    try:
        Studio.load()
        deliveries = pull_step()["deliveries"]
    except Exception:  # none is configured or it is down: what is on disk may be merged
        deliveries = []
    known = {one["batch"] for one in deliveries}
    for facts in sorted(ANNOTATED.glob("[!.]*/batch.json")):
        if facts.parent.name not in known:
            deliveries.append({"batch": facts.parent.name, "states": read_json(facts).get("states", {})})
    return sorted(ready_batches(deliveries, DATASET))


def main(
    approve: Annotated[bool, typer.Option("--approve", help="Ask a person before promoting.")] = False,
    merge: Annotated[bool, typer.Option(help="Merge annotated batches first.")] = True,
) -> None:
    """Run the flow here."""
    outcome = retrain(None if merge else [], approve or None)
    print("promoted" if "promoted" in outcome else "the champion stays", *outcome["reasons"], sep="\n  ")


if __name__ == "__main__":
    typer.run(main)
