"""What a version must show before it takes the traffic: it answers smoke pictures, and as its own graphs do.

The served candidate is held against the in-process ONNX engine on the same files by the gate of every engine
(`sam3.eval.parity`): presence, scores, boxes and masks of every query, not only of those above a threshold. So are, on
one picture, the parts asked from outside (`sam3` may run them in its own process) and a frame of `sam3_video`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import OUTPUTS, TritonEngine, detections_of
from sam3.errors import BadCheckpoint
from sam3.eval.parity import Asked, Limits, compare, judge
from sam3.files import read_json
from sam3.images import picture_files, read_image
from sam3.triton.client import Connection, texts
from sam3.triton.grounding import GRAPHS, Embedding, Grounder, Pair
from sam3.types import Detections, Prompt, UInt8Array
from sam3_agent.serving.live import Live
from sam3_agent.serving.model_configs import PARTS, VIDEO, WHOLE

PICTURES = Path("data/demo")
PHRASES = ("chicken", "a person in a red coat", "duck")
SIDE = 640  # pixels
DEADLINE = 300.0  # seconds; a first run on a GPU may compile
LIMITS = Limits(presence=0.02)  # of other kernels or reduced precision; the same runtime must be exact


def smoke_pictures(folder: Path = PICTURES) -> list[UInt8Array]:
    """The pictures of a folder (at most 4, scaled down to `SIDE`), and always two drawn ones of odd sizes."""
    drawn = np.indices((97, 131)).sum(0)[..., None] * np.array([1, 2, 3])
    noise = np.random.default_rng(0).integers(0, 255, (64, 200, 3), np.uint8)
    files = picture_files(folder)[:4]
    return [*(_at_most(read_image(path), SIDE) for path in files), drawn.astype(np.uint8), noise]


def _at_most(image: UInt8Array, side: int) -> UInt8Array:
    """The picture with its longer side at `side` pixels or less: masks of all queries are compared at its size."""
    from PIL import Image

    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return np.asarray(small)


def check_version(
    address: str, names: Mapping[str, str], live: Live, version: int, backend: str, pictures: Sequence[UInt8Array]
) -> None:
    """Ask a served version about every picture and hold it against its graphs.

    Args:
        names: model -> the name it is served under.

    Raises:
        BadCheckpoint: its answers are not those of its graphs. Unavailable: no answer in time.
    """
    asked: list[Asked] = [(image, [Prompt(phrase) for phrase in PHRASES]) for image in pictures]
    served = TritonEngine(address, deadline=DEADLINE, model=names[WHOLE])
    try:
        with tempfile.TemporaryDirectory() as work:
            reference = OnnxEngine(graphs_in(live, version, Path(work)))
            size = int(read_json(Path(work) / "export.json")["image_size"])
        telling = [most_told(reference, asked)]
        others: list[tuple[str, Any, Any]] = [
            (WHOLE, served, asked),
            ("the parts", PartsAsked(served.connection, names, reference, size), telling),
            (VIDEO, FramesAsked(served.connection, names[VIDEO]), telling),
        ]
        for who, engine, questions in others:
            parity = compare(reference, engine, questions, threshold=0.0)
            if reasons := judge(parity, exact=backend == "python", limits=LIMITS):
                raise BadCheckpoint(
                    f"parity gate: {who} of version {version}: not what its own graphs say: {'; '.join(reasons)}. "
                    "Not deployed."
                )
    finally:
        served.close()


def most_told(reference: Any, asked: Sequence[Asked]) -> Asked:
    """The question with the most masks in its answer: on noise, a model that was well trained draws none."""
    before, reference.threshold = reference.threshold, 0.0

    def masks(question: Asked) -> int:
        image, prompts = question
        [held] = reference.encode([image])
        return sum(int(found.masks.any((1, 2)).sum()) for found in reference.ground([held] * len(prompts), prompts))

    try:
        return max(asked, key=masks)
    finally:
        reference.threshold = before


class PartsAsked:
    """An engine over the served parts, asked one by one as by whoever uses them directly.

    Args:
        reference: the engine on the same graphs, for its tokenizer and the number of its levels.
        image_size: side of the square that the image encoder takes, pixels.
    """

    threshold = 0.5

    def __init__(
        self, connection: Connection, names: Mapping[str, str], reference: OnnxEngine, image_size: int
    ) -> None:
        self.connection, self.names = connection, names
        levels = len(reference.parts["fine_levels"].get_outputs()) + 1
        self.grounder = Grounder(
            self._ask,
            reference.tokenizer,
            image_size=image_size,
            levels=levels,
            image_bytes=0,
            text_bytes=0,
            batch=len(PHRASES),
        )

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each."""
        return list(self.grounder.embed({str(at): image for at, image in enumerate(images)}).values())

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        pairs = zip(embeddings, prompts, strict=True)
        return self.grounder.ground([Pair(embedding, prompt, self.threshold) for embedding, prompt in pairs])

    def _ask(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        model = self.names[PARTS[graph]]
        return self.connection.run(self.connection.infer(model, inputs, outputs, deadline=DEADLINE))


class FramesAsked:
    """An engine over the served video model: each picture is a stream of one frame."""

    threshold = 0.5
    stream = 1

    def __init__(self, connection: Connection, model: str) -> None:
        self.connection, self.model = connection, model

    def encode(self, images: Sequence[UInt8Array]) -> list[UInt8Array]:
        """The pictures themselves: a frame is sent with its phrases."""
        return list(images)

    def ground(self, embeddings: Sequence[UInt8Array], prompts: Sequence[Prompt]) -> list[Detections]:
        """All phrases on one picture."""
        image = embeddings[0]
        inputs = {
            "image": image[None],
            "phrases": texts([str(prompt.text) for prompt in prompts]),
            "threshold": np.array([[self.threshold]], np.float32),
        }
        sequence: dict[str, Any] = {"sequence_id": self.stream, "sequence_start": True, "sequence_end": True}
        ask = self.connection.infer(self.model, inputs, OUTPUTS, deadline=DEADLINE, **sequence)
        return detections_of(self.connection.run(ask), image.shape[:2])


def graphs_in(live: Live, version: int, work: Path) -> Path:
    """The files of a version that is in place, as the folder that the ONNX engine opens."""
    for graph in GRAPHS:
        (work / f"{graph}.onnx").symlink_to((live.folder / PARTS[graph] / str(version) / "model.onnx").resolve())
    for name in ("tokenizer.json", "export.json"):
        (work / name).symlink_to((live.folder / WHOLE / str(version) / name).resolve())
    return work
