"""Flow `mine`: a batch of hard pictures out of the inbox, handed to Label Studio.

python -m flows.mine --budget 50        # with or without a Prefect server
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from prefect import flow

from flows.journal import alone
from flows.steps import alive, mine_step, push_step


@flow(name="mine", persist_result=True, result_serializer="json")
def mine(
    budget: int = 100,
    looks: int = 1000,
    checkpoint: str = "sam3-lite",
    engine: str = "auto",
    strategy: str = "value",
    sessions: str | None = None,
    push: bool = True,
) -> dict[str, Any]:
    """Mine a batch and push it.

    Args:
        budget: pictures to hand out at most. looks: pictures of the inbox to look at; 0: all.
        checkpoint, engine: the model; with "triton" the server that serves it.
        sessions: database of the agent's conversations, for thumbs-down.
        push: make tasks of it; False leaves the folder with LabelMe files.
    """
    from sam3_agent.params import load_params

    params = load_params()
    settings = {
        "inbox": params.data.inbox, "concept": params.concept, "budget": budget, "looks": looks,
        "checkpoint": checkpoint, "engine": engine, "strategy": strategy, "sessions": sessions,
    }  # fmt: skip
    with alive(), alone("mine", patience=3600):
        batch = mine_step(settings)
        return {**batch, "pushed": push_step(batch["folder"]) if push else None}


def main(
    budget: Annotated[int, typer.Option(help="Pictures to hand out at most.")] = 100,
    looks: Annotated[int, typer.Option(help="Pictures to look at; 0: all.")] = 1000,
    checkpoint: Annotated[str, typer.Option(help="Weights.")] = "sam3-lite",
    push: Annotated[bool, typer.Option(help="Make tasks in Label Studio.")] = True,
) -> None:
    """Run the flow here."""
    print(mine(budget, looks, checkpoint, push=push)["folder"])


if __name__ == "__main__":
    typer.run(main)
