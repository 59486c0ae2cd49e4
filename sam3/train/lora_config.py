"""Low-rank adapters: the `lora` part of a training config's model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class LoraConfig:
    """Off at rank 0. Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".

    Attributes:
        rank: of each update. alpha: its scale is alpha / rank. dropout: before the update, while training.
        parts: submodules whose attention is adapted.
        also: submodules that learn in full beside the adapters.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    parts: tuple[str, ...] = ("vision_encoder.backbone", "text_encoder", "detr_encoder", "detr_decoder")
    also: tuple[str, ...] = ("dot_product_scoring", "detr_decoder.presence_head")
