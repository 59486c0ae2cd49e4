"""SAM 3's image trunk: a ViT with axial rotary attention, in windows except at a few layers.

After `Sam3ViTModel` in transformers (windows as in ViTDet, Li et al. 2022).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Trunk
from sam3.flax.layers import MLP, Attention, norm
from sam3.flax.positions import rotary_table, rotate


class PatchEmbeddings(nnx.Module):
    """Squares of pixels -> tokens."""

    def __init__(self, config: Trunk, rngs: nnx.Rngs) -> None:
        side = (config.patch_size, config.patch_size)
        self.projection = nnx.Conv(
            3, config.hidden_size, side, strides=side, padding="VALID", use_bias=False, rngs=rngs
        )


class Embeddings(nnx.Module):
    """Patches with the pretraining grid's positions, tiled over the larger image."""

    def __init__(self, config: Trunk, rngs: nnx.Rngs) -> None:
        self.side = config.pretrain_image_size // config.patch_size
        self.patch_embeddings = PatchEmbeddings(config, rngs)
        self.position_embeddings = nnx.Param(jnp.zeros((1, self.side * self.side, config.hidden_size)))

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """(B, S, S, 3) -> (B, S / patch, S / patch, d)."""
        tokens = self.patch_embeddings.projection(pixels)
        height, width = tokens.shape[1:3]
        table = self.position_embeddings[...].reshape(self.side, self.side, -1)
        tiled = jnp.tile(table, (height // self.side + 1, width // self.side + 1, 1))
        return tokens + tiled[:height, :width]


class Layer(nnx.Module):
    """One block; `window` 0 attends over the whole image."""

    def __init__(self, config: Trunk, window: int, rngs: nnx.Rngs) -> None:
        self.window, self.config = window, config
        self.layer_norm1 = norm(config.hidden_size, rngs, config.layer_norm_eps)
        self.attention = Attention(config.hidden_size, config.num_attention_heads, rngs)
        self.layer_norm2 = norm(config.hidden_size, rngs, config.layer_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, d) -> (B, H, W, d)."""
        side = self.window or self.config.grid
        step = self.config.window_size / side
        head = self.config.hidden_size // self.config.num_attention_heads
        cosines, sines = rotary_table(side, step, head, self.config.rope_theta)
        turn = functools.partial(rotate, cosines=cosines, sines=sines)
        normed = self.layer_norm1(x)
        windows = split(normed, self.window) if self.window else normed.reshape(len(x), -1, x.shape[-1])
        seen = self.attention(windows, windows, windows, turn=turn)
        x = x + (join(seen, self.window, x.shape) if self.window else seen.reshape(x.shape))
        return x + self.mlp(self.layer_norm2(x))


def split(x: jax.Array, window: int) -> jax.Array:
    """(B, H, W, d) -> (B * windows, window * window, d), zeros where the last ones stick out."""
    batch, height, width, channels = x.shape
    down, right = -height % window, -width % window
    x = jnp.pad(x, ((0, 0), (0, down), (0, right), (0, 0)))
    x = x.reshape(batch, (height + down) // window, window, (width + right) // window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def join(x: jax.Array, window: int, shape: tuple[int, ...]) -> jax.Array:
    """The reverse of `split`, back to `shape`."""
    batch, height, width, channels = shape
    rows, columns = -(-height // window), -(-width // window)
    x = x.reshape(batch, rows, columns, window, window, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * window, columns * window, channels)[:, :height, :width]


class ViT(nnx.Module):
    """(B, S, S, 3) -> (B, grid, grid, d)."""

    def __init__(self, config: Trunk, rngs: nnx.Rngs) -> None:
        self.embeddings = Embeddings(config, rngs)
        self.layer_norm = norm(config.hidden_size, rngs, config.layer_norm_eps)
        self.layers = nnx.List(
            [
                Layer(config, 0 if at in config.global_attn_indexes else config.window_size, rngs)
                for at in range(config.num_hidden_layers)
            ]
        )

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """The trunk's map."""
        x = self.layer_norm(self.embeddings(pixels))
        for layer in self.layers:
            x = layer(x)
        return x
