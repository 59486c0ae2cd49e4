"""Options that the verbs `track` and `stream` share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

BudgetMs = Annotated[float | None, typer.Option(help="Look less often so that a frame takes this on average.")]
Method = Annotated[
    str,
    typer.Option(help="carry (any checkpoint), memory (published weights) or triton (its address as --checkpoint)."),
]
Checkpoint = Annotated[str, typer.Option(help="Weights: a name or a folder.")]
EngineName = Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="Score from which a new thing is believed.")]
