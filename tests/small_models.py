"""Small random detectors for tests: SAM 3's own parts shrunk, weights large enough that every part is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam3.checkpoint import save_checkpoint, tiny_config
from sam3.detector import Sam3Detector
from sam3.tokenizer import build_tokenizer_file
from sam3.types import Prompt

BOX = np.array([[5, 5, 40, 30]], np.float32)
PROMPTS = [
    Prompt("red car"),
    Prompt("a hen by the old wooden fence", BOX),
    Prompt(None, np.vstack([BOX, BOX + 9]), np.array([1, 0])),
]


def loud(model: Sam3Detector, seed: int = 0) -> Sam3Detector:
    """Weights of unit gain and biases that matter; transformers' own start leaves most of the model silent."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        with torch.no_grad():
            if value.ndim > 1:
                gain = 0.3 if "box_head" in name else 1.0
                value.normal_(0, gain / value[0].numel() ** 0.5, generator=generator)
            elif "norm" in name and name.endswith("weight"):
                value.normal_(1, 0.1, generator=generator)
            else:
                value.normal_(0, 0.1, generator=generator)
    return model


def save_small(folder: Path, **backbone: Any) -> Path:
    """A checkpoint folder of the tiny model; `backbone` overrides its trunk's configuration."""
    config = tiny_config()
    for key, value in backbone.items():
        setattr(config.vision_config.backbone_config, key, value)
    build_tokenizer_file(folder / "vocabulary" / "tokenizer.json")
    return save_checkpoint(folder / "small", loud(Sam3Detector(config)), folder / "vocabulary" / "tokenizer.json")


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Noise of the given (height, width)."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in sizes]
