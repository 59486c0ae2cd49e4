"""The words every layer shares: a prompt goes into an engine, detections come out.

An engine (`sam3.engines`) takes images and prompts and returns `Detections`; everything downstream (COCO RLE,
supervision, tables, overlays, answers) is a conversion of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What to look for: a short noun phrase, exemplar boxes, or both.

    Attributes:
        text: a noun phrase ("red car"), or None when boxes alone show the concept.
        boxes: (K, 4) xyxy in pixels of the original image, or None.
        box_labels: (K,) 1 for "like this", 0 for "not like this"; all positive when None.
    """

    text: str | None = None
    boxes: NDArray[Any] | None = None
    box_labels: NDArray[Any] | None = None


@dataclass(eq=False)
class Detections:
    """The instances of one concept in one image.

    Attributes:
        boxes: float32 (N, 4) xyxy pixels of the original image.
        scores: float32 (N,) in [0, 1]: sigmoid(query logit) * presence.
        masks: bool (N, H, W) at the original resolution.
        presence: probability that the concept is in the image at all, in [0, 1].
        labels: N names, or empty when nobody named them.
        warnings: what the engine had to change or leave out (a truncated phrase, clipped boxes).
    """

    boxes: FloatArray
    scores: FloatArray
    masks: BoolArray
    presence: float
    labels: list[str] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls, height: int, width: int, presence: float = 0.0) -> Detections:
        """No instance in an image of `height` x `width` pixels."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, height, width), bool),
            presence,
        )

    def select(self, keep: NDArray[Any] | Sequence[int]) -> Detections:
        """The instances at `keep` (a bool mask or indexes), in that order."""
        index = np.asarray(keep)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        index = index.astype(int)
        labels = [self.labels[i] for i in index] if self.labels else []
        return Detections(
            self.boxes[index], self.scores[index], self.masks[index], self.presence, labels, self.warnings
        )

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO run-length encodings of the masks, `counts` as text so that they are JSON."""
        from pycocotools import mask as coco_mask

        encoded = (
            coco_mask.encode(np.asfortranarray(self.masks.transpose(1, 2, 0), dtype=np.uint8)) if len(self) else []
        )
        return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in encoded]

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO result rows: bbox xywh in pixels, segmentation RLE."""
        wh = self.boxes[:, 2:] - self.boxes[:, :2]
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "score": float(score),
                "bbox": [float(box[0]), float(box[1]), float(size[0]), float(size[1])],
                "segmentation": rle,
            }
            for box, size, score, rle in zip(self.boxes, wh, self.scores, self.to_rle(), strict=True)
        ]

    def to_supervision(self) -> Any:
        """`supervision.Detections` with the labels under `data["class_name"]`."""
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.astype(np.float32),
            mask=self.masks if len(self) else None,
            confidence=self.scores.astype(np.float32),
            class_id=np.zeros(len(self), int),
            data={"class_name": np.array(self.labels or [""] * len(self))},
        )

    def to_pandas(self) -> Any:
        """One row an instance: label, score, x0, y0, x1, y1, area (mask pixels)."""
        import pandas as pd

        rows = [
            {
                "label": label,
                "score": float(score),
                **dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True)),
                "area": int(mask.sum()),
            }
            for label, score, box, mask in zip(
                self.labels or [""] * len(self), self.scores, self.boxes, self.masks, strict=True
            )
        ]
        return pd.DataFrame(rows, columns=["label", "score", "x0", "y0", "x1", "y1", "area"])


class Engine(Protocol):
    """What every runtime offers. Embeddings are opaque to callers and can be prompted many times."""

    def encode(self, images: Sequence[UInt8Array]) -> list[Any]:
        """uint8 RGB (H, W, 3) at original resolution -> one embedding each."""
        ...

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i] -> the instances found."""
        ...
