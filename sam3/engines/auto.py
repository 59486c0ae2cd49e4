"""`load_engine("auto")`: the fastest engine that this machine can run, and the reason.

python -c "from sam3.engines.auto import choose; print(choose('sam3-lite'))"
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choice:
    """What `auto` took.

    Attributes:
        name: of the engine. why: one sentence.
        checkpoint: what to load, which may be a folder of graphs made from the checkpoint asked for.
        device: where to run.
    """

    name: str
    why: str
    checkpoint: str | Path
    device: str | None = None


def choose(checkpoint: str | Path, device: str | None = None) -> Choice:
    """The fastest engine for a checkpoint."""
    if (Path(checkpoint) / "decoder.onnx").is_file():
        return Choice("onnx", "the folder holds exported graphs", checkpoint, device)
    return Choice("torch", "nothing was exported or built from this checkpoint", checkpoint, device)
