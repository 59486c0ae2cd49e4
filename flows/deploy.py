"""Flow `deploy`: the champion of the registry onto Triton, with a share of the traffic first; back by itself if worse.

    python -m flows.deploy                        # models:/<name>@champion, as configs/loop.yaml says

A version that was sent back is champion no longer: the registry returns to the one before, and says why.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from prefect import flow

from flows import shown
from flows.journal import alone
from flows.steps import alive, deploy_step, dethrone_step, package_step
from sam3.errors import BadInput


@flow(name="deploy", persist_result=True, result_serializer="json")
def deploy(
    model: str | None = None, share: float | None = None, seconds: float | None = None, backend: str = "auto"
) -> dict[str, Any]:
    """Package, prove and deploy.

    Args:
        model: checkpoint, graphs or models:/NAME@ALIAS; None: the champion.
        share, seconds: of the trial; None: as configs/loop.yaml says. backend: of the package.
    """
    from sam3_agent.loop_settings import load_loop
    from sam3_agent.promotion.aliases import standing
    from sam3_agent.tracking.mlflow_store import Store

    name = load_loop().promotion.name
    with alive(), alone("deploy", patience=3600):
        champion = standing(Store(), name).champion if model is None else None
        if model is None and champion is None:
            raise BadInput(f"{name}: no champion in the registry. Make one: python -m flows.retrain", field="model")
        chosen = model or f"models:/{name}/{champion}"
        version = package_step(chosen, backend)
        row = deploy_step(version, share, seconds, champion)
        if row["state"] == "back":
            shown.event("sam3-agent.rolled-back", version=version, reasons=row["reasons"])
            if champion is not None:
                row["registry"] = dethrone_step(champion, " ".join(row["reasons"]))
        elif row["state"] == "fine":
            shown.event("sam3-agent.deployed", version=version)
        return {"version": version, **row}


def main(
    model: Annotated[str | None, typer.Option(help="What to deploy; the champion when left out.")] = None,
    share: Annotated[float | None, typer.Option(help="Of the traffic, while it is tried; 0: no trial.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of the trial.")] = None,
) -> None:
    """Run the flow here."""
    row = deploy(model, share, seconds)
    print(f"version {row['version']}: {row['state']}", *row["reasons"], sep="\n  ")


if __name__ == "__main__":
    typer.run(main)
