"""The part of the image encoder that does not learn: what it leaves, and how the rest goes on from there.

Two cuts are known. Behind the backbone (`vision_encoder.backbone` frozen) one map is left and the neck still learns;
behind the whole encoder (`vision_encoder` frozen) the neck's levels are left, and only heads learn. At 1008 px the
first is 11 MB a view in bfloat16, the second 56 MB; at the 256 px of sam3-lite 0.2 and 1.4 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sam3.detector import Sam3Detector, Vision
from sam3.errors import BadConfig
from sam3.train.targets import PairBatch

ENCODER, BACKBONE = "vision_encoder", "vision_encoder.backbone"
CHANNEL = {ENCODER: 0, BACKBONE: 1}  # channel axis of one image's stored tensors


def frozen_part(frozen: Sequence[str], cut: str = "auto") -> str:
    """The part of the image encoder whose output is stored: the widest one that a config freezes, or what `cut` says.

    Args:
        cut: auto, encoder or backbone (`CacheConfig`). A frozen encoder has a frozen backbone.

    Raises:
        BadConfig: none is frozen, or not what `cut` names, so its output changes with every step.
    """
    known = [part for part in (ENCODER, BACKBONE) if part in frozen or (part == BACKBONE and ENCODER in frozen)]
    wanted = {"encoder": ENCODER, "backbone": BACKBONE}.get(cut)
    for part in known:
        if wanted in (None, part):
            return part
    if wanted and known:
        raise BadConfig(
            f"cache.cut={cut} needs {wanted} in model.frozen: only {known[0]} is frozen.", field="model.frozen"
        )
    raise BadConfig(
        f"cache.enabled=true needs a frozen image encoder: add {ENCODER} or {BACKBONE} to model.frozen.",
        field="model.frozen",
    )


@torch.no_grad()
def features(model: Sam3Detector, part: str, pixels: Tensor) -> list[Tensor]:
    """What the frozen part leaves of (B, 3, S, S): [(B, N, C)] of a backbone, [(B, d, H_i, W_i), ...] of an encoder."""
    if part == BACKBONE:
        return [model.vision_encoder.backbone(pixels).last_hidden_state]
    return list(model.encode_images(pixels).levels)


def resume(model: Sam3Detector, part: str, left: Sequence[Tensor]) -> Vision:
    """`Vision` from stored features, as `Sam3Detector.encode_images` would have made it."""
    neck = model.vision_encoder.neck
    levels = list(left)
    if part == BACKBONE:
        backbone: Any = model.config.vision_config.backbone_config  # type: ignore[union-attr]
        side = backbone.image_size // backbone.patch_size
        grid = left[0].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        levels = [layer(grid) for layer in neck.fpn_layers[:-1]]  # the coarsest is made but never used
    positions = [neck.position_encoding(level.shape, level.device, level.dtype) for level in levels]
    return Vision(tuple(levels), tuple(positions))


def encode(model: Sam3Detector, batch: PairBatch) -> Vision:
    """The images of a batch, from stored features where it has them and through the encoder where not."""
    if batch.features is None or batch.part is None:
        return model.encode_images(batch.pixels)
    held = batch.held
    dtype = next(model.vision_encoder.parameters()).dtype
    stored = [
        level.to(dtype) if not torch.is_autocast_enabled(level.device.type) else level for level in batch.features
    ]
    if held is None or bool(held.all()):
        return resume(model, batch.part, stored)
    fresh = features(model, batch.part, batch.pixels)
    merged = []
    for kept, made in zip(stored, fresh, strict=True):
        whole = made.new_empty((len(held), *made.shape[1:]))
        whole[held], whole[~held] = kept.to(made.dtype), made
        merged.append(whole)
    return resume(model, batch.part, merged)


def weights_sha256(model: Sam3Detector, part: str) -> str:
    """Identity of the frozen part's weights: names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.get_submodule(part).state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
