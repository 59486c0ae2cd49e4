"""`SAM3Wrapper`: for code that expects a model with `predict(image)` and knows one concept, not prompts.

    model = SAM3Wrapper("models/engines", concept="chicken")       # a folder of TensorRT engines or ONNX graphs, or a checkpoint
    seen = model.predict("barn.jpg")
    seen.supervision                 # always: supervision.Detections
    seen.ultralytics                 # ultralytics Results where that package is installed, else None

Ultralytics is optional and is not installed with sam3-agent: its licence is AGPL-3.0, which binds a service that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.types import Detections, Engine, Prompt, UInt8Array


@dataclass(eq=False)
class Seen:
    """What one picture shows of the concept.

    Attributes:
        image: uint8 RGB (H, W, 3). concept: what was looked for.
        detections: the instances; none where the presence is below the threshold.
    """

    image: UInt8Array
    concept: str
    detections: Detections
    path: str = "image.jpg"
    _results: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def presence(self) -> float:
        """Probability that the concept is in the picture at all, 0..1."""
        return self.detections.presence

    @property
    def supervision(self) -> Any:
        """`supervision.Detections`, class 0 being the concept."""
        return self.detections.to_supervision()

    @property
    def ultralytics(self) -> Any | None:
        """Ultralytics' `Results` (boxes, masks, names); None where the package is not installed."""
        if self._results is None:
            self._results = as_ultralytics(self)
        return self._results


class SAM3Wrapper:
    """One concept, one engine.

    Args:
        weights: a folder of TensorRT engines or of ONNX graphs, a checkpoint folder, or a checkpoint's name.
        concept: what to look for; params.yaml's concept when None.
        engine: "auto" takes the fastest that the folder and the machine allow; or "tensorrt", "onnx", "torch", ...; or an engine.
        presence_threshold: below this probability of the concept the result is empty.
        threshold: instances below this score are left out.
    """

    def __init__(
        self,
        weights: str | Path = "sam3-lite",
        *,
        concept: str | None = None,
        engine: str | Engine = "auto",
        device: str | None = None,
        presence_threshold: float = 0.5,
        threshold: float = 0.5,
    ) -> None:
        for name, value in (("presence_threshold", presence_threshold), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise BadInput(f"{name} {value}: expected a number from 0 to 1.", field=name)
        self.concept = " ".join((concept or _configured()).split())
        if not self.concept:
            raise BadInput("no concept. Give one, or set it in params.yaml.", field="concept")
        self.presence_threshold, self.threshold = presence_threshold, threshold
        self.names = {0: self.concept}
        self._engine = _load(engine, weights, device, threshold) if isinstance(engine, str) else engine

    def predict(self, image: Any) -> Seen:
        """One picture.

        Args:
            image: a path, bytes, a PIL image, or a uint8 RGB array (H, W, 3).

        Raises:
            BadInput: it is no picture.
        """
        return self.predict_all([image])[0]

    def __call__(self, image: Any) -> Seen:
        """As `predict`."""
        return self.predict(image)

    def predict_all(self, images: Sequence[Any]) -> list[Seen]:
        """Several pictures, encoded as one batch."""
        from sam3_agent.media.images import load_image

        pixels = [load_image(image) for image in images]
        if not pixels:
            return []
        found = self._engine.ground(self._engine.encode(pixels), [Prompt(text=self.concept)] * len(pixels))
        seen = []
        for image, array, one in zip(images, pixels, found, strict=True):
            believed = (
                one.scores >= self.threshold if one.presence >= self.presence_threshold else np.zeros(len(one), bool)
            )
            kept = one.select(believed)
            kept.labels = [self.concept] * len(kept)
            path = os.fspath(image) if isinstance(image, str | os.PathLike) else "image.jpg"
            seen.append(Seen(array, self.concept, kept, path))
        return seen


def as_ultralytics(seen: Seen) -> Any | None:
    """Ultralytics' result of one picture, or None without the package."""
    try:
        from ultralytics.engine.results import Results
    except ImportError:
        return None
    import torch

    found = seen.detections
    boxes = np.column_stack([found.boxes, found.scores, np.zeros(len(found), np.float32)]).reshape(-1, 6)
    masks = torch.from_numpy(found.masks.astype(np.uint8)) if len(found) else None
    bgr = np.ascontiguousarray(seen.image[..., ::-1])  # its convention for originals
    return Results(bgr, path=seen.path, names={0: seen.concept}, boxes=torch.from_numpy(boxes), masks=masks)


def _load(name: str, weights: str | Path, device: str | None, threshold: float) -> Engine:
    from sam3.engines import load_engine

    return load_engine(name, checkpoint=weights, device=device, threshold=threshold)


def _configured() -> str:
    """The concept of params.yaml in this folder."""
    from sam3_agent.params import load_params

    return str(load_params().concept)
