"""Trunk and neck: pixels -> the feature levels that the detector reads, and what can be done with them beforehand.

Only the levels that are read are made: the coarsest of the published neck never is.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Config
from sam3.flax.efficientnet import Backbone
from sam3.flax.layers import ACTIVATIONS, DoubleUp
from sam3.flax.vit import ViT


def exact_trunk(config: Config) -> bool:
    """Whether the trunk is convolutional, and float32 whatever the rest is (why: `sam3.fast.precision`)."""
    return config.trunk.model_type == "sam3_efficientnet_lite"


class Level(nnx.Module):
    """One level of the pyramid: up by `scale`, then two convolutions."""

    def __init__(self, inputs: int, outputs: int, scale: float, rngs: nnx.Rngs) -> None:
        self.scale = scale
        # index 1 is the activation, which has no weights but has a place in the published names
        self.scale_layers: nnx.Dict[nnx.Module] = nnx.Dict({})
        width = inputs
        if scale in (4.0, 2.0):
            self.scale_layers["0"] = DoubleUp(inputs, inputs // 2, rngs)
            width = inputs // 2
        if scale == 4.0:
            self.scale_layers["2"] = DoubleUp(inputs // 2, inputs // 4, rngs)
            width = inputs // 4
        self.proj1 = nnx.Conv(width, outputs, (1, 1), rngs=rngs)
        self.proj2 = nnx.Conv(outputs, outputs, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, inputs) -> (B, scale * H, scale * W, outputs)."""
        if self.scale >= 2.0:
            x = self.scale_layers["0"](x)
        if self.scale == 4.0:
            x = self.scale_layers["2"](ACTIVATIONS["gelu"](x))
        return self.proj2(self.proj1(x))


class Neck(nnx.Module):
    """The levels, fine to coarse."""

    def __init__(self, config: Config, rngs: nnx.Rngs) -> None:
        scales = config.neck.scale_factors[:-1]
        self.fpn_layers = nnx.List(
            [Level(config.trunk.hidden_size, config.neck.fpn_hidden_size, scale, rngs) for scale in scales]
        )


class VisionEncoder(nnx.Module):
    """(B, S, S, 3) -> levels (B, H_i, W_i, d), fine to coarse."""

    def __init__(self, config: Config, rngs: nnx.Rngs) -> None:
        self.exact_trunk = exact_trunk(config)
        self.backbone = (Backbone if self.exact_trunk else ViT)(config.trunk, rngs)
        self.neck = Neck(config, rngs)

    def __call__(self, pixels: jax.Array, dtype: Any) -> tuple[jax.Array, ...]:
        """The levels, in `dtype`."""
        x = self.backbone(pixels.astype(jnp.float32 if self.exact_trunk else dtype)).astype(dtype)
        return tuple(level(x) for level in self.neck.fpn_layers)
