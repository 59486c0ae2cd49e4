"""Light, colour and camera: what changes a scene's pixels without moving anything.

Used by `compose` only. Per object one linear colour map (it works on premultiplied pixels, edges stay clean);
per picture one lookup table, then blur, noise and JPEG by chance. Cheap: about 1 ms at 256 x 256.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3.types import UInt8Array

GREY = np.full((3, 3), 1 / 3)


@dataclass(frozen=True, slots=True)
class Photometry:
    """How far pixels may change; 0 turns an effect off.

    Attributes:
        object_light: an object's brightness and contrast vary by up to this share.
        object_hue: ... its hue by up to this many degrees.
        object_saturation: ... its saturation by up to this share.
        light: the picture's brightness varies by up to this share.
        gamma: ... its gamma by up to this share.
        tint: ... each channel by up to this share (white balance).
        blur: chance of a blur, of up to 1.4 pixels sigma at 256 pixels.
        noise: chance of sensor noise, of up to 9 grey levels sigma.
        jpeg: chance of a pass through JPEG at quality 35 to 90.
    """

    object_light: float = 0.2
    object_hue: float = 6.0
    object_saturation: float = 0.2
    light: float = 0.25
    gamma: float = 0.2
    tint: float = 0.06
    blur: float = 0.25
    noise: float = 0.3
    jpeg: float = 0.0


def object_colour(rng: np.random.Generator, photometry: Photometry) -> NDArray[np.float32]:
    """A (4, 4) map of premultiplied RGBA: light, contrast, saturation and hue of one object."""
    gain, contrast = 1 + rng.uniform(-1, 1, 2) * photometry.object_light
    saturation = 1 + rng.uniform(-1, 1) * photometry.object_saturation
    angle = np.deg2rad(rng.uniform(-1, 1) * photometry.object_hue)
    # a turn around the grey axis of the RGB cube is a change of hue
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * GREY + np.sin(angle) * cross
    vivid = saturation * np.eye(3) + (1 - saturation) * GREY
    out = np.eye(4, dtype=np.float32)
    out[:3, :3] = gain * contrast * (vivid @ hue)
    out[:3, 3] = 0.5 * gain * (1 - contrast)  # times alpha: contrast turns around middle grey
    return out


def take_photograph(rng: np.random.Generator, image: UInt8Array, photometry: Photometry) -> UInt8Array:
    """The picture as a camera might have taken it: (H, W, 3) uint8, same size."""
    gamma = 1 + rng.uniform(-1, 1) * photometry.gamma
    gains = (1 + rng.uniform(-1, 1) * photometry.light) * (1 + rng.uniform(-1, 1, 3) * photometry.tint)
    curve = (np.arange(256) / 255.0) ** gamma
    table = np.clip(curve[:, None] * gains * 255, 0, 255).round().astype(np.uint8)
    out: NDArray[Any] = cv2.LUT(image, table[None])
    blur, noise, jpeg = rng.random(3) < (photometry.blur, photometry.noise, photometry.jpeg)
    if blur:
        sigma = rng.uniform(0.4, 1.4) * (image.shape[0] * image.shape[1]) ** 0.5 / 256
        out = cv2.GaussianBlur(out, (0, 0), sigma)
    if noise:
        chance = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
        grain = cv2.LUT(chance, _bell(int(rng.integers(2, 10))))
        out = cv2.addWeighted(out, 1.0, grain, 1.0, -128.0)
    if jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 91))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR))
    return out


@cache
def _bell(sigma: int) -> UInt8Array:
    """A table that turns even random bytes into normal noise around 128."""
    quantiles = [NormalDist(128, sigma).inv_cdf((i + 0.5) / 256) for i in range(256)]
    return np.round(quantiles).astype(np.uint8)
