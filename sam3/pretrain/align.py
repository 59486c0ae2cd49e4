"""Places against words: every grid cell learns which names fit it, before any detection.

The scorer is the DETR encoder's own first cross-attention: the attention logit of a place on a phrase's end
token, less that on its start token (which is the same for every phrase). What is learned here is in place when
detection starts: a place attends to the words where they fit, and to nothing where they do not.

All names of the pack are scored at once, so one scene teaches about a thousand pairs, for little more than the
trunk's own cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from sam3.detector import Sam3Detector, Vision
from sam3.files import atomic_write
from sam3.pretrain.stream import SceneBatch, SceneMaker, cells, normalise, shrink_masks
from sam3.pretrain.text import end_states
from sam3.scenes.phrases import Vocabulary
from sam3.tokenizer import Tokenizer
from sam3.train.schedule import share_of_rate

TRUNK = "vision_encoder.backbone.trunk"
# all that lies between a picture or a name and the logits of the first cross-attention
ALIGNED = (
    "vision_encoder.backbone.",
    "vision_encoder.neck.fpn_layers.2.",
    "text_projection.",
    *(
        f"detr_encoder.layers.0.{part}."
        for part in ("layer_norm1", "self_attn", "layer_norm2", "cross_attn.q_proj", "cross_attn.k_proj")
    ),
)


@dataclass
class AlignConfig:
    """Length and pace of the alignment.

    Attributes:
        steps, scenes: optimiser steps, and scenes in each. trunk_scale: the trunk's share of the learning rate.
        names: about so many absent names are asked of every place.
    """

    steps: int = 1500
    scenes: int = 16
    learning_rate: float = 1e-3
    trunk_scale: float = 0.3
    names: int = 300
    save_every: int = 250


@dataclass
class CellBatch:
    """Scenes with the names of every grid cell.

    Attributes:
        pixels: float32 (B, 3, S, S).
        cover, scene, names: see `SceneBatch`.
    """

    pixels: Tensor
    cover: Tensor
    scene: Tensor
    names: Tensor


class CellStream(IterableDataset):
    """Endless `CellBatch`es from the scenes of a `SceneMaker`."""

    def __init__(self, maker: SceneMaker, vocabulary: Vocabulary, scenes: int, start: int = 0) -> None:
        self.maker, self.vocabulary, self.scenes, self.start = maker, vocabulary, scenes, start

    def __iter__(self) -> Iterator[CellBatch]:
        number = self.start
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> CellBatch:
        """Batch `number`, the same each time."""
        scenes = [self.maker(number * self.scenes + row)[0] for row in range(self.scenes)]
        pixels = normalise(np.stack([scene.image for scene in scenes]))
        return CellBatch(pixels, **cells(scenes, [shrink_masks(scene) for scene in scenes], self.vocabulary))


def coarse_vision(model: Sam3Detector, pixels: Tensor) -> Vision:
    """The stride-16 level alone: the finer ones are for masks, which have no part in this."""
    encoder = model.vision_encoder
    hidden = encoder.backbone(pixels).last_hidden_state
    side = int(hidden.shape[1] ** 0.5)
    level = encoder.neck.fpn_layers[2](hidden.transpose(1, 2).unflatten(2, (side, side)))
    return Vision((level,), (encoder.neck.position_encoding(level.shape, level.device, level.dtype),))


def place_queries(model: Sam3Detector, vision: Vision) -> Tensor:
    """(B, N, d) what the first encoder layer's cross-attention asks with at each place."""
    layer: Any = model.detr_encoder.layers[0]
    hidden = vision.levels[-1].flatten(2).transpose(1, 2)
    position = vision.positions[-1].flatten(2).transpose(1, 2)
    normed = layer.layer_norm1(hidden)
    attended, _ = layer.self_attn(query=normed + position, key=normed + position, value=normed)
    asked: Tensor = layer.cross_attn.q_proj(layer.layer_norm2(hidden + attended))
    return asked


class NameStates(NamedTuple):
    """The text encoder's states at the end token of every name, (V, h), and at the start token of all, (h,)."""

    end: Tensor
    start: Tensor


@torch.no_grad()
def name_states(model: Sam3Detector, vocabulary: Vocabulary, tokenizer: Tokenizer) -> NameStates:
    """Encode all names of a vocabulary once."""
    tokens = tokenizer.encode(vocabulary.names)
    ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
    start = model.text_encoder(input_ids=ids[:1, :1], attention_mask=mask[:1, :1]).last_hidden_state[0, 0]
    return NameStates(end_states(model.text_encoder, ids, mask), start)


def cell_logits(model: Sam3Detector, queries: Tensor, end: Tensor, start: Tensor) -> Tensor:
    """How well each place fits each name.

    Args:
        queries: (..., d); end: (V, h) states of the names' end tokens; start: (h,) of the start token.

    Returns:
        (..., V) logits: the mean over heads of the attention logit, end against start.
    """
    attention: Any = model.detr_encoder.layers[0].cross_attn
    keys = attention.k_proj(model.text_projection(end)) - attention.k_proj(model.text_projection(start))
    heads = int(attention.num_attention_heads)
    return queries @ keys.T / (heads * (queries.shape[-1] / heads) ** 0.5)


