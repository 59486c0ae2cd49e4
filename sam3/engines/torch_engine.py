"""The PyTorch engine: any checkpoint, CPU or GPU; the reference that the other engines are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sam3.checkpoint import Checkpoint, load_checkpoint
from sam3.engines.answer import Answer, distinct, ground_in_batches
from sam3.engines.prompts import pad_boxes, phrase_of
from sam3.errors import Unavailable
from sam3.pixels import check_image, to_model
from sam3.types import Detections, FloatArray, Prompt, UInt8Array

if TYPE_CHECKING:
    from pathlib import Path

    from sam3.detector import BoxPrompts, Grounding, Vision, Words


@dataclass
class Embedding:
    """An encoded image; opaque to callers."""

    vision: Vision
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory it holds, for caches that count."""
        return sum(level.element_size() * level.nelement() for level in self.vision.levels)


class TorchEngine:
    """`encode` and `ground` on PyTorch.

    Args:
        checkpoint: a loaded checkpoint.
        device: "cpu", "cuda" or "cuda:N".
        threshold: instances below this score are left out.
        batch: images encoded, and pairs grounded, in one go.
    """

    name = "torch"
    dtype = "float32"

    def __init__(self, checkpoint: Checkpoint, *, device: str = "cpu", threshold: float = 0.5, batch: int = 16) -> None:
        self.checkpoint, self.threshold, self.device, self.batch = checkpoint, threshold, device, batch
        model: Any = checkpoint.model  # transformers' decorator hides what `to` takes
        self.model, self.sha256 = model.to(device).eval(), checkpoint.sha256
        self._words: dict[str, tuple[Words, tuple[str, ...]]] = {}

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        threshold: float = 0.5,
        fast: str = "none",
    ) -> TorchEngine:
        """From a checkpoint's name or folder; the GPU if there is one and nothing else is asked.

        Args:
            fast: "none" for the reference, "best", or what else `sam3.fast.switches.parse` knows.
        """
        import torch

        from sam3.fast.switches import parse

        if device and device.startswith("cuda") and not torch.cuda.is_available():
            raise Unavailable(f"device {device}: this PyTorch sees no CUDA GPU. Use device cpu.", field="device")
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        switches = parse(fast, chosen)
        loaded = load_checkpoint(checkpoint, device=chosen)
        if not switches.on:
            return cls(loaded, device=chosen, threshold=threshold)
        from sam3.engines.torch_fast import FastTorchEngine

        return FastTorchEngine(loaded, switches=switches, device=chosen, threshold=threshold)

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each."""
        import torch

        from sam3.detector import Vision

        arrays = [check_image(image) for image in images]
        out: list[Embedding] = []
        for start in range(0, len(arrays), self.batch):
            group = arrays[start : start + self.batch]
            pixels = np.stack([to_model(image, self.checkpoint.image_size) for image in group])
            with torch.no_grad():
                vision = self.model.encode_images(torch.from_numpy(pixels).to(self.device))
            for at, image in enumerate(group):
                one = Vision(tuple(x[at : at + 1] for x in vision.levels), tuple(x[:1] for x in vision.positions))
                out.append(Embedding(one, image.shape[:2]))
        return out

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        return ground_in_batches(self.answer, embeddings, prompts, self.batch, self.threshold)

    def answer(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> Answer:
        """Every query of one batch of pairs."""
        import torch

        from sam3.detector import Vision

        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        boxes, box_warnings = self._boxes(embeddings, prompts)
        images, rows = distinct(embeddings)
        with torch.no_grad():
            vision = Vision(
                tuple(torch.cat(level) for level in zip(*(item.vision.levels for item in images), strict=True)),
                images[0].vision.positions,
                torch.from_numpy(rows).long().to(self.device),
            )
            found = self.model.ground(vision, self._pad([words for words, _ in held]), boxes)
        return Answer(
            found.logits[-1].float().cpu().numpy(),
            found.boxes[-1].float().cpu().numpy(),
            found.presence[-1].float().cpu().numpy(),
            lambda pairs, queries: self._draw(found, pairs, queries),
            [item.size for item in embeddings],
            [(*words[1], *more) for words, more in zip(held, box_warnings, strict=True)],
        )

    def features(self, embedding: Embedding) -> FloatArray:
        """float32 (d, H, W): the level that the DETR sees."""
        return embedding.vision.levels[-1][0].float().cpu().numpy()

    def shaken(self, embedding: Embedding, size: float, seed: int) -> Embedding:
        """The same image with every feature changed by normal noise of relative `size`: another rounding of it."""
        import torch

        from sam3.detector import Vision

        chance = torch.Generator().manual_seed(seed)
        levels = [
            level * (1 + size * torch.randn(level.shape, generator=chance).to(level))
            for level in embedding.vision.levels
        ]
        return Embedding(Vision(tuple(levels), embedding.vision.positions), embedding.size)

    def _draw(self, found: Grounding, pairs: Sequence[int], queries: Sequence[np.ndarray]) -> list[FloatArray]:
        """Masks of chosen queries of chosen pairs, one product for all."""
        import torch

        counts = [len(wanted) for wanted in queries]
        with torch.no_grad():
            pixels = self.model.pixel_embeddings(found, torch.tensor(list(pairs), device=self.device))
            states = torch.cat([found.queries[-1][p][torch.from_numpy(q)] for p, q in zip(pairs, queries, strict=True)])
            rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(self.device)
            masks = self.model.mask_logits(pixels, rows, states).float().cpu().numpy()
        return np.split(masks, np.cumsum(counts)[:-1])

    def _encode_phrase(self, phrase: str) -> tuple[Words, tuple[str, ...]]:
        """Words of one phrase, kept for ever: text is encoded once."""
        import torch

        if phrase not in self._words:
            tokens = self.checkpoint.tokenizer.encode([phrase])
            with torch.no_grad():
                words = self.model.encode_text(
                    torch.from_numpy(tokens.ids).to(self.device),
                    torch.from_numpy(tokens.mask).to(self.device),
                )
            self._words[phrase] = (words, tokens.warnings)
        return self._words[phrase]

    def _pad(self, words: list[Words]) -> Words:
        import torch
        import torch.nn.functional as F

        from sam3.detector import Words

        longest = max(item.mask.shape[1] for item in words)
        return Words(
            torch.cat([F.pad(item.features, (0, 0, 0, longest - item.mask.shape[1])) for item in words]),
            torch.cat([F.pad(item.mask, (0, longest - item.mask.shape[1])) for item in words]),
        )

    def _boxes(
        self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]
    ) -> tuple[BoxPrompts | None, list[tuple[str, ...]]]:
        import torch

        from sam3.detector import BoxPrompts

        array, labels, warnings = pad_boxes([item.size for item in embeddings], prompts)
        if not array.shape[1]:
            return None, warnings
        return BoxPrompts(torch.from_numpy(array).to(self.device), torch.from_numpy(labels).to(self.device)), warnings
