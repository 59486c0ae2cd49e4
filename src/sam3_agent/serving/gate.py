"""What a version must show before it takes the traffic: it answers smoke pictures, and as its own graphs do.

The served candidate is held against the in-process ONNX engine on the same files: presence, scores, boxes and
masks of every query, not only of those above a threshold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import OUTPUTS, detections_of
from sam3.errors import BadCheckpoint
from sam3.images import read_image
from sam3.triton.client import Connection, texts
from sam3.triton.grounding import GRAPHS
from sam3.types import Detections, UInt8Array
from sam3_agent.serving.live import Live
from sam3_agent.serving.model_configs import PARTS, WHOLE

PICTURES = Path("data/demo")
PHRASES = ("chicken", "a person in a red coat", "duck")
DEADLINE = 300.0  # seconds; a first run on a GPU may compile


@dataclass(frozen=True)
class Tolerance:
    """Largest differences that pass: of presence and scores, of boxes as a share of the picture's longer side, and
    the share of mask pixels."""

    score: float
    box: float
    mask: float


TOLERANCES = {
    "python": Tolerance(1e-4, 1e-4, 1e-4),  # the same runtime
    "onnxruntime": Tolerance(2e-3, 2e-3, 2e-3),  # the same graph in other kernels
    "tensorrt": Tolerance(2e-2, 1e-2, 1e-2),  # reduced precision
}


def smoke_pictures(folder: Path = PICTURES) -> list[UInt8Array]:
    """The pictures of a folder (at most 4), and always two drawn ones of odd sizes."""
    drawn = np.indices((97, 131)).sum(0)[..., None] * np.array([1, 2, 3])
    noise = np.random.default_rng(0).integers(0, 255, (64, 200, 3), np.uint8)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:4]
    return [*(read_image(path) for path in files), drawn.astype(np.uint8), noise]


def check_version(
    address: str, model: str, live: Live, version: int, backend: str, pictures: Sequence[UInt8Array]
) -> float:
    """Ask a served model about every picture and hold it against its graphs; returns the largest score difference.

    Args:
        model: the name it is served under.

    Raises:
        BadCheckpoint: an answer differs by more than the backend's tolerance. Unavailable: no answer in time.
    """
    allowed, worst = TOLERANCES[backend], 0.0
    connection = Connection(address)
    try:
        with tempfile.TemporaryDirectory() as work:
            reference = OnnxEngine(graphs_in(live, version, Path(work)), threshold=0.0)
            for at, image in enumerate(pictures):
                inputs = {
                    "image": image[None],
                    "phrases": texts(PHRASES),
                    "threshold": np.zeros((1, 1), np.float32),
                }
                out = connection.run(connection.infer(model, inputs, OUTPUTS, deadline=DEADLINE))
                expected = expect(reference, image)
                for phrase, one, other in zip(PHRASES, detections_of(out, image.shape[:2]), expected, strict=True):
                    worst = max(worst, difference(f"picture {at}, {phrase!r}", one, other, allowed))
    finally:
        connection.close()
    return worst


def expect(reference: OnnxEngine, image: UInt8Array) -> list[Detections]:
    """The in-process answers."""
    from sam3.types import Prompt

    return reference.ground(reference.encode([image]) * len(PHRASES), [Prompt(phrase) for phrase in PHRASES])


def difference(what: str, one: Detections, other: Detections, allowed: Tolerance) -> float:
    """Largest difference of presence and scores.

    Raises:
        BadCheckpoint: it, or that of boxes or masks, is more than is allowed; or the counts differ.
    """
    score = abs(one.presence - other.presence)
    if len(one) == len(other) and len(one):
        score = max(score, float(np.abs(one.scores - other.scores).max()))
        side = max(one.masks.shape[1:])
        box = float(np.abs(one.boxes - other.boxes).max()) / side
        mask = float((one.masks != other.masks).mean())
    else:
        box = mask = 0.0 if len(one) == len(other) else 1.0
    if not (score <= allowed.score and box <= allowed.box and mask <= allowed.mask):
        raise BadCheckpoint(
            f"parity gate: {what}: differs from its own graphs by {score:.2g} in score, {box:.2g} in boxes, "
            f"{mask:.2g} of mask pixels; allowed {allowed.score:g}, {allowed.box:g}, {allowed.mask:g}. Not deployed."
        )
    return score


def graphs_in(live: Live, version: int, work: Path) -> Path:
    """The files of a version that is in place, as the folder that the ONNX engine opens."""
    for graph in GRAPHS:
        (work / f"{graph}.onnx").symlink_to((live.folder / PARTS[graph] / str(version) / "model.onnx").resolve())
    for name in ("tokenizer.json", "export.json"):
        (work / name).symlink_to((live.folder / WHOLE / str(version) / name).resolve())
    return work
