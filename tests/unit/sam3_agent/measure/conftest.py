"""A toy world: pictures with red boxes on them, and an engine that finds what is red."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sam3.types import Detections, Prompt

HEIGHT, WIDTH = 60, 80


class RedEngine:
    """Finds red areas; `fooled`, it takes orange for red; `faint`, it sees something at 0.2 everywhere.

    Counts what it is asked to do.
    """

    name = "red"

    def __init__(self, *, fooled: bool = False, presence_on_nothing: float = 0.02) -> None:
        self.fooled, self.presence_on_nothing = fooled, presence_on_nothing
        self.faint = False
        self.encoded = 0
        self.batches: list[int] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.encoded += len(images)
        return list(images)

    def ground(self, embeddings: Sequence[np.ndarray], prompts: Sequence[Prompt]) -> list[Detections]:
        self.batches.append(len(prompts))
        found = [self._find(image) for image, _ in zip(embeddings, prompts, strict=True)]
        return (
            [_with_whisper(one, image.shape[:2]) for one, image in zip(found, embeddings, strict=True)]
            if self.faint
            else found
        )

    def _find(self, image: np.ndarray) -> Detections:
        red, green = image[..., 0].astype(int), image[..., 1].astype(int)
        seen = (red > 200) & (green < (160 if self.fooled else 60))
        count, labels = cv2.connectedComponents(seen.astype(np.uint8))
        masks = np.stack([labels == i for i in range(1, count)]) if count > 1 else np.zeros((0, *seen.shape), bool)
        if not len(masks):
            return Detections.empty(*seen.shape, presence=self.presence_on_nothing)
        boxes = np.array([_box(mask) for mask in masks], np.float32)
        return Detections(boxes, np.full(len(masks), 0.9, np.float32), masks, 0.95)


def _with_whisper(found: Detections, size: tuple[int, int]) -> Detections:
    corner = np.zeros((1, *size), bool)
    corner[:, :6, :6] = True
    return Detections(
        np.concatenate([found.boxes, np.array([[0, 0, 6, 6]], np.float32)]),
        np.append(found.scores, np.float32(0.2)),
        np.concatenate([found.masks, corner]),
        found.presence,
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@dataclass
class World:
    """Pictures, their SA-Co file, a checkpoint folder, and where results go."""

    folder: Path
    engine: RedEngine = field(default_factory=RedEngine)

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def truth(self) -> Path:
        return self.folder / "val.json"

    @property
    def out(self) -> Path:
        return self.folder / "reports" / "evaluate.json"

    def checkpoint(self, name: str = "toy") -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(name.encode())
        return folder

    def arguments(self, *more: str) -> list[str]:
        return ["--json", str(self.truth), "--images", str(self.images), "--out", str(self.out), *more]

    def report(self, name: str = "evaluate.json") -> dict[str, Any]:
        return json.loads((self.folder / "reports" / name).read_text())


def paint(path: Path, *boxes: tuple[int, int, int, int], colour: tuple[int, int, int] = (230, 20, 20)) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = colour
    Image.fromarray(image).save(path)


@pytest.fixture
def world(tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """12 pictures: 6 with red boxes, 4 grey, 2 with orange boxes; the first is asked for two phrases."""
    made = World(tmp_path)
    monkeypatch.chdir(repo_root)
    monkeypatch.setattr("sam3.engines.load_engine", lambda *args, **more: made.engine, raising=False)
    made.images.mkdir()
    images, annotations = [], []
    for i in range(12):
        boxes = [(8, 8, 20, 24), (44, 20, 24, 24)][: 1 + i % 2] if i < 6 else []
        paint(made.images / f"farm{i}.png", *boxes)
        if i >= 10:
            paint(made.images / f"farm{i}.png", (20, 10, 30, 30), colour=(240, 140, 30))
        row = {"file_name": f"farm{i}.png", "text_input": "red box", "height": HEIGHT, "width": WIDTH}
        images.append(row | {"id": i, "is_instance_exhaustive": 1, "source": f"farm{i // 2}"})
        for x, y, w, h in boxes:
            ring = [x, y, x + w, y, x + w, y + h, x, y + h]
            share = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
            annotation = {"image_id": i, "category_id": 1, "iscrowd": 0, "area": 1, "segmentation": [ring]}
            annotations.append(annotation | {"id": len(annotations) + 1, "bbox": share})
    images.append(images[7] | {"id": 50, "text_input": "blue box"})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    made.truth.write_text(json.dumps(content))
    return made
