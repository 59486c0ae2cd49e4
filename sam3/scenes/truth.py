"""An engine that knows the answer and blurs it: what a tracker or an agent is judged with apart from any weights.

It finds what it was shown: `engine.show(image, masks, names)` before the picture comes back through `encode`. The noise is
that of a good detector: outlines a little off, weaker scores where a thing is half hidden, misses, and false alarms.
With `costs`, a real engine does its work first and its answer is thrown away: times are real, answers are not.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam3.types import BoolArray, Detections, Engine, Prompt, UInt8Array

REMEMBERED = 64  # pictures


@dataclass(frozen=True, slots=True)
class Noise:
    """How a detector errs.

    Attributes:
        miss: chance that a thing is not found. false: chance of a false alarm a look and phrase.
        edge: pixels by which an outline grows or shrinks at most; shift: by which it is off (standard deviation).
        score: mean of scores in full view. spread: standard deviation of scores.
    """

    miss: float = 0.05
    false: float = 0.02
    edge: int = 2
    shift: float = 1.0
    score: float = 0.85
    spread: float = 0.08


EXACT = Noise(miss=0, false=0, edge=0, shift=0, score=1.0, spread=0)


@dataclass(frozen=True, eq=False)
class _Known:
    key: bytes
    shape: tuple[int, int]
    masks: Mapping[int, BoolArray]
    names: Mapping[int, Sequence[str]]
    shares: Mapping[int, float]
    paid: Any


class TruthEngine:
    """An `Engine` that was told what is in each picture.

    Args:
        noise: how it errs. seed: of the errors; the same picture is always answered in the same way.
        costs: an engine that works each time, for its time alone.
    """

    name = "truth"

    def __init__(self, noise: Noise = EXACT, *, seed: int = 0, costs: Engine | None = None) -> None:
        self.noise, self.seed, self.costs = noise, seed, costs
        self.looks = 0
        self._shown: OrderedDict[bytes, _Known] = OrderedDict()

    def show(
        self,
        image: UInt8Array,
        masks: Mapping[int, BoolArray],
        names: Mapping[int, Sequence[str]],
        shares: Mapping[int, float] | None = None,
    ) -> None:
        """Tell what is in a picture.

        Args:
            masks: thing -> bool (H, W). names: thing -> phrases that mean it. shares: thing -> visible share.
        """
        key = _key(image)
        self._shown[key] = _Known(key, image.shape[:2], dict(masks), dict(names), dict(shares or {}), None)
        while len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)

    def encode(self, images: Sequence[UInt8Array]) -> list[Any]:
        """The knowledge of each picture; nothing is known of one that was not shown."""
        self.looks += len(images)
        paid = self.costs.encode(images) if self.costs else [None] * len(images)
        out = []
        for image, work in zip(images, paid, strict=True):
            key = _key(image)
            known = self._shown.get(key) or _Known(key, image.shape[:2], {}, {}, {}, None)
            out.append(_Known(key, known.shape, known.masks, known.names, known.shares, work))
        return out

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: what was shown under that name, blurred."""
        if self.costs:
            self.costs.ground([known.paid for known in embeddings], prompts)
        return [self._found(known, prompt.text or "") for known, prompt in zip(embeddings, prompts, strict=True)]

    def _found(self, known: _Known, phrase: str) -> Detections:
        height, width = known.shape
        rng = np.random.default_rng([self.seed, *known.key[:8], *phrase.encode()[:16]])
        masks, scores = [], []
        for thing, mask in known.masks.items():
            missed, score, shape = (
                rng.random(),
                rng.normal(self.noise.score, self.noise.spread),
                _draws(rng, self.noise),
            )
            if phrase not in known.names.get(thing, ()) or missed < self.noise.miss:
                continue
            share = known.shares.get(thing, 1.0)
            masks.append(_blurred(mask, *shape))
            scores.append(score * (0.45 + 0.55 * share) if share < 0.6 and self.noise.spread else score)
        if rng.random() < self.noise.false:
            x, y = int(rng.integers(0, width * 3 // 4)), int(rng.integers(0, height * 3 // 4))
            ghost = np.zeros((height, width), bool)
            ghost[y : y + height // 6, x : x + width // 6] = True
            masks.append(ghost)
            scores.append(rng.uniform(0.3, 0.7))
        rows = [row for row, mask in enumerate(masks) if mask.any()]
        if not rows:
            return Detections.empty(height, width, 0.05)
        kept = np.stack([masks[row] for row in rows])
        strength = np.clip([scores[row] for row in rows], 0.05, 1.0).astype(np.float32)
        return Detections(np.stack([_box(mask) for mask in kept]), strength, kept, float(strength.max()))


def _draws(rng: np.random.Generator, noise: Noise) -> tuple[int, int, int]:
    """Growth of the outline, and its shift in x and y, in pixels."""
    across, down = rng.normal(0, noise.shift, 2)
    return int(rng.integers(-noise.edge, noise.edge + 1)), round(across), round(down)


def _blurred(mask: BoolArray, edge: int, dx: int, dy: int) -> BoolArray:
    import cv2

    if edge:
        change = cv2.dilate if edge > 0 else cv2.erode
        mask = change(mask.astype(np.uint8), np.ones((2 * abs(edge) + 1,) * 2, np.uint8)) > 0
    if dx or dy:
        moved = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        mask = cv2.warpAffine(mask.astype(np.uint8), moved, (mask.shape[1], mask.shape[0]), flags=cv2.INTER_NEAREST) > 0
    return np.asarray(mask, bool)


def _box(mask: BoolArray) -> np.ndarray:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float32)


def _key(image: UInt8Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
