"""Small changes to a training picture that leave its labels true: flips, crops, light, colour, blur.

One generator per (seed, epoch, pair), so a resumed run sees the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from sam3.types import UInt8Array


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths; 0 turns a change off.

    Attributes:
        flip: chance of a mirror image. crop: largest share cut from each side.
        light, contrast, saturation: largest relative change. hue: largest turn, degrees.
        blur: chance of a slight blur. least_visible: an object cropped below this share is no longer a target.
    """

    flip: float = 0.5
    crop: float = 0.2
    light: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    hue: float = 6.0
    blur: float = 0.1
    rotate: float = 8.0
    least_visible: float = 0.2


class Augment:
    """Applies an `AugmentConfig`."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self, image: UInt8Array, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[UInt8Array, np.ndarray, np.ndarray]:
        """Change an image (H, W, 3) and its masks (n, H, W) alike.

        Returns:
            The image, the masks that are still to be seen, and bool (n,): which ones those are.
        """
        before = masks.sum((1, 2), dtype=np.int64)
        image, masks = self._turn(image, masks, rng)
        image, masks = self._crop(image, masks, rng)
        if rng.random() < self.config.flip:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
        after = masks.sum((1, 2), dtype=np.int64)
        kept = after >= np.maximum(self.config.least_visible * before, 1)
        return np.ascontiguousarray(self._recolour(image, rng)), np.ascontiguousarray(masks[kept]), kept

    def _turn(self, image: UInt8Array, masks: np.ndarray, rng: np.random.Generator) -> tuple[UInt8Array, np.ndarray]:
        angle = rng.uniform(-1, 1) * self.config.rotate
        if abs(angle) < 1:
            return image, masks
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        # reflected borders may repeat a piece of an object, unlabelled; at these angles it is a sliver
        kept = [cv2.warpAffine(mask, turn, (width, height), flags=cv2.INTER_NEAREST) for mask in masks]
        return cast(UInt8Array, turned), np.stack(kept) if kept else masks

    def _crop(self, image: UInt8Array, masks: np.ndarray, rng: np.random.Generator) -> tuple[UInt8Array, np.ndarray]:
        height, width = image.shape[:2]
        left, right = (rng.random(2) * self.config.crop * width / 2).astype(int)
        top, bottom = (rng.random(2) * self.config.crop * height / 2).astype(int)
        window = np.s_[top : height - bottom, left : width - right]
        return image[window], masks[(slice(None), *window)]

    def _recolour(self, image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        config = self.config
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-1, 1) * config.hue / 2) % 180  # OpenCV halves degrees
        hsv[..., 1] *= 1 + rng.uniform(-1, 1) * config.saturation
        changed = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
        mean = changed.mean()
        changed = (changed - mean) * (1 + rng.uniform(-1, 1) * config.contrast) + mean * (
            1 + rng.uniform(-1, 1) * config.light
        )
        out = np.clip(changed, 0, 255).astype(np.uint8)
        return cv2.GaussianBlur(out, (3, 3), 0) if rng.random() < config.blur else out
