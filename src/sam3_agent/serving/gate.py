"""What a version must show before it takes the traffic: it answers smoke pictures, and as its own graphs do.

The served candidate is held against the in-process ONNX engine on the same files by the gate of every engine
(`sam3.eval.parity`): presence, scores, boxes and masks of every query, not only of those above a threshold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import TritonEngine
from sam3.errors import BadCheckpoint
from sam3.eval.parity import Limits, compare, judge
from sam3.images import read_image
from sam3.triton.grounding import GRAPHS
from sam3.types import Prompt, UInt8Array
from sam3_agent.serving.live import Live
from sam3_agent.serving.model_configs import PARTS, WHOLE

PICTURES = Path("data/demo")
PHRASES = ("chicken", "a person in a red coat", "duck")
SIDE = 640  # pixels
DEADLINE = 300.0  # seconds; a first run on a GPU may compile
LIMITS = Limits(presence=0.02)  # of other kernels or reduced precision; the same runtime must be exact


def smoke_pictures(folder: Path = PICTURES) -> list[UInt8Array]:
    """The pictures of a folder (at most 4, scaled down to `SIDE`), and always two drawn ones of odd sizes."""
    drawn = np.indices((97, 131)).sum(0)[..., None] * np.array([1, 2, 3])
    noise = np.random.default_rng(0).integers(0, 255, (64, 200, 3), np.uint8)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:4]
    return [*(_at_most(read_image(path), SIDE) for path in files), drawn.astype(np.uint8), noise]


def _at_most(image: UInt8Array, side: int) -> UInt8Array:
    """The picture with its longer side at `side` pixels or less: masks of all queries are compared at its size."""
    from PIL import Image

    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return np.asarray(small)


def check_version(
    address: str, model: str, live: Live, version: int, backend: str, pictures: Sequence[UInt8Array]
) -> None:
    """Ask a served model about every picture and hold it against its graphs.

    Args:
        model: the name it is served under.

    Raises:
        BadCheckpoint: its answers are not those of its graphs. Unavailable: no answer in time.
    """
    asked = [(image, [Prompt(phrase) for phrase in PHRASES]) for image in pictures]
    served = TritonEngine(address, deadline=DEADLINE, model=model)
    try:
        with tempfile.TemporaryDirectory() as work:
            reference = OnnxEngine(graphs_in(live, version, Path(work)))
            parity = compare(reference, served, asked, threshold=0.0)
    finally:
        served.close()
    if reasons := judge(parity, exact=backend == "python", limits=LIMITS):
        raise BadCheckpoint(
            f"parity gate: it does not say what its own graphs say: {'; '.join(reasons)}. Not deployed."
        )


def graphs_in(live: Live, version: int, work: Path) -> Path:
    """The files of a version that is in place, as the folder that the ONNX engine opens."""
    for graph in GRAPHS:
        (work / f"{graph}.onnx").symlink_to((live.folder / PARTS[graph] / str(version) / "model.onnx").resolve())
    for name in ("tokenizer.json", "export.json"):
        (work / name).symlink_to((live.folder / WHOLE / str(version) / name).resolve())
    return work
