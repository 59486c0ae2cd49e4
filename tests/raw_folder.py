"""A raw folder under a test's hand: pictures and label files, good and bad, in the shape users have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("hen", "duck", "unknown bird", "rooster")


class RawFolder:
    """`images/`, `labels/` and classes.txt under `root`; every method returns the path it wrote."""

    def __init__(self, root: Path, classes: Sequence[str] = CLASSES) -> None:
        self.root = root
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        (root / "labels" / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")

    def picture(
        self, name: str, size: tuple[int, int] = (64, 48), *, orientation: int = 1, seed: int | None = None
    ) -> Path:
        """A picture of noise, `size` (width, height) as stored; each name or `seed` has its own noise."""
        path = self.root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed if seed is not None else list(name.encode()))
        blocks = generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[274] = orientation
        image = Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)
        image.save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG", exif=exif)
        return path

    def bytes(self, name: str, content: bytes) -> Path:
        """Any file under the raw folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def yolo(self, name: str, *lines: str) -> Path:
        """labels/<name>.txt."""
        return self.bytes(f"labels/{name}.txt", "".join(f"{line}\n" for line in lines).encode())

    def labelme(self, name: str, *shapes: dict[str, Any], size: tuple[int, int] = (64, 48)) -> Path:
        """labels/<name>.json."""
        sheet = {"shapes": list(shapes), "imagePath": "../../etc/passwd", "imageData": None}
        sheet |= {"imageWidth": size[0], "imageHeight": size[1]}
        return self.bytes(f"labels/{name}.json", json.dumps(sheet, indent=2).encode())


def labelme_shape(label: str, points: Sequence[Sequence[float]], kind: str = "polygon") -> dict[str, Any]:
    """One row of "shapes"."""
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, "flags": {}}
