"""`sam3-agent predict`: the exported model on a few validation pictures, as `segment` shows them.

The last stage of the pipeline: what an application would get. Pictures are the first positives and the first
negative of the validation file, so a run always shows both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3_agent.params import load_params
from sam3_agent.segment import segment

POSITIVES, NEGATIVES = 2, 1


def predict(
    checkpoint: Annotated[str, typer.Option(help="Folder of exported graphs, or a checkpoint.")] = "models/export",
    pairs: Annotated[Path, typer.Option(help="SA-Co file to take pictures from.")] = Path("data/splits/val.json"),
    out: Annotated[Path, typer.Option(help="Folder for overlays and JSON.")] = Path("reports/predict"),
) -> None:
    """Segment the concept in a few validation pictures: table, overlays, JSON with COCO RLE."""
    params = load_params()
    images = Path(params.data.raw) / "images"
    for picture in sample(pairs):
        name = Path(picture).stem
        segment(
            params.concept,
            [images / picture],
            checkpoint=checkpoint,
            out=out / f"{name}.png",
            json_out=out / f"{name}.json",
        )


def sample(pairs: Path) -> list[str]:
    """File names of the first positives and negatives of a SA-Co file."""
    from sam3.files import read_json

    content = read_json(pairs)
    shown = {row["image_id"] for row in content["annotations"]}
    positives = [row["file_name"] for row in content["images"] if row["id"] in shown]
    negatives = [row["file_name"] for row in content["images"] if row["id"] not in shown]
    return positives[:POSITIVES] + negatives[:NEGATIVES]
