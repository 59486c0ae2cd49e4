"""The JAX engine: the detector of `sam3.flax`, compiled once per shape, on CPU, GPU or TPU, on one device or many.

    load_engine("jax", checkpoint="sam3-lite")                      # float32 on a CPU, bfloat16 elsewhere
    load_engine("jax", checkpoint="facebook/sam3", ahead=True)      # compiled before the first request

Batches are filled up to powers of two, so that few shapes exist. Every program is compiled ahead of its call and
kept in JAX's persistent cache (`SAM3_JAX_CACHE`, by default ~/.cache/sam3-agent/jax), which a second start reads.
Over several devices images and pairs are split along a mesh axis and the weights are on each (data parallel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam3.checkpoint import checkpoint_folder, weights_sha256
from sam3.engines.answer import Answer, distinct, ground_in_batches
from sam3.engines.prompts import pad_boxes, phrase_of
from sam3.errors import BadConfig, Unavailable
from sam3.pixels import check_image, to_model
from sam3.tokenizer import Tokenizer
from sam3.types import Detections, FloatArray, Prompt, UInt8Array

if TYPE_CHECKING:
    from sam3.flax.detector import Vision

DTYPES = ("float32", "bfloat16")


@dataclass
class Embedding:
    """An encoded image; opaque to callers."""

    vision: Vision
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory it holds, for caches that count."""
        return self.vision.level.nbytes + self.vision.started.nbytes + sum(x.nbytes for x in self.vision.prepared)


class JaxEngine:
    """`encode` and `ground` on JAX.

    Args:
        checkpoint: `sam3-lite`, `facebook/sam3` or a folder.
        devices: JAX devices; the batch is split over them.
        dtype: of weights and activations.
        threshold: instances below this score are left out.
        batch: images encoded, and pairs grounded, in one go.
    """

    name = "jax"

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        devices: Sequence[Any] | None = None,
        dtype: str = "float32",
        threshold: float = 0.5,
        batch: int = 16,
    ) -> None:
        import jax

        from sam3.flax.programs import Programs
        from sam3.flax.weights import load_detector

        folder = checkpoint_folder(checkpoint)
        self.threshold, self.batch = threshold, batch
        detector = load_detector(folder, dtype)
        self.config, self.dtype = detector.config, dtype
        self.image_size = detector.config.trunk.image_size
        self.tokenizer, self.sha256 = Tokenizer.load(folder), weights_sha256(folder)
        self.programs = Programs(detector, list(devices or jax.devices()[:1]))
        self._words: dict[str, tuple[Any, np.ndarray, tuple[str, ...]]] = {}

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        threshold: float = 0.5,
        dtype: str | None = None,
        ahead: bool = False,
    ) -> JaxEngine:
        """From a checkpoint's name or folder.

        Args:
            device: "cpu", "cuda", "tpu"; JAX's own choice when None.
            dtype: "float32" or "bfloat16"; by the device when None.
            ahead: compile for one image and one phrase now.

        Raises:
            Unavailable: JAX is not installed, or has no such device.
        """
        if dtype is not None and dtype not in DTYPES:
            raise BadConfig(f"dtype {dtype}: the jax engine knows {' and '.join(DTYPES)}.", field="dtype")
        devices = find_devices(device)
        chosen = dtype or ("float32" if devices[0].platform == "cpu" else "bfloat16")
        engine = cls(checkpoint, devices=devices[:1], dtype=chosen, threshold=threshold)
        if ahead:
            engine.compile_ahead()
        return engine

    def compile_ahead(self, images: int = 1, pairs: Sequence[int] = (1,), boxes: Sequence[int] = (0,)) -> None:
        """Compile every program for these batch sizes before anybody asks."""
        self.programs.compile_ahead(self.image_size, self.config.text.max_position_embeddings, images, pairs, boxes)

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each."""
        arrays = [check_image(image) for image in images]
        out: list[Embedding] = []
        for start in range(0, len(arrays), self.batch):
            group = arrays[start : start + self.batch]
            pixels = np.stack([to_model(image, self.image_size).transpose(1, 2, 0) for image in group])
            visions = self.programs.encode(pixels)
            out += [Embedding(vision, image.shape[:2]) for vision, image in zip(visions, group, strict=True)]
        return out

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        return ground_in_batches(self.answer, embeddings, prompts, self.batch, self.threshold)

    def answer(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> Answer:
        """Every query of one batch of pairs."""
        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        sizes = [item.size for item in embeddings]
        boxes, labels, warnings = pad_boxes(sizes, prompts)
        images, rows = distinct(embeddings)
        said = [(*words[2], *more) for words, more in zip(held, warnings, strict=True)]
        logits, corners, presence, draw = self.programs.ground(
            [item.vision for item in images],
            rows,
            [features for features, _, _ in held],
            np.stack([mask for _, mask, _ in held]),
            boxes,
            labels,
        )
        return Answer(logits, corners, presence, draw, sizes, said)

    def features(self, embedding: Embedding) -> FloatArray:
        """float32 (d, H, W): the level that the DETR sees."""
        return np.asarray(embedding.vision.level[0], np.float32).transpose(2, 0, 1)

    def _encode_phrase(self, phrase: str) -> tuple[Any, np.ndarray, tuple[str, ...]]:
        """Features (1, T, d), mask (T,) and warnings of one phrase, kept for ever: text is encoded once."""
        if phrase not in self._words:
            tokens = self.tokenizer.encode([phrase], length=self.config.text.max_position_embeddings)
            features = self.programs.encode_text(tokens.ids, tokens.mask)
            self._words[phrase] = (features, tokens.mask[0].astype(bool), tokens.warnings)
        return self._words[phrase]


def find_devices(device: str | None) -> list[Any]:
    """JAX's devices of a kind ("cpu", "cuda", "tpu"), or those it prefers.

    Raises:
        Unavailable: JAX is not installed, or has none of that kind.
    """
    try:
        import jax
    except ImportError as error:
        raise Unavailable("the jax engine needs jax and flax: pip install jax flax.", field="engine") from error
    if device is None:
        return list(jax.devices())
    kind, _, number = device.partition(":")
    try:
        found = list(jax.devices({"cuda": "gpu"}.get(kind, kind)))
    except RuntimeError as error:
        raise Unavailable(
            f"device {device}: this JAX has none. Install jax[cuda13] for NVIDIA GPUs, or use device cpu.",
            field="device",
        ) from error
    return found[int(number) :] if number.isdigit() else found
