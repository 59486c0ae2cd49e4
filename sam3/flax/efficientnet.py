"""sam3-lite's image trunk: EfficientNet-Lite0 with its maps of four strides stacked (`sam3.backbone` in PyTorch).

The layout is timm's `tf_efficientnet_lite0`: TensorFlow's SAME padding, ReLU6, batch statistics of ImageNet.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sam3.flax.config import Trunk
from sam3.flax.layers import norm

STEM = 32
# (blocks, kernel, stride, expansion, channels) of each stage (Tan & Le 2019, Lite: no squeeze and excite)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
KEPT = {1: 4, 2: 8, 4: 16, 6: 32}  # stage -> stride of the maps that are stacked


class BatchNorm(nnx.Module):
    """Normalisation with fixed statistics."""

    def __init__(self, channels: int) -> None:
        self.weight, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.running_mean, self.running_var = nnx.Param(jnp.zeros(channels)), nnx.Param(jnp.ones(channels))

    def __call__(self, x: jax.Array, act: bool) -> jax.Array:
        """(B, H, W, C) -> the same shape, clipped to [0, 6] if `act`."""
        slope = self.weight[...] * jax.lax.rsqrt(self.running_var[...].astype(jnp.float32) + 1e-3)
        x = ((x - self.running_mean[...]) * slope + self.bias[...]).astype(x.dtype)
        return jnp.clip(x, 0, 6) if act else x


def convolution(inputs: int, outputs: int, kernel: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution without bias, padded as TensorFlow does."""
    return nnx.Conv(
        inputs, outputs, (kernel, kernel), (stride, stride), padding="SAME",
        use_bias=False, rngs=rngs,
    )  # fmt: skip


class Depthwise(nnx.Module):
    """A convolution of every channel by itself, as a sum of shifted maps: XLA's grouped convolution is slow on CPUs."""

    def __init__(self, channels: int, kernel: int, stride: int, rngs: nnx.Rngs) -> None:
        self.stride = stride
        make = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(make(rngs.params(), (kernel, kernel, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H / stride, W / stride, C), padded as TensorFlow does."""
        taps, stride, dtype = self.kernel[...].astype(jnp.float32), self.stride, x.dtype
        size = taps.shape[0]
        outs = [-(-side // stride) for side in x.shape[1:3]]
        room = [max((out - 1) * stride + size - side, 0) for out, side in zip(outs, x.shape[1:3], strict=True)]
        x = jnp.pad(x, ((0, 0), *[(more // 2, more - more // 2) for more in room], (0, 0)))
        total = jnp.zeros((), jnp.float32)
        for row in range(size):
            for column in range(size):
                down, across = [(out - 1) * stride + 1 for out in outs]
                shifted = x[:, row : row + down : stride, column : column + across : stride]
                total = total + shifted * taps[row, column, 0]
        return total.astype(dtype)


class Block(nnx.Module):
    """An inverted bottleneck; without expansion the narrowing comes first, as timm names it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, rngs: nnx.Rngs) -> None:
        self.expand, self.skip = expansion > 1, stride == 1 and inputs == outputs
        inner = inputs * expansion
        self.conv_dw = Depthwise(inner, kernel, stride, rngs)
        self.bn1, self.bn2 = BatchNorm(inner), BatchNorm(inner if self.expand else outputs)
        self.conv_pw = convolution(inputs, inner if self.expand else outputs, 1, 1, rngs)
        if self.expand:
            self.conv_pwl = convolution(inner, outputs, 1, 1, rngs)
            self.bn3 = BatchNorm(outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, inputs) -> (B, H / stride, W / stride, outputs)."""
        if self.expand:
            y = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x), True)), True)
            y = self.bn3(self.conv_pwl(y), False)
        else:
            y = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x), True)), False)
        return x + y if self.skip else y


class EfficientNetLite(nnx.Module):
    """The convolutions."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv_stem, self.bn1 = convolution(3, STEM, 3, 2, rngs), BatchNorm(STEM)
        stages, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            blocks = []
            for at in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if at == 0 else 1, expansion, rngs))
                inputs = outputs
            stages.append(nnx.List(blocks))
        self.blocks = nnx.List(stages)

    def __call__(self, pixels: jax.Array) -> dict[int, jax.Array]:
        """(B, S, S, 3) -> the map of each stride."""
        x, maps = self.bn1(self.conv_stem(pixels), True), {}
        for stage, blocks in enumerate(self.blocks):
            for block in blocks:
                x = block(x)
            if stage in KEPT:
                maps[KEPT[stage]] = x
        return maps


class Backbone(nnx.Module):
    """(B, S, S, 3) -> (B, S / 16, S / 16, d)."""

    def __init__(self, config: Trunk, rngs: nnx.Rngs) -> None:
        self.trunk = EfficientNetLite(rngs)
        stacked = 16 * 24 + 4 * 40 + 112 + 320
        self.adapter = nnx.Linear(stacked, config.hidden_size, rngs=rngs)
        self.adapter_norm = norm(config.hidden_size, rngs)
        self.position_embeddings = nnx.Param(jnp.zeros((1, config.grid * config.grid, config.hidden_size)))

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """The trunk's map, every place told where it is."""
        maps = self.trunk(pixels)
        batch, side = len(pixels), maps[16].shape[1]
        coarse = jax.image.resize(maps[32], (batch, side, side, maps[32].shape[-1]), "bilinear", antialias=False)
        stacked = jnp.concatenate([fold(maps[4], 4), fold(maps[8], 2), maps[16], coarse.astype(maps[16].dtype)], -1)
        x = self.adapter_norm(self.adapter(stacked))
        return x + self.position_embeddings[...].reshape(1, side, side, -1)


def fold(x: jax.Array, by: int) -> jax.Array:
    """Space to depth, channel by channel as PyTorch's `pixel_unshuffle` orders it."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // by, by, width // by, by, channels).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, height // by, width // by, channels * by * by)
