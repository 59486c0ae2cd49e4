"""The mask head: masks of chosen queries, with the image's share of the work done beforehand.

Each stage of the published head is conv(upsample(coarse) + fine). A convolution is linear, so conv(fine) belongs to
the image alone and is done once (`prepare`); and a 3 x 3 convolution of a map whose pixels were doubled is a 2 x 2
one of the map itself for each of four phases, at 4/9 of the work. The 1 x 1 projection before the dot product with
the queries moves to the queries' side. The answers are the published ones up to rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Masks
from sam3.flax.layers import Attention, norm


class PixelDecoder(nnx.Module):
    """From the coarsest map to the finest."""

    def __init__(self, config: Masks, rngs: nnx.Rngs) -> None:
        size, stages = config.hidden_size, config.num_upsampling_stages
        self.conv_layers = nnx.List([nnx.Conv(size, size, (3, 3), padding=1, rngs=rngs) for _ in range(stages)])
        self.norms = nnx.List(
            [nnx.GroupNorm(size, 8, epsilon=1e-5, use_fast_variance=False, rngs=rngs) for _ in range(stages)]
        )

    def prepare(self, levels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Every level but the coarsest through the convolution that will meet it, bias included."""
        last = len(levels) - 2
        return tuple(self.conv_layers[last - at](level) for at, level in enumerate(levels[:-1]))

    def __call__(self, coarse: jax.Array, prepared: tuple[jax.Array, ...]) -> jax.Array:
        """(P, H, W, d) and the prepared levels, fine to coarse -> (P, H_0, W_0, d)."""
        for at, fine in enumerate(reversed(prepared)):
            coarse = double_and_convolve(coarse, self.conv_layers[at].kernel[...])
            coarse = jax.nn.relu(self.norms[at](coarse + fine)).astype(fine.dtype)
        return coarse


def double_and_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3 x 3 convolution (zero padded) of `x` after each pixel was doubled in both directions, without doubling it.

    Args:
        x: (P, H, W, inputs). kernel: (3, 3, inputs, outputs).

    Returns:
        (P, 2H, 2W, outputs).
    """
    pairs, height, width, inputs = x.shape
    outputs = kernel.shape[-1]

    def phases(k: jax.Array) -> jax.Array:
        """Along the first axis: an even pixel sees its left neighbour and itself twice, an odd one itself and the right."""
        return jnp.stack([jnp.stack([k[0], k[1] + k[2]]), jnp.stack([k[0] + k[1], k[2]])])

    both = jax.vmap(jax.vmap(phases))(phases(kernel))  # (row phase, row tap, column phase, column tap, in, out)
    merged = both.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, inputs, 4 * outputs)
    corners = jax.lax.conv_general_dilated(
        x, merged, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    ).reshape(pairs, height + 1, width + 1, 2, 2, outputs)
    rows = [
        jnp.stack([corners[:, p : p + height, q : q + width, p, q] for q in (0, 1)], 3) for p in (0, 1)
    ]  # (P, H, W, 2, outputs) each
    return jnp.stack(rows, 2).reshape(pairs, 2 * height, 2 * width, outputs)


class MaskEmbedder(nnx.Module):
    """Queries -> what is looked for in every pixel."""

    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(size, size, rngs=rngs) for _ in range(3)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d) -> (..., d)."""
        first, second, third = self.layers
        return third(jax.nn.relu(second(jax.nn.relu(first(x)))))


class MaskDecoder(nnx.Module):
    """Encoded places, prompt and queries -> mask logits."""

    def __init__(self, config: Masks, rngs: nnx.Rngs) -> None:
        size = config.hidden_size
        self.pixel_decoder = PixelDecoder(config, rngs)
        self.mask_embedder = MaskEmbedder(size, rngs)
        self.instance_projection = nnx.Conv(size, size, (1, 1), rngs=rngs)
        self.semantic_projection = nnx.Conv(size, 1, (1, 1), rngs=rngs)
        self.prompt_cross_attn, self.prompt_cross_attn_norm = (
            Attention(size, config.num_attention_heads, rngs),
            norm(size, rngs),
        )

    def pixels(
        self, encoded: jax.Array, prompt: jax.Array, mask: jax.Array, prepared: tuple[jax.Array, ...]
    ) -> jax.Array:
        """(P, N, d), (P, T, d), (P, 1, 1, T), prepared levels -> pixel embeddings (P, H_0, W_0, d)."""
        encoded = encoded + self.prompt_cross_attn(self.prompt_cross_attn_norm(encoded), prompt, prompt, mask)
        side = int(encoded.shape[1] ** 0.5)
        return self.pixel_decoder(encoded.reshape(len(encoded), side, side, -1), prepared)

    def __call__(self, pixels: jax.Array, queries: jax.Array) -> jax.Array:
        """(P, H, W, d), (P, n, d) -> float32 (P, n, H, W)."""
        wanted = self.mask_embedder(queries)
        kernel, bias = self.instance_projection.kernel[0, 0], self.instance_projection.bias
        assert bias is not None
        logits = jnp.einsum("pnd,phwd->pnhw", wanted @ kernel.T, pixels, preferred_element_type=jnp.float32)
        return logits + (wanted @ bias[...]).astype(jnp.float32)[..., None, None]

    def semantic(self, pixels: jax.Array) -> jax.Array:
        """(P, H, W, d) -> (P, H, W) logits of "this pixel is the concept"."""
        return self.semantic_projection(pixels)[..., 0]
