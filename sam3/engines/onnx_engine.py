"""The ONNX Runtime engine: three exported graphs, no PyTorch, CPU or CUDA.

The provider asked for is the provider that runs, or an error: ONNX Runtime's silent fall-back is turned off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sam3.engines.answer import Answer, ground_in_batches
from sam3.engines.prompts import pad_boxes, phrase_of
from sam3.errors import BadCheckpoint, Unavailable
from sam3.export.cut import parts, read_record
from sam3.pixels import check_image, to_model
from sam3.tokenizer import Tokenizer
from sam3.types import Detections, FloatArray, Prompt, UInt8Array

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

SPIN = 30  # microseconds: a tenth faster than none, and no slower where processes or threads share the cores


@dataclass
class Embedding:
    """An encoded image; opaque to callers.

    Attributes:
        trunk: (1, D, H, W), from which the fine levels are made when there is something to draw.
        level: (1, d, H, W), what the DETR sees. started: (1, N, d), where it goes on from.
        fine: the finer levels, once somebody needed them.
    """

    trunk: np.ndarray
    level: np.ndarray
    started: np.ndarray
    size: tuple[int, int]
    fine: tuple[np.ndarray, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Memory it holds, for caches that count."""
        held = (self.trunk, self.level, self.started, *(self.fine or ()))
        return sum(array.nbytes for array in held)


