"""model.safetensors -> the Flax detector: the same file that PyTorch loads, weight by weight, by name.

    load_detector("sam3-lite", dtype="bfloat16")

A weight's path in the module is its name in the file; only the last word and the order of axes differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sam3.checkpoint import checkpoint_folder
from sam3.checkpoint_files import weights_problem
from sam3.errors import BadCheckpoint
from sam3.fast.switches import EXACT_PARTS
from sam3.flax.config import Config, read_config
from sam3.flax.detector import Detector
from sam3.flax.vision import exact_trunk

TRUNK = ("vision_encoder", "backbone")
PREFIX = "detector_model."  # of the published file, which carries the tracker too
# last word in the module -> (last word in the file, axes by number of dimensions)
WORDS: dict[str, tuple[str, dict[int, tuple[int, ...]]]] = {
    "kernel": ("weight", {2: (1, 0), 4: (2, 3, 1, 0)}),
    "up_kernel": ("weight", {4: (2, 3, 0, 1)}),
    "scale": ("weight", {}),
    "embedding": ("weight", {}),
}


def abstract_detector(config: Config) -> Detector:
    """The detector with shapes instead of weights; costs no memory."""
    return nnx.eval_shape(lambda: Detector(config, nnx.Rngs(0)))


def load_detector(checkpoint: str | Path, dtype: str = "float32") -> Detector:
    """A checkpoint's detector.

    Args:
        checkpoint: `sam3-lite`, `facebook/sam3` or a folder. dtype: "float32" or "bfloat16".

    Raises:
        BadCheckpoint: missing, damaged, or not the weights that config.json describes.
    """
    from safetensors import SafetensorError, safe_open

    folder = checkpoint_folder(checkpoint)
    if problem := weights_problem(folder):
        raise BadCheckpoint(f"{problem}. Fetch or train the checkpoint again.")
    files: dict[str, Any] = {}
    try:
        for path in sorted(folder.glob("*.safetensors")):
            opened = safe_open(path, framework="flax")
            files |= {name.removeprefix(PREFIX): (opened, name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise BadCheckpoint(f"{folder}: cannot be read ({error}). Fetch or train the checkpoint again.") from error
    config = read_config(folder)
    graph, state = nnx.split(abstract_detector(config))
    filled: Any = []
    for place, leaf in nnx.to_flat_state(state):
        kind = "float32" if _stays(place, config) else dtype
        filled.append((place, leaf.replace(_weight(place, leaf, files, folder, kind))))
    return nnx.merge(graph, nnx.from_flat_state(filled))


def _stays(place: tuple[Any, ...], config: Config) -> bool:
    """Whether a weight is float32 always."""
    norm = place[0] == "detr_encoder" and "norm" in str(place[-2])
    return norm or place[0] in EXACT_PARTS or (exact_trunk(config) and place[:2] == TRUNK)


def _weight(path: tuple[Any, ...], leaf: Any, files: dict[str, Any], folder: Path, dtype: str) -> jax.Array:
    word, axes = WORDS.get(str(path[-1]), (str(path[-1]), {}))
    name = ".".join([*map(str, path[:-1]), word])
    if name not in files:
        raise BadCheckpoint(
            f"{folder}: {name} is not in the file, but config.json asks for it. Another model's weights?"
        )
    opened, stored = files[name]
    array = opened.get_tensor(stored)
    array = array.transpose(axes.get(array.ndim, tuple(range(array.ndim))))
    if array.shape != tuple(leaf.shape):
        raise BadCheckpoint(
            f"{folder}: {name} has shape {array.shape}, config.json asks for {tuple(leaf.shape)}. Another model's weights?"
        )
    return jnp.asarray(array, dtype)


def random_detector(config: Config, dtype: str = "float32", seed: int = 0) -> Detector:
    """Random weights of the right shapes, made on the device: for benchmarks where the published ones are absent."""
    graph, state = nnx.split(abstract_detector(config))
    rng = np.random.default_rng(seed)

    def fill(place: tuple[Any, ...], leaf: Any) -> Any:
        kind = "float32" if _stays(place, config) else dtype
        if len(leaf.shape) < 2:
            return leaf.replace(jnp.ones(leaf.shape, kind))
        key = jax.random.key(int(rng.integers(2**31)))
        return leaf.replace(0.02 * jax.random.normal(key, leaf.shape, kind))

    filled: Any = [(place, fill(place, leaf)) for place, leaf in nnx.to_flat_state(state)]
    return nnx.merge(graph, nnx.from_flat_state(filled))
