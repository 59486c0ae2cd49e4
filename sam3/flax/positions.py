"""Where things are: sine encodings of places and boxes, rotary tables of the ViT.

All tables depend on shapes alone, so they are made once in numpy (float64, then float32) and become constants of
the compiled program.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

TEMPERATURE = 10000.0


def frequencies(features: int) -> np.ndarray:
    """float32 (features,): the divisor of each channel, sine and cosine side by side."""
    index = np.arange(features) // 2
    return (TEMPERATURE ** (2.0 * index / features)).astype(np.float32)


def sine_map(height: int, width: int, channels: int) -> np.ndarray:
    """float32 (H, W, channels): DETR's normalised sine encoding, rows first (Carion et al. 2020)."""
    half = channels // 2

    def along(count: int) -> np.ndarray:
        places = np.arange(1, count + 1, dtype=np.float64) / (count + 1e-6) * 2 * math.pi
        return _interleave(places[:, None] / frequencies(half).astype(np.float64))

    rows = np.broadcast_to(along(height)[:, None], (height, width, half))
    columns = np.broadcast_to(along(width)[None], (height, width, half))
    return np.concatenate([rows, columns], -1).astype(np.float32)


def _interleave(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(angles[..., 0::2]), np.cos(angles[..., 1::2])], -1).reshape(angles.shape)


def encode(values: jax.Array, features: int) -> jax.Array:
    """(...) numbers in [0, 1] -> (..., features) sines and cosines."""
    angles = (values * (2 * math.pi))[..., None] / frequencies(features)
    return jnp.stack([jnp.sin(angles[..., 0::2]), jnp.cos(angles[..., 1::2])], -1).reshape(angles.shape)


def encode_boxes(boxes: jax.Array, channels: int) -> jax.Array:
    """(..., 4) cxcywh -> (..., 2 * channels), in the order y, x, w, h."""
    x, y, w, h = jnp.moveaxis(encode(boxes, channels // 2), -2, 0)
    return jnp.concatenate([y, x, w, h], -1)


def rotary_table(side: int, step: float, head: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of axial rotary attention over a square, x first (Heo et al. 2024).

    Args:
        side: places along a side. step: distance of neighbours, in units of the pretraining grid.
        head: channels of a head.

    Returns:
        float32 (side * side, head) each; every angle stands twice, for the pair it turns.
    """
    axis = head // 2
    turns = 1.0 / theta ** (np.arange(0, axis, 2, dtype=np.float64) / axis)
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    places = np.stack([columns.ravel(), rows.ravel()], -1) * step
    angles = np.repeat((places[..., None] * turns).reshape(side * side, axis), 2, -1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: jax.Array, cosines: np.ndarray, sines: np.ndarray) -> jax.Array:
    """Turn neighbouring channels of (B, N, heads, head) by the angles of their place; in float32."""
    wide = x.astype(jnp.float32)
    pairs = wide.reshape(*wide.shape[:-1], -1, 2)
    turned = jnp.stack([-pairs[..., 1], pairs[..., 0]], -1).reshape(wide.shape)
    return (wide * cosines[:, None] + turned * sines[:, None]).astype(x.dtype)
