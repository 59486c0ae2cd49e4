"""Flow `loop`: mine, have it corrected, merge, retrain, compare, ask, promote, deploy; and again.

    python -m flows.loop --turns 2             # with or without a Prefect server

Each turn has a journal, outputs/loop/turn-001.json: what is in it is not done again. Killed at any moment and started
again, by hand or by `flows.worker`, the loop goes on with the turn that is not finished.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger

from flows import shown
from flows.journal import Journal, alone
from flows.people import ask
from flows.retrain import DATASET, DAY, train_and_weigh
from flows.steps import (
    alive,
    crown_step,
    deploy_step,
    dethrone_step,
    merge_step,
    mine_step,
    package_step,
    pull_step,
    push_step,
)
from sam3.errors import Unavailable
from sam3.files import read_json

PLACE = Path("outputs/loop")
DONE = "done"


@flow(name="loop", persist_result=True, result_serializer="json")
def loop(
    turns: int = 1,
    budget: int = 100,
    looks: int = 1000,
    strategy: str = "value",
    fill: bool = True,
    annotate: str = "label-studio",
    wait_hours: float = 72.0,
    poll_seconds: float = 60.0,
    approve: bool | None = None,
    serve: bool = True,
    share: float | None = None,
    seconds: float | None = None,
    latency: int = 8,
) -> list[dict[str, Any]]:
    """Turn the loop.

    Args:
        turns: to finish in this run.
        budget, looks, strategy: of mining. fill: the budget is used up, with the best of the rest if need be.
        annotate: "label-studio", or "labelme": people correct the LabelMe files of the batch in place and say so with
            an empty file named `finished` in it.
        wait_hours: for people; what is finished by then is taken. poll_seconds: between looks.
        approve: ask before promoting; None: as configs/loop.yaml says.
        serve: mine with and deploy to Triton; False: with the champion's weights in process, and no deployment.
        share, seconds: of the trial of a new version. latency: pictures on which speed is compared.
    """
    mining = {"budget": budget, "looks": looks, "strategy": strategy, "fill": fill}
    with alive() as run, alone("loop", patience=60):
        mine_of_this_run = Journal(PLACE / f"run-{run}.json")
        for number in range(1, turns + 1):
            turn = mine_of_this_run.once(f"turn {number}", next_turn)
            journal = Journal(PLACE / f"turn-{turn:03d}.json")
            one_turn(
                turn, journal, mining, annotate=annotate, patience=(wait_hours, poll_seconds), approve=approve,
                trial=(share, seconds) if serve else None, latency=latency,
            )  # fmt: skip
        outcomes = [summary(turn) for turn in mine_of_this_run.steps.values()]
    shown.table("loop-turns", outcomes, "The loop, turn by turn.")
    return outcomes


def one_turn(
    turn: int,
    journal: Journal,
    mining: dict[str, Any],
    *,
    annotate: str,
    patience: tuple[float, float],
    approve: bool | None,
    trial: tuple[float | None, float | None] | None,
    latency: int,
) -> None:
    """One turn, from what the journal has on; see the arguments of `loop`."""
    from sam3_agent.loop_settings import load_loop

    settings = load_loop()
    if DONE in journal.steps:
        return
    model = journal.once("model", lambda: looking_with(trial is not None))
    batch = journal.once("mine", lambda: mine_step(mining | model | inbox(), f"turn-{turn:03d}"))
    if annotate == "label-studio":
        journal.once("push", lambda: push_step(batch["folder"]))
    journal.once("annotated", lambda: wait_for_people(batch, annotate, *patience))
    with alone("training", patience=DAY):
        merged = journal.once("merge", lambda: merge_step(batch["name"], str(DATASET), settings.promotion.hold_out))
        weighed = journal.once("retrain", lambda: _weighed(merged["hard"], latency))
    if weighed["passed"] and (settings.approval.required if approve is None else approve):
        answer = journal.once("approval", lambda: _asked(weighed, settings.approval.hours, turn))
        weighed = {**weighed, "passed": answer["approve"]}
    if weighed["passed"]:
        crowned = journal.once("promote", crown_step)
        if trial is not None:
            deployed = journal.once("deploy", lambda: _deployed(settings.promotion.name, crowned["promoted"], trial))
            if deployed["state"] == "back":
                journal.once("dethrone", lambda: dethrone_step(crowned["promoted"], " ".join(deployed["reasons"])))
    journal.once(DONE, lambda: round(time.time()))


def next_turn() -> int:
    """The turn that is not finished, or a new one."""
    numbers = sorted(int(path.stem.removeprefix("turn-")) for path in PLACE.glob("turn-*.json"))
    unfinished = [number for number in numbers if DONE not in read_json(PLACE / f"turn-{number:03d}.json")]
    return unfinished[0] if unfinished else (numbers[-1] + 1 if numbers else 1)


def looking_with(served: bool) -> dict[str, str]:
    """The model that mines: the one that is served, or the champion's weights, or the starter's."""
    if served:
        from sam3_agent.serving.control import server_address

        return {"engine": "triton", "checkpoint": server_address()}
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.promote import champion_weights

    checkpoint, _ = champion_weights(load_loop().promotion.name, "", PLACE / "weights")
    return {"engine": "auto", "checkpoint": checkpoint}


def inbox() -> dict[str, str]:
    """Where to mine, for what, and who disliked which answers."""
    from sam3_agent.params import load_params

    params = load_params()
    disliked = {"sessions": "sqlite:///sessions.db"} if Path("sessions.db").is_file() else {}
    return {"inbox": params.data.inbox, "concept": params.concept, **disliked}


def wait_for_people(batch: dict[str, Any], how: str, hours: float, every: float) -> dict[str, Any]:
    """Until a batch is finished, or the time is up: then what there is counts.

    Raises:
        Unavailable: nobody has finished anything in that time.
    """
    end, log = time.time() + hours * 3600, get_run_logger()
    while True:
        left, settled = _finished(batch, how)
        if left == 0 or time.time() >= end:
            break
        log.info("%s: %s tasks are open", batch["name"], left)
        time.sleep(every)
    if not settled:
        raise Unavailable(f"{batch['name']}: nobody has finished a picture within {hours:g} h. Run the loop again.")
    return {"open": left, "settled": settled}


def _finished(batch: dict[str, Any], how: str) -> tuple[int, int]:
    """Open tasks of a batch, and pictures with something said about them."""
    if how == "labelme":
        from sam3_agent.annotation.accept import accept

        folder = Path(batch["folder"])
        if not (folder / "finished").is_file():
            return int(batch["pictures"]), 0
        done = accept(folder / "images", folder, annotator="labelme")
        return 0, sum(done.states.values())
    report = pull_step(batch["name"])
    [one] = [row for row in report["deliveries"] if row["batch"] == batch["name"]]
    return int(one["waiting"]), sum(one["states"].values())


def _weighed(hard: str | None, latency: int) -> dict[str, Any]:
    outcome = train_and_weigh(hard, latency)
    return {name: outcome[name] for name in ("passed", "reasons", "notes", "cgF1", "candidate", "champion")}


def _asked(weighed: dict[str, Any], hours: float, turn: int) -> dict[str, Any]:
    question = "\n".join([f"Promote the candidate of turn {turn}?", *(f"- {reason}" for reason in weighed["reasons"])])
    answer = ask(question, hours, f"promote-{turn}")
    return {"approve": answer.approve, "by": answer.by, "comment": answer.comment}


def _deployed(name: str, champion: int, trial: tuple[float | None, float | None]) -> dict[str, Any]:
    version = package_step(f"models:/{name}/{champion}")
    return {"package": version, **deploy_step(version, *trial, champion)}


def summary(turn: int) -> dict[str, Any]:
    """A row of the table."""
    steps = read_json(PLACE / f"turn-{turn:03d}.json")
    weighed, mined = steps.get("retrain", {}), steps.get("mine", {})
    figures = weighed.get("cgF1", {}).get("validation", {})
    return {
        "turn": turn,
        "pictures": mined.get("pictures"),
        "data": steps.get("merge", {}).get("version"),
        "champion cgF1": figures.get("champion"),
        "candidate cgF1": figures.get("candidate"),
        "promoted": steps.get("promote", {}).get("promoted"),
        "deployed": steps.get("deploy", {}).get("state"),
    }


def main(
    turns: Annotated[int, typer.Option(min=1, help="Turns to finish.")] = 1,
    budget: Annotated[int, typer.Option(help="Pictures to hand out a turn.")] = 100,
    looks: Annotated[int, typer.Option(help="Pictures of the inbox to look at a turn; 0: all.")] = 1000,
    serve: Annotated[bool, typer.Option(help="Mine with Triton and deploy to it.")] = True,
    approve: Annotated[bool, typer.Option("--approve", help="Ask a person before promoting.")] = False,
) -> None:
    """Run the flow here."""
    for row in loop(turns, budget, looks, serve=serve, approve=approve or None):
        print(row)


if __name__ == "__main__":
    typer.run(main)
