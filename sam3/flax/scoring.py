"""How well a query fits the prompt: a dot product of the two, after an MLP on the prompt's side."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Transformer
from sam3.flax.layers import Head, norm

MAX_LOGIT = 12.0


class DotProductScoring(nnx.Module):
    """Prompt tokens and queries -> logits."""

    def __init__(self, config: Transformer, rngs: nnx.Rngs) -> None:
        size = config.hidden_size
        self.text_mlp = Head((size, config.intermediate_size, size), rngs)
        self.text_mlp_out_norm = norm(size, rngs)
        self.text_proj, self.query_proj = nnx.Linear(size, size, rngs=rngs), nnx.Linear(size, size, rngs=rngs)

    def __call__(self, queries: jax.Array, prompt: jax.Array, seen: jax.Array) -> jax.Array:
        """(P, Q, d), (P, T, d), bool (P, T) -> float32 (P, Q)."""
        tokens = self.text_mlp_out_norm(self.text_mlp(prompt) + prompt)
        count = jnp.maximum(seen.sum(1, keepdims=True), 1).astype(tokens.dtype)
        pooled = self.text_proj((tokens * seen[..., None].astype(tokens.dtype)).sum(1) / count)
        logits = jnp.einsum("pqd,pd->pq", self.query_proj(queries), pooled) / math.sqrt(pooled.shape[-1])
        return jnp.clip(logits.astype(jnp.float32), -MAX_LOGIT, MAX_LOGIT)
