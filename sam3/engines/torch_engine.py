"""The PyTorch engine: any checkpoint, CPU or GPU; the reference that the other engines are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sam3.checkpoint import Checkpoint, load_checkpoint
from sam3.engines.prompts import pad_boxes, paired, phrase_of
from sam3.errors import Unavailable
from sam3.pixels import check_image, from_model, to_model
from sam3.types import Detections, Prompt, UInt8Array

if TYPE_CHECKING:
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

    def __init__(self, checkpoint: Checkpoint, *, device: str = "cpu", threshold: float = 0.5, batch: int = 16) -> None:
        self.checkpoint, self.threshold, self.device, self.batch = checkpoint, threshold, device, batch
        self.model = checkpoint.model.to(device).eval()
        self._words: dict[str, tuple[Words, tuple[str, ...]]] = {}

    @classmethod
    def load(cls, checkpoint: str, *, device: str | None = None, threshold: float = 0.5) -> TorchEngine:
        """From a checkpoint's name or folder; the GPU if there is one and nothing else is asked."""
        import torch

        if device and device.startswith("cuda") and not torch.cuda.is_available():
            raise Unavailable(f"device {device}: this PyTorch sees no CUDA GPU. Use device cpu.", field="device")
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(checkpoint, device=chosen), device=chosen, threshold=threshold)

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
        groups = paired(embeddings, prompts, self.batch)
        return [found for held, asked in groups for found in self._ground(held, asked)]

    def _ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        import torch

        from sam3.detector import Vision

        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        boxes, box_warnings = self._boxes(embeddings, prompts)
        levels = zip(*(item.vision.levels for item in embeddings), strict=True)
        positions = embeddings[0].vision.positions
        with torch.no_grad():
            vision = Vision(
                tuple(torch.cat(level) for level in levels),
                tuple(x.expand(len(prompts), -1, -1, -1) for x in positions),
            )
            found = self.model.ground(vision, self._pad([words for words, _ in held]), boxes)
        return [
            self._detections(found, at, item.size, (*held[at][1], *box_warnings[at]))
            for at, item in enumerate(embeddings)
        ]

    def _detections(self, found: Grounding, pair: int, size: tuple[int, int], warnings: tuple[str, ...]) -> Detections:
        import torch

        def masks_of(kept: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                row = torch.tensor([pair], device=self.device)
                pixels = self.model.pixel_embeddings(found, row)
                queries = found.queries[-1][pair][torch.from_numpy(kept).to(self.device)]
                rows = torch.zeros(len(kept), dtype=torch.int64, device=self.device)
                return self.model.mask_logits(pixels, rows, queries).float().cpu().numpy()

        return from_model(
            found.logits[-1][pair].float().cpu().numpy(),
            found.boxes[-1][pair].float().cpu().numpy(),
            float(found.presence[-1][pair]),
            masks_of,
            size,
            threshold=self.threshold,
            warnings=warnings,
        )

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
