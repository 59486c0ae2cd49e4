"""`sam3-agent segment "chicken" farm.jpg` and `sam3-agent count`: a thing is named, not asked for.

The words go to the same agent as `ask`, so "the brown chickens left of the barn" works here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sam3_agent.ask import answered, leave, show, write_overlay

Concept = Annotated[str, typer.Argument(help='What to look for: "chicken", "the red cars on the left".')]
Pictures = Annotated[list[Path], typer.Argument(help="Pictures, in order.")]
Checkpoint = Annotated[str, typer.Option(help="Weights: a name, a checkpoint folder, or a folder of exported graphs.")]
EngineName = Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="Lower scores are not believed.")]
Out = Annotated[Path | None, typer.Option(help="Write the picture with masks and labels here.")]
JsonOut = Annotated[Path | None, typer.Option("--json", help="Write everything as JSON here, masks as COCO RLE.")]


def naming(verb: str, says: str) -> Callable[..., None]:
    """A command that carries out `verb` on a thing that is named; `says` is its help."""

    def carry_out(
        concept: Concept,
        pictures: Pictures,
        checkpoint: Checkpoint = "sam3-lite",
        engine: EngineName = "auto",
        threshold: Threshold = 0.5,
        out: Out = None,
        json_out: JsonOut = None,
    ) -> None:
        from sam3.files import write_json

        reply = answered(f"{verb} {concept}", pictures, checkpoint, engine, threshold)
        kept = write_overlay(reply, out) if out is not None and reply.results else []
        if json_out is not None:
            write_json(json_out, reply.to_json(), indent=1)
        show(reply, kept, threshold=threshold)
        leave(reply)

    carry_out.__name__, carry_out.__doc__ = verb, says
    return carry_out


segment = naming("segment", "Find and outline a thing in pictures. Exit status 3 where the thing is not understood.")
count = naming("count", "Count a thing in pictures. Exit status 3 where the thing is not understood.")
