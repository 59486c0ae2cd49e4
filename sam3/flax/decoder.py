"""The DETR decoder: object queries and the presence token look at the prompt and the image, boxes refine as they go.

Boxes steer the attention over the image through a bias that depends on how far each row and column is from the
box's sides (Lin et al. 2023, "plain DETR"). Only the last layer's answer is kept. Boxes stay float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sam3.flax.config import Transformer
from sam3.flax.layers import MLP, Attention, Head, norm
from sam3.flax.positions import encode_boxes

MAX_PRESENCE = 10.0


class Decoded(NamedTuple):
    """queries (P, Q, d); boxes float32 (P, Q, 4) cxcywh in [0, 1]; presence (P,) logits."""

    queries: jax.Array
    boxes: jax.Array
    presence: jax.Array


class Layer(nnx.Module):
    """One block, norms last."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size, heads = config.hidden_size, config.num_attention_heads
        self.self_attn, self.self_attn_layer_norm = Attention(size, heads, rngs), norm(size, rngs)
        self.text_cross_attn, self.text_cross_attn_layer_norm = Attention(size, heads, rngs), norm(size, rngs)
        self.vision_cross_attn, self.vision_cross_attn_layer_norm = Attention(size, heads, rngs), norm(size, rngs)
        self.mlp = MLP(size, config.intermediate_size, config.hidden_act, rngs)
        self.mlp_layer_norm = norm(size, rngs)

    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        prompt: tuple[jax.Array, jax.Array],
        image: tuple[jax.Array, jax.Array],
        bias: jax.Array,
    ) -> jax.Array:
        """(P, 1 + Q, d) -> the same; `prompt` is tokens and mask, `image` keys and values."""
        x = self.self_attn_layer_norm(x + self.self_attn(x + place, x + place, x))
        tokens, mask = prompt
        x = self.text_cross_attn_layer_norm(x + self.text_cross_attn(x + place, tokens, tokens, mask))
        keys, values = image
        x = self.vision_cross_attn_layer_norm(x + self.vision_cross_attn(x + place, keys, values, bias=bias))
        return self.mlp_layer_norm(x + self.mlp(x))


class DetrDecoder(nnx.Module):
    """Queries -> objects."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size = config.hidden_size
        self.layers = nnx.List([Layer(config, rngs) for _ in range(config.num_layers)])
        self.output_layer_norm, self.presence_layer_norm = norm(size, rngs), norm(size, rngs)
        self.box_head, self.presence_head = Head((size, size, size, 4), rngs), Head((size, size, size, 1), rngs)
        self.query_embed = nnx.Embed(config.num_queries, size, rngs=rngs)
        self.reference_points = nnx.Embed(config.num_queries, 4, rngs=rngs)
        self.presence_token = nnx.Embed(1, size, rngs=rngs)
        self.ref_point_head = Head((2 * size, size, size), rngs)
        self.box_rpb_embed_x = Head((2, size, config.num_attention_heads), rngs)
        self.box_rpb_embed_y = Head((2, size, config.num_attention_heads), rngs)

    def __call__(
        self, encoded: jax.Array, position: jax.Array, prompt: jax.Array, mask: jax.Array, shape: tuple[int, int]
    ) -> Decoded:
        """encoded (P, H * W, d), position (H * W, d), prompt (P, T, d), mask (P, 1, 1, T)."""
        pairs, _, size = encoded.shape
        dtype = encoded.dtype
        x = jnp.concatenate([self.presence_token.embedding[...], self.query_embed.embedding[...]]).astype(dtype)
        x = jnp.broadcast_to(x, (pairs, *x.shape))
        boxes = jax.nn.sigmoid(self.reference_points.embedding[...].astype(jnp.float32))
        boxes = jnp.broadcast_to(boxes, (pairs, *boxes.shape))
        keys = encoded + position
        for layer in self.layers:
            place = self.ref_point_head(encode_boxes(boxes, size).astype(dtype))
            place = jnp.pad(place, ((0, 0), (1, 0), (0, 0)))  # the presence token has no place
            bias = jnp.pad(self._bias(boxes, shape, dtype), ((0, 0), (0, 0), (1, 0), (0, 0)))
            x = layer(x, place, (prompt, mask), (keys, encoded), bias)
            queries = self.output_layer_norm(x[:, 1:])
            boxes = jax.nn.sigmoid(inverse_sigmoid(boxes) + self.box_head(queries).astype(jnp.float32))
        presence = self.presence_head(self.presence_layer_norm(x[:, 0]))[:, 0]
        return Decoded(queries, boxes, jnp.clip(presence.astype(jnp.float32), -MAX_PRESENCE, MAX_PRESENCE))

    def _bias(self, boxes: jax.Array, shape: tuple[int, int], dtype: jnp.dtype) -> jax.Array:
        """(P, heads, Q, H * W): how far each row and column is from the sides of each box, on a log scale."""
        height, width = shape
        x, y, w, h = jnp.moveaxis(boxes, -1, 0)
        rows = jnp.stack([y - 0.5 * h, y + 0.5 * h], -1)  # (P, Q, 2)
        columns = jnp.stack([x - 0.5 * w, x + 0.5 * w], -1)

        def far(sides: jax.Array, count: int) -> jax.Array:
            grid = np.arange(count, dtype=np.float32) / np.float32(count)
            scaled = 8 * (grid[:, None] - sides[:, :, None])
            return (jnp.sign(scaled) * jnp.log2(jnp.abs(scaled) + 1) / math.log2(8)).astype(dtype)

        down = self.box_rpb_embed_y(far(rows, height))  # (P, Q, H, heads)
        across = self.box_rpb_embed_x(far(columns, width))
        both = down[:, :, :, None] + across[:, :, None]
        return both.reshape(*both.shape[:2], height * width, -1).transpose(0, 3, 1, 2)


def inverse_sigmoid(x: jax.Array, epsilon: float = 1e-3) -> jax.Array:
    """log(x / (1 - x)), each side at least `epsilon`."""
    x = jnp.clip(x, 0, 1)
    return jnp.log(jnp.maximum(x, epsilon) / jnp.maximum(1 - x, epsilon))
