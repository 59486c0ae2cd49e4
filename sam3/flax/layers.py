"""The parts that every stage is made of: attention, two kinds of MLP, norms.

Attributes carry the names of the published state dict, so that a weight's path in the module is its name in the
file (`sam3.flax.weights`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


def norm(size: int, rngs: nnx.Rngs, epsilon: float = 1e-5) -> nnx.LayerNorm:
    """Layer norm with the two-pass variance: PyTorch's, to the last digits."""
    return nnx.LayerNorm(size, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
) -> jax.Array:
    """softmax(q k' / sqrt(head) + bias) v over (B, N, heads, head).

    Plain 16-bit attention on an NVIDIA GPU goes through cuDNN's fused kernel; masks and position biases, whose
    lengths it refuses, go through XLA.

    Args:
        mask: bool, broadcastable to (B, heads, N, M); False is not seen. bias: like it, added before the softmax.
    """
    fused = mask is None and bias is None and query.dtype == jnp.bfloat16 and jax.default_backend() == "gpu"
    return jax.nn.dot_product_attention(query, key, value, bias, mask, implementation="cudnn" if fused else "xla")


class Attention(nnx.Module):
    """Multi-head attention with separate projections."""

    def __init__(self, size: int, heads: int, rngs: nnx.Rngs, out: str = "o_proj") -> None:
        self.heads, self.out = heads, out
        self.q_proj: nnx.Linear
        self.k_proj: nnx.Linear
        self.v_proj: nnx.Linear
        for name in ("q_proj", "k_proj", "v_proj", out):
            setattr(self, name, nnx.Linear(size, size, rngs=rngs))

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        turn: Callable[[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """(B, N, d), (B, M, d), (B, M, d) -> (B, N, d); `turn` is applied to queries and keys (rotary positions)."""
        q, k, v = self._heads(self.q_proj(query)), self._heads(self.k_proj(key)), self._heads(self.v_proj(value))
        if turn is not None:
            q, k = turn(q), turn(k)
        seen = attend(q, k, v, mask, bias)
        return getattr(self, self.out)(seen.reshape(query.shape))

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)


class MLP(nnx.Module):
    """fc1, activation, fc2."""

    def __init__(self, size: int, inner: int, act: str, rngs: nnx.Rngs) -> None:
        self.act = act
        self.fc1 = nnx.Linear(size, inner, rngs=rngs)
        self.fc2 = nnx.Linear(inner, size, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d) -> (..., d)."""
        return self.fc2(ACTIVATIONS[self.act](self.fc1(x)))


class Head(nnx.Module):
    """Two or three linear layers with ReLU between them."""

    def __init__(self, sizes: tuple[int, ...], rngs: nnx.Rngs) -> None:
        self.count = len(sizes) - 1
        for at in range(self.count):
            setattr(self, f"layer{at + 1}", nnx.Linear(sizes[at], sizes[at + 1], rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., first) -> (..., last)."""
        for at in range(1, self.count):
            x = jax.nn.relu(getattr(self, f"layer{at}")(x))
        return getattr(self, f"layer{self.count}")(x)


class DoubleUp(nnx.Module):
    """A transposed convolution of kernel 2 and stride 2: every place becomes four, none overlap, one product does it."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        make = nnx.initializers.lecun_normal()
        self.up_kernel = nnx.Param(make(rngs.params(), (2, 2, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, inputs) -> (B, 2H, 2W, outputs)."""
        batch, height, width, _ = x.shape
        spread = jnp.einsum("bhwi,klio->bhkwlo", x, self.up_kernel[...])
        return spread.reshape(batch, 2 * height, 2 * width, -1) + self.bias[...]