class OnnxEngine:
    """`encode` and `ground` on exported graphs.

    The graphs are cut where the export left names (`sam3.export.graphs.CUTS`): what needs no prompt runs once an
    image, and masks are drawn only of queries above the threshold, of images that have some.

    Args:
        folder: holds image_encoder.onnx, text_encoder.onnx, decoder.onnx (or all five parts), tokenizer.json, export.json.
        provider: "cpu" or "cuda".
        threads: CPU threads of ONNX Runtime, 0 for all.
    """

    name = "onnx"
    dtype = "float32"

    def __init__(
        self,
        folder: Path,
        *,
        provider: str = "cpu",
        threshold: float = 0.5,
        batch: int = 16,
        threads: int = 0,
    ) -> None:
        record = read_record(folder)
        self.folder, self.threshold, self.batch = folder, threshold, batch
        self.image_size, self.sha256 = int(record["image_size"]), str(record["sha256"])
        self.dtype = str(record.get("dtype", "float32"))
        self.tokenizer = Tokenizer.load(folder)
        self.parts = open_parts(folder, provider, threads)
        self._words: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}

    @classmethod
    def load(
        cls, checkpoint: str | Path, *, device: str | None = None, threshold: float = 0.5, threads: int = 0
    ) -> OnnxEngine:
        """From a folder of exported graphs.

        Raises:
            BadCheckpoint: a graph is missing; the message says how to export.
        """
        folder = Path(checkpoint)
        if not (folder / "export.json").is_file():
            raise BadCheckpoint(
                f"{checkpoint}: no exported graphs there. Make them: "
                f"python sam3/export/export_onnx.py --checkpoint {checkpoint} --component all --output models/export"
            )
        provider = (device or "cpu").split(":")[0]
        if provider not in PROVIDERS:
            raise Unavailable(f"device {device}: the onnx engine runs on {' or '.join(PROVIDERS)}.", field="device")
        return cls(folder, provider=provider, threshold=threshold, threads=threads)

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each."""
        arrays = [check_image(image) for image in images]
        out: list[Embedding] = []
        for start in range(0, len(arrays), self.batch):
            group = arrays[start : start + self.batch]
            pixels = np.stack([to_model(image, self.image_size) for image in group])
            trunk, level, started = self.parts["image_encoder"].run(None, {"pixels": pixels})
            for at, image in enumerate(group):
                one = slice(at, at + 1)
                out.append(Embedding(trunk[one], level[one], started[one], image.shape[:2]))
        return out

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        return ground_in_batches(self.answer, embeddings, prompts, self.batch, self.threshold)

    def answer(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> Answer:
        """Every query of one batch of pairs."""
        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        longest = max(text.shape[0] for text, _ in held)
        text = np.zeros((len(held), longest, held[0][0].shape[1]), np.float32)
        mask = np.zeros((len(held), longest), bool)
        for at, (features, _) in enumerate(held):
            text[at, : len(features)], mask[at, : len(features)] = features, True
        sizes = [item.size for item in embeddings]
        boxes, labels, warnings = pad_boxes(sizes, prompts)
        if not boxes.shape[1]:  # the graph wants one box; a padding box is no box
            boxes, labels = np.full((len(held), 1, 4), 0.5, np.float32), np.full((len(held), 1), -10, np.int64)
        feed = {"text": text, "text_mask": mask, "boxes": boxes, "box_labels": labels}
        feed["started"] = np.concatenate([item.started for item in embeddings])
        feed[self._coarsest] = np.concatenate([item.level for item in embeddings])
        logits, corners, presence, queries, encoded = self.parts["decoder"].run(None, feed)

        def draw(pairs: Sequence[int], wanted: Sequence[np.ndarray]) -> list[FloatArray]:
            return [
                self._draw(embeddings[at], queries[at][index], encoded[at])
                for at, index in zip(pairs, wanted, strict=True)
            ]

        said = [(*words[1], *more) for words, more in zip(held, warnings, strict=True)]
        return Answer(logits, corners, presence, draw, sizes, said)

    def features(self, embedding: Embedding) -> FloatArray:
        """float32 (d, H, W): the level that the DETR sees."""
        return embedding.level[0]

    @cached_property
    def _coarsest(self) -> str:
        return next(item.name for item in self.parts["decoder"].get_inputs() if item.name.startswith("level_"))

    def _draw(self, embedding: Embedding, queries: np.ndarray, encoded: np.ndarray) -> FloatArray:
        """Masks (n, h, w) of the queries (n, d) of one pair."""
        if embedding.fine is None:
            embedding.fine = tuple(self.parts["fine_levels"].run(None, {"trunk": embedding.trunk}))
        feed = {"queries": queries[None], "encoded": encoded[None]}
        feed |= {f"level_{at}": level for at, level in enumerate(embedding.fine)}
        [rows] = self.parts["mask_head"].run(None, feed)
        return rows[0].reshape(len(queries), *embedding.fine[0].shape[-2:])

    def _encode_phrase(self, phrase: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """(T, d) features of one phrase, kept for ever: text is encoded once."""
        if phrase not in self._words:
            tokens = self.tokenizer.encode([phrase])
            [features] = self.parts["text_encoder"].run(["text"], {"ids": tokens.ids, "mask": tokens.mask})
            self._words[phrase] = (features[0], tokens.warnings)
        return self._words[phrase]


def open_parts(folder: Path, provider: str, threads: int) -> dict[str, Any]:
    """A session for each part of the graphs (`sam3.export.cut.parts`)."""
    return {name: open_session(model, f"{folder}: {name}", provider, threads) for name, model in parts(folder).items()}


def open_session(model: bytes, where: str, provider: str, threads: int) -> Any:
    """An ONNX Runtime session on exactly one provider.

    Raises:
        BadCheckpoint: not a graph. Unavailable: the provider cannot run here.
    """
    import onnxruntime as ort

    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise Unavailable(
            f"{wanted} is not in this ONNX Runtime. Install onnxruntime-gpu, or use device cpu.",
            field="device",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # threads that wait for the next operation must be found awake; longer, they would take the next part's processor
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN))
    try:
        session = ort.InferenceSession(model, options, providers=[wanted])
    except Exception as error:  # ONNX Runtime's own exception types are private
        raise BadCheckpoint(f"{where}: ONNX Runtime cannot load it ({str(error)[:160]}). Export it again.") from error
    if session.get_providers()[0] != wanted:
        raise Unavailable(f"{wanted} did not start; ONNX Runtime offered {session.get_providers()[0]}.", field="device")
    return session
