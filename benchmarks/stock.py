"""transformers' own `Sam3Model`, used as its documentation says, behind the two calls of an engine.

The opponent of every speed figure: eager, or with nothing but `torch.compile` around it. It sees the same pixels and
its answers become detections as everybody's do, so that the work compared is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import Sam3Model

from sam3.checkpoint import load_checkpoint
from sam3.engines.answer import Answer
from sam3.pixels import to_model
from sam3.types import Detections, Prompt, UInt8Array


class StockEngine:
    """Vision features are kept per image, as the documentation shows; every phrase is a forward pass."""

    name = "stock"

    def __init__(self, checkpoint: str, *, device: str, compiled: bool, bf16: bool, threshold: float = 0.5) -> None:
        loaded = load_checkpoint(checkpoint)
        self.tokenizer, self.side, self.device, self.threshold = loaded.tokenizer, loaded.image_size, device, threshold
        self.kind = torch.bfloat16 if bf16 else torch.float32
        self.model = Sam3Model(loaded.model.config)
        self.model.load_state_dict(loaded.model.state_dict())
        self.model = self.model.to(device, self.kind).eval()
        self.vision, self.forward = self.model.get_vision_features, self.model
        if compiled:
            self.vision, self.forward = torch.compile(self.model.get_vision_features), torch.compile(self.model)

    def encode(self, images: Sequence[UInt8Array]) -> list[Any]:
        """One set of vision features an image."""
        out = []
        for image in images:
            pixels = torch.from_numpy(to_model(image, self.side))[None].to(self.device, self.kind)
            with torch.inference_mode():
                out.append((self.vision(pixel_values=pixels), image.shape[:2]))
        return out

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        """A forward pass for every pair."""
        return [d for e, p in zip(embeddings, prompts, strict=True) for d in self._one(e, p).detections(self.threshold)]

    def _one(self, embedding: Any, prompt: Prompt) -> Answer:
        vision, size = embedding
        tokens = self.tokenizer.encode([str(prompt.text)])
        with torch.inference_mode():
            found = self.forward(
                vision_embeds=vision,
                input_ids=torch.from_numpy(tokens.ids).to(self.device),
                attention_mask=torch.from_numpy(tokens.mask).to(self.device),
            )
        masks = found.pred_masks.float().cpu().numpy()
        logits, boxes, presence = (
            x.float().cpu().numpy() for x in (found.pred_logits, found.pred_boxes, found.presence_logits[:, 0])
        )

        def draw(pairs: Sequence[int], wanted: Sequence[np.ndarray]) -> list[Any]:
            return [masks[at][queries] for at, queries in zip(pairs, wanted, strict=True)]

        return Answer(logits, boxes, presence, draw, [size], [()])
