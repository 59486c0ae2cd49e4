"""What an annotator gets from the model: pre-labels of a picture, the thing in a box, the thing under a click.

With the published weights clicks and boxes go to SAM 3's tracker. sam3-lite has none: a box is an exemplar ("this is
one, too"), and a click takes the mask that lies under it, found or nearly found, or the one that exemplar boxes of a
few sizes around the click bring up. Where the model sees nothing, colours have to do; such a mask has score 0.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.clicks import ClickModel
from sam3.types import Detections, Engine, Prompt, UInt8Array
from sam3_agent.annotation.colours import by_colour

LOW = 0.05  # score from which a detection may be what somebody points at
SIZES = (0.12, 0.22, 0.4)  # of the shorter side: exemplar boxes around a click
SHOWS = 0.3  # IoU with the box from which a detection is what the box shows
INSIDE = 0.75  # share of a mask that must lie in the box that was drawn around the thing
SLACK = 0.08  # of the box, around it: people draw tightly
PIECE = 0.2  # share of a mask from which a part of it is what it is of, and no speck
KEPT = 8  # pictures whose features are held: somebody who clicks clicks again


@dataclass(eq=False)
class Prompter:
    """The model behind an annotator's tools. Calls may come from several threads; they take turns.

    Attributes:
        engine: with a threshold of `LOW`. version: name of its weights. clicks: a tracker, where the weights have one.
    """

    engine: Engine
    version: str
    clicks: ClickModel | None = None
    _held: OrderedDict[str, tuple[Any, Any]] = field(default_factory=OrderedDict, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def prelabels(self, key: str, image: UInt8Array, concept: str) -> Detections:
        """Everything that may be the concept, unsure ones too.

        Args:
            key: identity of the picture. image: uint8 RGB (H, W, 3), upright.
        """
        with self._turn:
            return self._ground(key, image, [Prompt(concept)])[0]

    def in_box(
        self, key: str, image: UInt8Array, concept: str, box: tuple[float, float, float, float]
    ) -> tuple[NDArray[np.bool_], float] | None:
        """The thing in a box (xyxy pixels): its mask (H, W) and score; None when nothing in it looks like one."""
        with self._turn:
            if self.clicks is not None:
                return self.clicks.mask(self._looked(key, image), box=box)
            boxes, labels = np.array([box], np.float32), np.ones(1, np.int64)
            prompts = [Prompt(concept, boxes, labels), Prompt(None, boxes, labels)]
            for found in self._ground(key, image, prompts):
                overlaps = np.array([box_iou(one, box) for one in found.boxes])
                if len(overlaps) and overlaps.max() >= SHOWS:
                    best = int(overlaps.argmax())
                    cut = _within(found.masks[best], box)
                    # a mask that runs on outside is of something larger: its part in the box has a false border
                    if np.count_nonzero(cut) >= INSIDE * np.count_nonzero(found.masks[best]):
                        return cut, float(found.scores[best])
        mask = by_colour(image, box)
        return None if mask is None else (_within(mask, box), 0.0)

    def at_click(
        self, key: str, image: UInt8Array, concept: str, x: float, y: float
    ) -> tuple[NDArray[np.bool_], float] | None:
        """The thing under a click (pixels): its mask (H, W) and score; None when nothing is there."""
        with self._turn:
            if self.clicks is not None:
                return self.clicks.mask(self._looked(key, image), [(x, y)], [1])
            found = self._ground(key, image, [Prompt(concept)])[0]
            if (hit := under(found, x, y)) is not None:
                return hit
            hits = [under(one, x, y) for one in self._ground(key, image, list(_exemplars(concept, image, x, y)))]
        best = max((hit for hit in hits if hit is not None), key=lambda hit: hit[1], default=None)
        if best is not None:
            return best
        half = SIZES[-1] * min(image.shape[:2]) / 2
        mask = by_colour(image, (x - half, y - half, x + half, y + half), (x, y))
        return None if mask is None else (mask, 0.0)

    def _ground(self, key: str, image: UInt8Array, prompts: list[Prompt]) -> list[Detections]:
        embedding = self._features(key, image)[0]
        if embedding is None:
            [embedding] = self.engine.encode([image])
            self._held[key] = (embedding, self._held[key][1])
        return self.engine.ground([embedding] * len(prompts), prompts)

    def _looked(self, key: str, image: UInt8Array) -> Any:
        assert self.clicks is not None
        looked = self._features(key, image)[1]
        if looked is None:
            looked = self.clicks.look(image)
            self._held[key] = (self._held[key][0], looked)
        return looked

    def _features(self, key: str, image: UInt8Array) -> tuple[Any, Any]:
        """What is held of a picture: the engine's embedding and the tracker's."""
        held = self._held.setdefault(key, (None, None))
        self._held.move_to_end(key)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
        return held


def _exemplars(concept: str, image: UInt8Array, x: float, y: float) -> Iterator[Prompt]:
    height, width = image.shape[:2]
    for size in SIZES:
        half = max(2.0, size * min(height, width) / 2)
        box = np.array([[x - half, y - half, x + half, y + half]]).clip(0, (width, height, width, height))
        yield Prompt(concept, box.astype(np.float32), np.ones(1, np.int64))


def _within(mask: NDArray[np.bool_], box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """The part of a mask (H, W) in a box, xyxy pixels, or close to it."""
    x0, y0, x1, y1 = box
    dx, dy = SLACK * (x1 - x0), SLACK * (y1 - y0)
    out = np.zeros_like(mask)
    rows, columns = slice(max(0, int(y0 - dy)), int(y1 + dy) + 1), slice(max(0, int(x0 - dx)), int(x1 + dx) + 1)
    out[rows, columns] = mask[rows, columns]
    return out


def under(found: Detections, x: float, y: float) -> tuple[NDArray[np.bool_], float] | None:
    """The surest mask that holds a point, without what is not of one piece with it.

    A mask of which the point has only a speck is of something else: the next one is asked.
    """
    height, width = found.masks.shape[1:]
    row, column = min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)
    for at in np.argsort(-found.scores, kind="stable"):
        if found.masks[at, row, column]:
            piece = one_piece(found.masks[at], row, column)
            if np.count_nonzero(piece) >= PIECE * np.count_nonzero(found.masks[at]):
                return piece, float(found.scores[at])
    return None


def one_piece(mask: NDArray[np.bool_], row: int, column: int) -> NDArray[np.bool_]:
    """The connected part of a mask (H, W) that holds a pixel: parts elsewhere are mostly of the next bird."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(parts == parts[row, column], bool)


def box_iou(a: Any, b: Any) -> float:
    """IoU of two boxes, xyxy."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    shared = float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / union if union > 0 else 0.0


def load_prompter(checkpoint: str, engine: str = "auto") -> Prompter:
    """The model of the annotators.

    Raises:
        BadCheckpoint: no such weights.
    """
    from pathlib import Path

    from sam3.checkpoint import checkpoint_folder
    from sam3.clicks import holds_tracker
    from sam3.engines import load_engine
    from sam3_agent.mining.run import weights_identity

    loaded = load_engine(engine, checkpoint=checkpoint, threshold=LOW)
    folder = None if list(Path(checkpoint).glob("*.onnx")) else Path(checkpoint_folder(checkpoint))
    clicks = ClickModel.load(checkpoint) if folder is not None and holds_tracker(folder) else None
    return Prompter(loaded, f"{Path(checkpoint).name}@{weights_identity(checkpoint)[:12]}", clicks)
