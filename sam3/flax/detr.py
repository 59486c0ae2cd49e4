"""The DETR encoder: every place of the coarsest level sees all others, then the prompt.

The first self-attention comes before the first look at the prompt, so it is the image's alone: `start` does it
once, when the image is encoded, and every prompt goes on from there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Transformer
from sam3.flax.layers import MLP, Attention, norm


class Layer(nnx.Module):
    """One block, norms first. The stream from block to block is float32 (`sam3.fast.precision`)."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size, heads = config.hidden_size, config.num_attention_heads
        self.layer_norm1, self.self_attn = norm(size, rngs), Attention(size, heads, rngs)
        self.layer_norm2, self.cross_attn = norm(size, rngs), Attention(size, heads, rngs)
        self.layer_norm3, self.mlp = norm(size, rngs), MLP(size, config.intermediate_size, config.hidden_act, rngs)

    def look_around(self, x: jax.Array, position: jax.Array) -> jax.Array:
        """(P, N, d) -> (P, N, d): self-attention, which needs no prompt."""
        normed = self.layer_norm1(x)
        placed = (normed + position).astype(self.dtype)
        return x + self.self_attn(placed, placed, normed.astype(self.dtype))

    def look_at_prompt(self, x: jax.Array, prompt: jax.Array, mask: jax.Array) -> jax.Array:
        """(P, N, d) -> (P, N, d): the prompt's (P, T, d) tokens, and the MLP."""
        x = x + self.cross_attn(self.layer_norm2(x).astype(self.dtype), prompt, prompt, mask)
        return x + self.mlp(self.layer_norm3(x).astype(self.dtype))

    @property
    def dtype(self) -> jnp.dtype:
        """Of the products."""
        return self.mlp.fc1.kernel[...].dtype


class DetrEncoder(nnx.Module):
    """The blocks."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([Layer(config, rngs) for _ in range(config.num_layers)])

    def start(self, level: jax.Array, position: jax.Array) -> jax.Array:
        """(B, N, d) places, (N, d) positions -> what every prompt starts from, float32."""
        return self.layers[0].look_around(level.astype(jnp.float32), position)

    def __call__(self, started: jax.Array, position: jax.Array, prompt: jax.Array, mask: jax.Array) -> jax.Array:
        """Go on from `start` with a prompt (P, T, d) and its mask (P, 1, 1, T)."""
        x = self.layers[0].look_at_prompt(started, prompt, mask)
        for layer in list(self.layers)[1:]:
            x = layer.look_at_prompt(layer.look_around(x, position), prompt, mask)
        return x
