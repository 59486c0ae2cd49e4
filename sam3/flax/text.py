"""CLIP's text encoder: token ids -> a feature for every token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Text
from sam3.flax.layers import MLP, Attention, norm


class Embeddings(nnx.Module):
    """Tokens and their places."""

    def __init__(self, config: Text, rngs: nnx.Rngs) -> None:
        self.token_embedding = nnx.Embed(config.vocab_size, config.hidden_size, rngs=rngs)
        self.position_embedding = nnx.Embed(config.max_position_embeddings, config.hidden_size, rngs=rngs)


class Layer(nnx.Module):
    """One block, norms first."""

    def __init__(self, config: Text, rngs: nnx.Rngs) -> None:
        self.layer_norm1 = norm(config.hidden_size, rngs, config.layer_norm_eps)
        self.self_attn = Attention(config.hidden_size, config.num_attention_heads, rngs, out="out_proj")
        self.layer_norm2 = norm(config.hidden_size, rngs, config.layer_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act, rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """(P, T, d) -> (P, T, d)."""
        normed = self.layer_norm1(x)
        x = x + self.self_attn(normed, normed, normed, mask)
        return x + self.mlp(self.layer_norm2(x))


class Layers(nnx.Module):
    """The blocks, one level down as the published names have it."""

    def __init__(self, config: Text, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([Layer(config, rngs) for _ in range(config.num_hidden_layers)])


class TextModel(nnx.Module):
    """ids, mask (P, T) -> (P, T, d)."""

    def __init__(self, config: Text, rngs: nnx.Rngs) -> None:
        self.embeddings = Embeddings(config, rngs)
        self.encoder = Layers(config, rngs)
        self.final_layer_norm = norm(config.hidden_size, rngs, config.layer_norm_eps)

    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """A token sees itself and those before it, as CLIP was trained."""
        length = ids.shape[1]
        x = self.embeddings.token_embedding(ids) + self.embeddings.position_embedding(jnp.arange(length))
        seen = jnp.tril(jnp.ones((length, length), bool))[None, None] & mask.astype(bool)[:, None, None]
        for layer in self.encoder.layers:
            x = layer(x, seen)
        return self.final_layer_norm(x)


class TextEncoder(nnx.Module):
    """A wrapper that the published names ask for."""

    def __init__(self, config: Text, rngs: nnx.Rngs) -> None:
        self.text_model = TextModel(config, rngs)
