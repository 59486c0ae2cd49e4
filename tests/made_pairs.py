"""Pictures with bright squares and their SA-Co file, and a tiny checkpoint: what tests of training train on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def make_pairs(folder: Path, count: int, *, side: int = 64, phrase: str = "square") -> Path:
    """Write `count` pictures, every second one with a square, and pairs.json; returns the file."""
    from sam3.files import write_json

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for at in range(count):
        picture = rng.integers(0, 90, (side, side * 3 // 2, 3)).astype(np.uint8)
        images.append(
            {"id": at, "file_name": f"{at}.png", "text_input": phrase, "height": side, "width": side * 3 // 2}
        )
        if at % 2:
            x0, y0 = int(rng.integers(0, side // 2)), int(rng.integers(0, side // 3))
            x1, y1 = x0 + side // 3 + at % 5, y0 + side // 3 + at % 7
            picture[y0:y1, x0:x1] = 230
            polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
            annotations.append({"id": at, "image_id": at, "category_id": 1, "iscrowd": 0, "segmentation": [polygon]})
        cv2.imwrite(str(folder / f"{at}.png"), picture)
    write_json(folder / "pairs.json", {"images": images, "annotations": annotations, "categories": [{"id": 1}]})
    return folder / "pairs.json"


def make_tiny(folder: Path) -> Path:
    """Save the smallest checkpoint, with random weights; returns its folder."""
    import torch

    from sam3.checkpoint import save_checkpoint, tiny_config
    from sam3.detector import Sam3Detector
    from sam3.tokenizer import build_tokenizer_file

    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer_file(folder / "tokenizer.json")
    torch.manual_seed(0)
    return save_checkpoint(folder / "tiny", Sam3Detector(tiny_config()), folder / "tokenizer.json")


def make_place(folder: Path, count: int) -> Path:
    """Pairs in `folder`/pairs and a tiny checkpoint beside them; returns the folder."""
    make_pairs(folder / "pairs", count)
    make_tiny(folder)
    return folder


def train_command(repo: Path, pairs: Path, checkpoint: str | Path, out: Path, *more: str) -> list[str]:
    """The command of the README on made-up pairs, on the CPU."""
    settings = {
        "model.checkpoint": checkpoint,
        "data.train": pairs,
        "data.val": pairs,
        "data.images": pairs.parent,
        "data.workers": 0,
        "train.out": out / "out",
        "train.work": out / "run",
        "trainer.precision": "32-true",
        "trainer.threads": 1,
        "trainer.save_every": 3,
    }
    script = [sys.executable, str(repo / "sam3/train/train.py"), "-c", str(repo / "configs/sam3_chicken_finetune.yaml")]
    return [*script, "--num-gpus", "0", *[f"{key}={value}" for key, value in settings.items()], *more]
