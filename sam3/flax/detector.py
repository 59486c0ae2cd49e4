"""The detector in steps, as in `sam3.detector`: encode an image once, prompt it often, masks only for what is kept.

vision = detector.encode_images(pixels)                        # once per image
text = detector.encode_text(ids, mask)                         # once per phrase
found = detector.ground(vision, text, mask, boxes, labels)     # per pair
masks = detector.masks(vision, found, queries)                 # for the queries somebody wants
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Config
from sam3.flax.decoder import DetrDecoder
from sam3.flax.detr import DetrEncoder
from sam3.flax.geometry import GeometryEncoder
from sam3.flax.masks import MaskDecoder
from sam3.flax.positions import sine_map
from sam3.flax.scoring import DotProductScoring
from sam3.flax.text import TextEncoder
from sam3.flax.vision import VisionEncoder


class Vision(NamedTuple):
    """What the image encoder leaves of B images, everything that needs no prompt done.

    Attributes:
        level: (B, H, W, d), the coarsest: what the DETR sees.
        started: (B, H * W, d), after the DETR encoder's first self-attention.
        prepared: finer levels (B, H_i, W_i, d) for the mask head, fine to coarse.
    """

    level: jax.Array
    started: jax.Array
    prepared: tuple[jax.Array, ...]

    def take(self, rows: jax.Array) -> Vision:
        """The images of the pairs at `rows` (P,)."""
        return jax.tree.map(lambda x: x[rows], self)


class Found(NamedTuple):
    """The answer for P pairs.

    Attributes:
        logits: float32 (P, Q). boxes: float32 (P, Q, 4) xyxy in [0, 1]. presence: float32 (P,) logits.
        queries: (P, Q, d). encoded: (P, H * W, d). prompt: (P, T, d). seen: bool (P, T).
    """

    logits: jax.Array
    boxes: jax.Array
    presence: jax.Array
    queries: jax.Array
    encoded: jax.Array
    prompt: jax.Array
    seen: jax.Array


class Detector(nnx.Module):
    """SAM 3's detector; weights by `sam3.flax.weights`."""

    def __init__(self, config: Config, rngs: nnx.Rngs) -> None:
        self.config = config
        width = config.encoder.hidden_size
        self.vision_encoder = VisionEncoder(config, rngs)
        self.text_encoder = TextEncoder(config.text, rngs)
        self.text_projection = nnx.Linear(config.text.hidden_size, width, rngs=rngs)
        self.geometry_encoder = GeometryEncoder(config.geometry, rngs)
        self.detr_encoder = DetrEncoder(config.encoder, rngs)
        self.detr_decoder = DetrDecoder(config.decoder, rngs)
        self.mask_decoder = MaskDecoder(config.masks, rngs)
        self.dot_product_scoring = DotProductScoring(config.decoder, rngs)

    @property
    def dtype(self) -> jnp.dtype:
        """Of most weights, hence of the activations (`sam3.fast.precision` says which stay float32, and why)."""
        return self.mask_decoder.instance_projection.kernel[...].dtype

    def encode_images(self, pixels: jax.Array) -> Vision:
        """(B, S, S, 3) in [-1, 1] -> `Vision`."""
        levels = self.vision_encoder(pixels, self.dtype)
        level = levels[-1]
        flat = level.reshape(len(level), -1, level.shape[-1])
        started = self.detr_encoder.start(flat, self._position(level).reshape(flat.shape[1:]))
        return Vision(level, started, self.mask_decoder.pixel_decoder.prepare(levels))

    def encode_text(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """ids, mask (P, T) -> (P, T, d)."""
        return self.text_projection(self.text_encoder.text_model(ids, mask))

    def ground(
        self,
        vision: Vision,
        text: jax.Array,
        mask: jax.Array,
        boxes: jax.Array | None = None,
        labels: jax.Array | None = None,
    ) -> Found:
        """Find the concept of each pair.

        Args:
            vision: an entry per pair. text: (P, T, d). mask: bool (P, T).
            boxes: float32 (P, K, 4) cxcywh in [0, 1]. labels: int (P, K), negative for padding.
        """
        level = vision.level
        shape, position = (level.shape[1], level.shape[2]), self._position(level)
        prompt, seen = text, mask
        if boxes is not None and labels is not None:
            tokens = self.geometry_encoder(boxes, labels, level, position.astype(self.dtype)).astype(jnp.float32)
            given = labels >= 0
            own = given.any(1, keepdims=True)  # a pair without boxes does not see the encoder's own token
            prompt = jnp.concatenate([prompt, tokens], 1)
            seen = jnp.concatenate([seen, given, own], 1)
        places = position.reshape(-1, position.shape[-1])
        visible = seen[:, None, None]
        short = prompt.astype(self.dtype)
        encoded = self.detr_encoder(vision.started, places, short, visible)
        decoded = self.detr_decoder(encoded, places, prompt, visible, shape)
        logits = self.dot_product_scoring(decoded.queries, prompt, seen)
        x, y, w, h = jnp.moveaxis(decoded.boxes, -1, 0)
        corners = jnp.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1)
        return Found(logits, corners, decoded.presence, decoded.queries, encoded.astype(self.dtype), short, seen)

    def masks(self, vision: Vision, found: Found, queries: jax.Array) -> jax.Array:
        """Mask logits float32 (P, n, H_0, W_0) of `queries` (P, n, d); `vision` and `found` have an entry per pair."""
        pixels = self.mask_decoder.pixels(found.encoded, found.prompt, found.seen[:, None, None], vision.prepared)
        return self.mask_decoder(pixels, queries.astype(self.dtype))

    def _position(self, level: jax.Array) -> jax.Array:
        return jnp.asarray(sine_map(*level.shape[1:]), jnp.float32)
