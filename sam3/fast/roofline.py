"""What the hardware allows: floating-point operations and bytes of each stage, and the time they take at best.

    python -c "from sam3.fast.roofline import *; print(predict(stages(PUBLISHED), H200))"

Only matrix products and convolutions are counted, two operations a multiply-add; norms and activations ride along.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sam3.flax.config import Config, Transformer

PUBLISHED = Config()
WIDE = ("text", "detr decoder, each prompt")  # stay float32 (`sam3.fast.precision`): TF32 has half the rate


@dataclass(frozen=True)
class Machine:
    """A device: dense 16-bit operations a second, bytes a second of its memory."""

    name: str
    flops: float
    bandwidth: float


H200 = Machine("NVIDIA H200, 790 TFLOP/s dense bf16 measured, 4.8 TB/s", 790e12, 4.8e12)


@dataclass(frozen=True)
class Stage:
    """Operations and bytes of weights, for one image or one pair."""

    flops: float
    weights: float

    def __add__(self, other: Stage) -> Stage:
        return Stage(self.flops + other.flops, self.weights + other.weights)


def linear(tokens: float, inputs: int, outputs: int) -> Stage:
    """A matrix product with weights in 16 bits."""
    return Stage(2 * tokens * inputs * outputs, 2 * inputs * outputs)


def products(queries: float, keys: float, width: int) -> Stage:
    """q k' and its product with v."""
    return Stage(4 * queries * keys * width, 0)


def attention(queries: float, keys: float, width: int) -> Stage:
    """Projections and products."""
    q, kv = linear(queries, width, width), linear(keys, width, width)
    return q + q + kv + kv + products(queries, keys, width)


def mlp(tokens: float, width: int, inner: int) -> Stage:
    """Two layers."""
    return linear(tokens, width, inner) + linear(tokens, inner, width)


def stages(config: Config, words: int = 8) -> dict[str, Stage]:
    """Every stage as this repository's fast path runs it."""
    side, width = config.trunk.grid, config.neck.fpn_hidden_size
    places, prompt = side * side, words + 1
    layer = (config.encoder, places, prompt)
    found = {
        "trunk": _trunk(config),
        "neck": _neck(config),
        "text": _text(config),
        "detr encoder, once an image": attention(places, places, width),
        "detr encoder, each prompt": _encoder(*layer),
        "detr decoder, each prompt": _decoder(config.decoder, places, prompt),
    }
    # prepared once: 3 x 3 convolutions of the fine levels; each prompt: 2 x 2 with four phases, from the level below
    fine, small = sum((side * scale) ** 2 for scale in (4, 2)), sum((side * scale) ** 2 for scale in (2, 1))
    found["mask head, once an image"] = linear(fine, 9 * width, width)
    found["mask head, each prompt"] = linear(small, 4 * width, 4 * width) + attention(places, prompt, width)
    return found


def _trunk(config: Config) -> Stage:
    trunk = config.trunk
    if trunk.model_type != "sam3_vit_model":
        return Stage(2 * 0.39e9 * (trunk.image_size / 224) ** 2, 2 * 3.4e6)  # EfficientNet-Lite0's published count
    places, width = trunk.grid**2, trunk.hidden_size
    total = linear(places, 3 * trunk.patch_size**2, width)
    for at in range(trunk.num_hidden_layers):
        seen = places if at in trunk.global_attn_indexes else trunk.window_size**2
        projections = linear(places, width, 4 * width)
        total += projections + products(places, seen, width) + mlp(places, width, trunk.intermediate_size)
    return total


def _neck(config: Config) -> Stage:
    places, width, deep = config.trunk.grid**2, config.neck.fpn_hidden_size, config.trunk.hidden_size
    total = Stage(0, 0)
    for scale in config.neck.scale_factors[:-1]:
        here, inputs = places, deep
        if scale == 4:
            total, here, inputs = total + linear(places, deep, 4 * (deep // 2)), 4 * places, deep // 2
        if scale >= 2:  # the last doubling and both convolutions: 2 x 2 with four phases
            total += linear(here, 4 * inputs, 4 * width)
        else:
            total += linear(here, inputs, width) + linear(here, 9 * width, width)
    return total


def _text(config: Config) -> Stage:
    text, total = config.text, Stage(0, 0)
    tokens = text.max_position_embeddings
    for _ in range(text.num_hidden_layers):
        total += attention(tokens, tokens, text.hidden_size) + mlp(tokens, text.hidden_size, text.intermediate_size)
    return total


def _encoder(config: Transformer, places: int, prompt: int) -> Stage:
    width, total = config.hidden_size, Stage(0, 0)
    for at in range(config.num_layers):
        if at:
            total += attention(places, places, width)
        total += attention(places, prompt, width) + mlp(places, width, config.intermediate_size)
    return total


def _decoder(config: Transformer, places: int, prompt: int) -> Stage:
    width, queries, total = config.hidden_size, config.num_queries + 1, Stage(0, 0)
    for _ in range(config.num_layers):
        total += attention(queries, queries, width) + attention(queries, prompt, width)
        total += attention(queries, places, width) + mlp(queries, width, config.intermediate_size)
    return total


def predict(found: dict[str, Stage], machine: Machine) -> dict[str, Any]:
    """Least milliseconds of every stage, and of what people ask for."""
    least = {
        name: 1e3 * max(stage.flops / machine.flops, stage.weights / machine.bandwidth) * (2 if name in WIDE else 1)
        for name, stage in found.items()
    }
    image = sum(ms for name, ms in least.items() if name in ("trunk", "neck") or "once an image" in name)
    prompt = sum(ms for name, ms in least.items() if "each prompt" in name)
    return {
        "machine": asdict(machine),
        "tflop": {name: stage.flops / 1e12 for name, stage in found.items()},
        "least_ms": least,
        "image_ms": image,
        "further_phrase_ms": prompt,
        "image_and_phrase_ms": image + prompt,
        "images_per_s": 1e3 / (image + prompt),
        "images_per_s_fp8_trunk": 1e3 / (image + prompt - least["trunk"] / 2),
    }
