"""Exemplar boxes -> prompt tokens: where the box is, what is in it, like this or not like this."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Transformer
from sam3.flax.layers import MLP, Attention, norm
from sam3.flax.positions import encode


class Layer(nnx.Module):
    """Tokens see each other, then the image."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size, heads = config.hidden_size, config.num_attention_heads
        self.layer_norm1, self.self_attn = norm(size, rngs), Attention(size, heads, rngs)
        self.layer_norm2, self.cross_attn = norm(size, rngs), Attention(size, heads, rngs)
        self.layer_norm3, self.mlp = norm(size, rngs), MLP(size, config.intermediate_size, config.hidden_act, rngs)

    def __call__(self, x: jax.Array, mask: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
        """(P, K, d) tokens, (P, 1, 1, K) mask, (P, N, d) image with and without positions."""
        normed = self.layer_norm1(x)
        x = x + self.self_attn(normed, normed, normed, mask)
        x = x + self.cross_attn(self.layer_norm2(x), keys, values)
        return x + self.mlp(self.layer_norm3(x))


class GeometryEncoder(nnx.Module):
    """(P, K, 4) boxes -> (P, K + 1, d) tokens; the last one is the encoder's own."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size, roi = config.hidden_size, config.roi_size
        self.roi = roi
        self.label_embed, self.cls_embed = nnx.Embed(2, size, rngs=rngs), nnx.Embed(1, size, rngs=rngs)
        self.boxes_direct_project = nnx.Linear(4, size, rngs=rngs)
        self.boxes_pool_project = nnx.Conv(size, size, (roi, roi), padding="VALID", rngs=rngs)
        self.boxes_pos_enc_project = nnx.Linear(size + 2, size, rngs=rngs)
        self.vision_layer_norm, self.prompt_layer_norm = norm(size, rngs), norm(size, rngs)
        self.final_proj = nnx.Linear(size, size, rngs=rngs)
        self.layers = nnx.List([Layer(config, rngs) for _ in range(config.num_layers)])
        self.output_layer_norm = norm(size, rngs)

    def __call__(self, boxes: jax.Array, labels: jax.Array, level: jax.Array, position: jax.Array) -> jax.Array:
        """Tokens of the boxes of each pair.

        Args:
            boxes: float32 (P, K, 4) cxcywh in [0, 1]. labels: (P, K), negative for padding.
            level: (P, H, W, d), the coarsest. position: (H, W, d).
        """
        pairs = len(boxes)
        tokens = self._embed(boxes, labels, level)
        own = jnp.broadcast_to(self.cls_embed.embedding[...], (pairs, 1, tokens.shape[-1])).astype(tokens.dtype)
        tokens = self.prompt_layer_norm(self.final_proj(jnp.concatenate([tokens, own], 1)))
        mask = jnp.concatenate([labels >= 0, jnp.ones((pairs, 1), bool)], 1)[:, None, None]
        values = level.reshape(pairs, -1, level.shape[-1])
        keys = (level + position).reshape(values.shape)
        for layer in self.layers:
            tokens = layer(tokens, mask, keys, values)
        return self.output_layer_norm(tokens)

    def _embed(self, boxes: jax.Array, labels: jax.Array, level: jax.Array) -> jax.Array:
        pairs, count = boxes.shape[:2]
        size, dtype = level.shape[-1], level.dtype
        pooled = roi_align(self.vision_layer_norm(level), boxes, self.roi)
        pooled = self.boxes_pool_project(pooled.reshape(pairs * count, self.roi, self.roi, size).astype(dtype))
        x, y, w, h = jnp.moveaxis(boxes, -1, 0)
        place = jnp.concatenate([encode(y, size // 2), encode(x, size // 2), h[..., None], w[..., None]], -1)
        tokens = self.boxes_direct_project(boxes.astype(dtype)) + pooled.reshape(pairs, count, size)
        tokens = tokens + self.boxes_pos_enc_project(place.astype(dtype))
        return tokens + self.label_embed(jnp.maximum(labels, 0)).astype(dtype)


def roi_align(level: jax.Array, boxes: jax.Array, size: int) -> jax.Array:
    """torchvision's `roi_align` (He et al. 2017), `aligned=False`, adaptive sampling.

    A sample's bilinear weights are a product of one over rows and one over columns, so the mean over a bin's grid
    of samples is a product of two small matrices with the map: no gathering, and no shape that depends on the box.

    Args:
        level: (P, H, W, d). boxes: float32 (P, K, 4) cxcywh in [0, 1].

    Returns:
        float32 (P, K, size, size, d).
    """
    height, width = level.shape[1:3]
    x, y, w, h = jnp.moveaxis(boxes, -1, 0)
    # a compiler that fused the products into the differences below could round a size over a multiple of `size`
    x0, x1 = jax.lax.optimization_barrier(((x - 0.5 * w) * width, (x + 0.5 * w) * width))
    y0, y1 = jax.lax.optimization_barrier(((y - 0.5 * h) * height, (y + 0.5 * h) * height))
    rows, columns = _bin_weights(y0, y1, height, size), _bin_weights(x0, x1, width, size)
    return jnp.einsum("pkih,phwd,pkjw->pkijd", rows, level.astype(jnp.float32), columns)


def _bin_weights(start: jax.Array, end: jax.Array, places: int, size: int) -> jax.Array:
    """(P, K, size, places): how much each place counts in each bin along one axis."""
    length = jnp.maximum(end - start, 1.0)
    step = length / size
    count = jnp.ceil(step)  # samples in a bin
    most = -(-places // size) + 1
    sample = jnp.arange(most)
    at = start[..., None, None] + jnp.arange(size)[:, None] * step[..., None, None]
    at = at + (sample + 0.5) * (step / count)[..., None, None]  # (P, K, size, samples)
    used = (sample < count[..., None, None]) & (at >= -1) & (at <= places)
    at = jnp.clip(at, 0, places - 1)
    hat = jnp.maximum(0.0, 1.0 - jnp.abs(at[..., None] - jnp.arange(places)))
    return (hat * used[..., None]).sum(-2) / count[..., None, None]
