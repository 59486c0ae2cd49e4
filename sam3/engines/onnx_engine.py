"""The ONNX Runtime engine: three exported graphs, no PyTorch, CPU or CUDA.

The provider asked for is the provider that runs, or an error: ONNX Runtime's silent fall-back is turned off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam3.engines.prompts import pad_boxes, paired, phrase_of
from sam3.errors import BadCheckpoint, Unavailable
from sam3.files import read_json
from sam3.pixels import check_image, from_model, to_model
from sam3.tokenizer import Tokenizer
from sam3.types import Detections, Prompt, UInt8Array

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass
class Embedding:
    """An encoded image; opaque to callers."""

    levels: tuple[np.ndarray, ...]
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory it holds, for caches that count."""
        return sum(level.nbytes for level in self.levels)


class OnnxEngine:
    """`encode` and `ground` on exported graphs.

    Args:
        folder: holds image_encoder.onnx, text_encoder.onnx, decoder.onnx, tokenizer.json, export.json.
        provider: "cpu" or "cuda".
        threads: CPU threads of ONNX Runtime, 0 for all.
    """

    name = "onnx"

    def __init__(
        self,
        folder: Path,
        *,
        provider: str = "cpu",
        threshold: float = 0.5,
        batch: int = 16,
        threads: int = 0,
    ) -> None:
        record = read_json(folder / "export.json")
        self.folder, self.threshold, self.batch = folder, threshold, batch
        self.image_size, self.sha256 = int(record["image_size"]), str(record["sha256"])
        self.tokenizer = Tokenizer.load(folder)
        self.image_encoder = open_session(folder / "image_encoder.onnx", provider, threads)
        self.text_encoder = open_session(folder / "text_encoder.onnx", provider, threads)
        self.decoder = open_session(folder / "decoder.onnx", provider, threads)
        self._levels = [output.name for output in self.image_encoder.get_outputs()]
        self._words: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}

    @classmethod
    def load(cls, checkpoint: str | Path, *, device: str | None = None, threshold: float = 0.5) -> OnnxEngine:
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
        return cls(folder, provider=provider, threshold=threshold)

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each."""
        arrays = [check_image(image) for image in images]
        out: list[Embedding] = []
        for start in range(0, len(arrays), self.batch):
            group = arrays[start : start + self.batch]
            pixels = np.stack([to_model(image, self.image_size) for image in group])
            levels = self.image_encoder.run(self._levels, {"pixels": pixels})
            out += [Embedding(tuple(x[at : at + 1] for x in levels), image.shape[:2]) for at, image in enumerate(group)]
        return out

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        groups = paired(embeddings, prompts, self.batch)
        return [found for held, asked in groups for found in self._ground(held, asked)]

    def _ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        longest = max(text.shape[0] for text, _ in held)
        text = np.zeros((len(held), longest, held[0][0].shape[1]), np.float32)
        mask = np.zeros((len(held), longest), bool)
        for at, (features, _) in enumerate(held):
            text[at, : len(features)], mask[at, : len(features)] = features, True
        boxes, labels, warnings = pad_boxes([item.size for item in embeddings], prompts)
        if not boxes.shape[1]:  # the graph wants one box; a padding box is no box
            boxes, labels = (
                np.full((len(held), 1, 4), 0.5, np.float32),
                np.full((len(held), 1), -10, np.int64),
            )
        feed = {"text": text, "text_mask": mask, "boxes": boxes, "box_labels": labels}
        for at, name in enumerate(self._levels):
            feed[name] = np.concatenate([item.levels[at] for item in embeddings])
        logits, found, presence, masks = self.decoder.run(["logits", "boxes_out", "presence", "masks"], feed)
        return [
            from_model(
                logits[at],
                found[at],
                float(presence[at]),
                lambda kept, at=at: masks[at][kept],  # type: ignore[misc]
                item.size,
                threshold=self.threshold,
                warnings=(*held[at][1], *warnings[at]),
            )
            for at, item in enumerate(embeddings)
        ]

    def _encode_phrase(self, phrase: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """(T, d) features of one phrase, kept for ever: text is encoded once."""
        if phrase not in self._words:
            tokens = self.tokenizer.encode([phrase])
            [features] = self.text_encoder.run(["text"], {"ids": tokens.ids, "mask": tokens.mask})
            self._words[phrase] = (features[0], tokens.warnings)
        return self._words[phrase]


def open_session(path: Path, provider: str, threads: int) -> Any:
    """An ONNX Runtime session on exactly one provider.

    Raises:
        BadCheckpoint: no such graph, or not one. Unavailable: the provider cannot run here.
    """
    import onnxruntime as ort

    if not path.is_file():
        raise BadCheckpoint(f"{path}: missing. Export the checkpoint again with --component all.")
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise Unavailable(
            f"{wanted} is not in this ONNX Runtime. Install onnxruntime-gpu, or use device cpu.",
            field="device",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:  # ONNX Runtime's own exception types are private
        raise BadCheckpoint(f"{path}: ONNX Runtime cannot load it ({str(error)[:160]}). Export it again.") from error
    if session.get_providers()[0] != wanted:
        raise Unavailable(f"{wanted} did not start; ONNX Runtime offered {session.get_providers()[0]}.", field="device")
    return session