def alignment_loss(
    model: Sam3Detector, queries: Tensor, batch: CellBatch | SceneBatch, names: NameStates, drawn: int
) -> Tensor:
    """What the places should say: which names fit each object, and that most names fit nowhere.

    The first is a softmax over all names, from the mean query of an object's places, of each true name against all
    false ones; the second a binary cross entropy of every place with the names that are true somewhere in the batch
    and about `drawn` others, places on a border left out.

    Args:
        queries: (B, N, d) from `place_queries`.
    """
    held = (batch.cover.flatten(1) > 0.5).float()
    chosen = batch.names.any(0) | (torch.rand(len(names.end), device=names.end.device) < drawn / len(names.end))
    logits = cell_logits(model, queries, names.end[chosen], names.start).float()
    target = torch.zeros_like(logits).index_add_(0, batch.scene, held[..., None] * batch.names[:, None, chosen])
    inside = torch.zeros_like(logits[..., 0]).index_add_(0, batch.scene, batch.cover.flatten(1))
    weight = torch.where(inside > 0.5, 1.0, torch.where(inside > 0.05, 0.0, 0.3))
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
    places = (each * weight).sum() / weight.sum().clamp(min=1)
    seen = held.sum(1) > 0
    if not bool(seen.any()):
        return places
    share = held[seen] / held[seen].sum(1, keepdim=True)
    pooled = torch.einsum("on,ond->od", share, queries[batch.scene[seen]].float())
    return places + 3.0 * naming_loss(cell_logits(model, pooled, *names).float(), batch.names[seen])


def naming_loss(logits: Tensor, names: Tensor) -> Tensor:
    """Mean over true names of the cross entropy of that name against all false ones: (O, V) logits, (O, V) 0 or 1."""
    false = logits.masked_fill(names > 0, float("-inf")).logsumexp(1, keepdim=True)
    each = F.softplus(false - logits) * names
    return (each.sum(1) / names.sum(1).clamp(min=1)).mean()


def align(
    model: Sam3Detector,
    maker: SceneMaker,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    config: AlignConfig,
    frozen: Sequence[str],
    resume: Path,
    watch: Callable[[Sam3Detector, int], None] | None = None,
) -> None:
    """Run the alignment on `model`, in place.

    Args:
        frozen: submodules that do not learn.
        resume: state of an unfinished run, written every `save_every` steps and gone on from.
        watch: called with the model and the number of steps done at every save, and at the end.
    """
    names = name_states(model, vocabulary, tokenizer)
    groups = learning(model, frozen, config)
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02, betas=(0.9, 0.98))
    rate = partial(share_of_rate, total=config.steps)
    first = 0
    if resume.is_file():
        held = torch.load(resume, weights_only=True)
        first = int(held["step"])
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        for group, fresh in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = group["initial_lr"] = fresh["lr"]  # the rate of this config, not of the saved step
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(first + step))
    stream = CellStream(maker, vocabulary, config.scenes, first)
    loader = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))
    model.train()
    smooth = None
    bar = tqdm(range(first, config.steps), desc="align", unit="step", initial=first, total=config.steps)
    for step in bar:
        batch = next(loader)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vision = coarse_vision(model, batch.pixels.contiguous(memory_format=torch.channels_last))
            loss = alignment_loss(model, place_queries(model, vision), batch, names, config.names)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        smooth = float(loss.detach()) if smooth is None else 0.98 * smooth + 0.02 * float(loss.detach())
        bar.set_postfix(loss=f"{smooth:.3f}")
        if (step + 1) % config.save_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            with atomic_write(resume, "wb") as file:
                torch.save(state, file)
        if watch and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
            watch(model, step + 1)


def learning(model: Sam3Detector, frozen: Sequence[str], config: AlignConfig) -> list[dict[str, Any]]:
    """Parameter groups: the trunk's upper stages, slowly, and what leads from them to the attention's logits."""
    trunk = model.vision_encoder.backbone.trunk
    still = {parameter for name in frozen for parameter in model.get_submodule(name).parameters()}
    for parameter in still:
        parameter.requires_grad_(False)
    slow = [parameter for parameter in trunk.parameters() if parameter not in still]
    heads = [
        parameter
        for part in ALIGNED  # in this order: a saved optimiser knows its parameters by their place
        for name, parameter in model.named_parameters()
        if name.startswith(part) and not name.startswith(TRUNK)
    ]
    rate = config.learning_rate
    return [{"params": slow, "lr": rate * config.trunk_scale}, {"params": heads, "lr": rate}]


@torch.no_grad()
def even_out(model: Sam3Detector, pixels: Tensor, names: NameStates) -> None:
    """Bring what pictures and words hand to the DETR to a root mean square of 1, without changing any logit.

    The alignment is free to choose its scale and ends far above 1. The decoder normalises after adding, so features
    that large would drown what makes one query differ from another, and its attention would be settled by chance.

    Args:
        pixels: (B, 3, S, S), some scenes to measure on.
    """
    layer: Any = model.detr_encoder.layers[0]
    neck: Any = model.vision_encoder.neck.fpn_layers[2]
    seen = coarse_vision(model, pixels).levels[-1].square().mean().sqrt()
    for module in (neck.proj2, layer.self_attn.o_proj):  # what is added up scales together, and is normalised next
        module.weight.div_(seen)
        module.bias.div_(seen)
    said = model.text_projection(names.end).square().mean().sqrt()
    model.text_projection.weight.div_(said)
    model.text_projection.bias.div_(said)
    layer.cross_attn.k_proj.weight.mul_(said)  # its bias is the same for all words, and falls out of a softmax
