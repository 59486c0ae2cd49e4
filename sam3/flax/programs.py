"""The compiled programs of a detector: encode, text, ground, masks; one executable for every shape, kept.

Shapes are few because batches are filled up to powers of two and boxes to powers of four. Programs are lowered and
compiled ahead of their call (`jax.stages.Compiled`), go through JAX's persistent cache, and give the pixel buffer
back (donation). With several devices the batch axis is split over a mesh and the weights are replicated.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sam3.flax.detector import Detector, Found, Vision

AXIS = "data"


def persistent_cache() -> Path:
    """Turn JAX's persistent compile cache on; returns its folder. A folder already chosen through JAX stays."""
    folder = Path(
        os.environ.get("SAM3_JAX_CACHE")
        or getattr(jax.config, "jax_compilation_cache_dir", None)
        or Path.home() / ".cache" / "sam3-agent" / "jax"
    )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


def filled(count: int, base: int = 2, least: int = 1) -> int:
    """The next power of `base` times `least` that holds `count`."""
    size = least
    while size < count:
        size *= base
    return size


class Programs:
    """A detector's programs on some devices.

    Args:
        detector: with its weights.
        devices: one, or several to split batches over.
    """

    def __init__(self, detector: Detector, devices: list[Any]) -> None:
        persistent_cache()
        self.graph, state = nnx.split(detector)
        self.mesh = Mesh(np.array(devices), (AXIS,))
        self.count, self.exact = len(devices), detector.dtype == jnp.float32
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self.state = jax.device_put(state, self.replicated)
        self._compiled: dict[Any, Any] = {}

    def encode(self, pixels: np.ndarray) -> list[Vision]:
        """float32 (B, S, S, 3) -> one `Vision` of batch 1 per image."""
        size = filled(len(pixels), least=self.count)
        room = np.zeros((size, *pixels.shape[1:]), np.float32)
        room[: len(pixels)] = pixels
        vision = self._run("encode", _encode, (jax.device_put(room, self.split),), donate=(1,))
        return [jax.tree.map(lambda x, at=at: x[at : at + 1], vision) for at in range(len(pixels))]

    def encode_text(self, ids: np.ndarray, mask: np.ndarray) -> jax.Array:
        """int64 (1, T) each -> (1, T, d)."""
        put = [jax.device_put(np.asarray(x, np.int32), self.replicated) for x in (ids, mask)]
        return self._run("text", _encode_text, tuple(put))

    def ground(
        self,
        images: Sequence[Vision],
        rows: np.ndarray,
        text: Sequence[jax.Array],
        mask: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Callable[..., list[np.ndarray]]]:
        """One batch of pairs.

        Args:
            images: distinct, batch 1 each. rows: int32 (P,), the image of each pair.
            text: (1, T, d) per pair. mask: bool (P, T). boxes: (P, K, 4). labels: (P, K).

        Returns:
            logits (P, Q), boxes xyxy (P, Q, 4), presence logits (P,), and a function that draws masks
            (`sam3.engines.answer.Answer.draw`).
        """
        pairs = len(rows)
        size = filled(pairs, least=self.count)
        spare = np.zeros(size - pairs, int)  # the first pair again, to fill the batch up
        order = np.concatenate([np.arange(pairs), spare])
        if self.count > 1:  # an image lies where its pair is computed
            images, local = [images[rows[at]] for at in order], np.arange(size) % (size // self.count)
            rows = np.arange(size)
        else:
            local = rows = rows[order]
        vision = self._together(images, filled(len(images), least=self.count))
        given = self._boxes(boxes[order], labels[order])
        features = jax.device_put(jnp.concatenate([text[at] for at in order]), self.split)
        put = jax.device_put((local.astype(np.int32), mask[order]), self.split)
        found = self._run("ground", _ground, (vision, put[0], features, put[1], *given))
        logits, corners, presence = jax.device_get((found.logits, found.boxes, found.presence))

        def draw(chosen: Sequence[int], queries: Sequence[np.ndarray]) -> list[np.ndarray]:
            return self._draw(vision, found, jax.device_put(rows.astype(np.int32), self.split), chosen, queries)

        return logits[:pairs], corners[:pairs], presence[:pairs], draw

    def compile_ahead(self, side: int, length: int, images: int, pairs: Sequence[int], boxes: Sequence[int]) -> None:
        """Compile for these batch sizes, from shapes alone."""
        batch = filled(images, least=self.count)
        shape = jax.ShapeDtypeStruct
        pixels = shape((batch, side, side, 3), jnp.float32, sharding=self.split)
        vision = self._compile("encode", _encode, (pixels,), donate=(1,)).out_info
        ids = shape((1, length), jnp.int32, sharding=self.replicated)
        text = self._compile("text", _encode_text, (ids, ids)).out_info
        for count in {filled(n, least=self.count) for n in pairs}:
            held = count if self.count > 1 else 1
            seen = jax.tree.map(lambda x, held=held: shape((held, *x.shape[1:]), x.dtype, sharding=self.split), vision)
            rows = shape((count,), jnp.int32, sharding=self.split)
            words = shape((count, length, text.shape[-1]), text.dtype, sharding=self.split)
            mask = shape((count, length), jnp.bool_, sharding=self.split)
            for most in boxes:
                given: tuple[Any, ...] = ()
                if most:
                    k = filled(most, 4)
                    given = (
                        shape((count, k, 4), jnp.float32, sharding=self.split),
                        shape((count, k), jnp.int32, sharding=self.split),
                    )
                self._compile("ground", _ground, (seen, rows, words, mask, *given))

    def _boxes(self, boxes: np.ndarray, labels: np.ndarray) -> tuple[jax.Array, ...]:
        if not boxes.shape[1]:
            return ()
        more = filled(boxes.shape[1], 4) - boxes.shape[1]
        boxes = np.pad(boxes, ((0, 0), (0, more), (0, 0)), constant_values=0.5)
        labels = np.pad(labels, ((0, 0), (0, more)), constant_values=-10)
        return tuple(jax.device_put((boxes.astype(np.float32), labels.astype(np.int32)), self.split))

    def _together(self, images: Sequence[Vision], size: int) -> Vision:
        if len(images) == size == 1:
            return images[0]
        row = [*images, *[images[0]] * (size - len(images))]
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *row)
        return jax.device_put(joined, self.split)

    def _draw(
        self,
        vision: Vision,
        found: Found,
        rows: jax.Array,
        chosen: Sequence[int],
        queries: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """Masks of chosen queries of chosen pairs, filled up to one rectangle."""
        most = min(filled(max(len(q) for q in queries)), found.queries.shape[1])
        size = filled(len(chosen), least=self.count)
        pairs, index = np.zeros(size, np.int32), np.zeros((size, most), np.int32)
        for at, (pair, wanted) in enumerate(zip(chosen, queries, strict=True)):
            pairs[at], index[at, : len(wanted)] = pair, wanted
        put = jax.device_put((pairs, index), self.split)
        masks = np.asarray(self._run("masks", _masks, (vision, found, rows, *put)))
        return [masks[at, : len(wanted)] for at, wanted in enumerate(queries)]

    def _run(self, name: str, step: Callable[..., Any], args: tuple[Any, ...], donate: tuple[int, ...] = ()) -> Any:
        return self._compile(name, step, args, donate)(self.state, *args)

    def _compile(self, name: str, step: Callable[..., Any], args: tuple[Any, ...], donate: tuple[int, ...] = ()) -> Any:
        """The executable of a step for these shapes."""
        key = (name, *[(x.shape, str(x.dtype)) for x in jax.tree.leaves(args)])
        if key not in self._compiled:
            program = jax.jit(
                self._placed(name, lambda state, *rest: step(nnx.merge(self.graph, state), *rest), len(args)),
                donate_argnums=donate,
                out_shardings=self.replicated if name == "text" else self.split,
            )
            precision = "highest" if self.exact else "default"
            with jax.default_matmul_precision(precision), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # where a backend cannot donate, it says so and copies
                self._compiled[key] = program.lower(self.state, *args).compile()
        return self._compiled[key]

    def _placed(self, name: str, program: Callable[..., Any], inputs: int) -> Callable[..., Any]:
        """Over several devices, encode and ground run on each device's own images and pairs, and nothing is exchanged.

        Masks may be wanted of pairs that all lie on one device: there XLA moves what it must.
        """
        if self.count == 1 or name not in ("encode", "ground"):
            return program
        specs = (PartitionSpec(), *[PartitionSpec(AXIS)] * inputs)
        return jax.shard_map(program, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)


def _encode(detector: Detector, pixels: jax.Array) -> Vision:
    return detector.encode_images(pixels)


def _encode_text(detector: Detector, ids: jax.Array, mask: jax.Array) -> jax.Array:
    return detector.encode_text(ids, mask)


def _ground(
    detector: Detector,
    vision: Vision,
    rows: jax.Array,
    text: jax.Array,
    mask: jax.Array,
    boxes: jax.Array | None = None,
    labels: jax.Array | None = None,
) -> Found:
    return detector.ground(vision.take(rows), text, mask, boxes, labels)


def _masks(
    detector: Detector, vision: Vision, found: Found, rows: jax.Array, pairs: jax.Array, index: jax.Array
) -> jax.Array:
    chosen = Found(*(x[pairs] for x in found))
    queries = jnp.take_along_axis(chosen.queries, index[..., None], 1)
    return detector.masks(vision.take(rows[pairs]), chosen, queries)
