"""Places against words: every grid cell learns which names fit it, before any detection.

The scorer is the DETR encoder's own first cross-attention: the attention logit of a place on a phrase's end
token, less that on its start token (which is the same for every phrase). What is learned here is in place when
detection starts: a place attends to the words where they fit, and to nothing where they do not.

All names of the pack are scored at once, so one scene teaches about a thousand pairs. The trunk is frozen; the
cost is a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from sam3.detector import Sam3Detector, Vision
from sam3.pretrain.stream import SceneMaker, normalise, shrink_masks
from sam3.pretrain.text import end_states
from sam3.scenes.phrases import Vocabulary
from sam3.tokenizer import Tokenizer


@dataclass
class CellBatch:
    """Scenes with the names of every grid cell.

    Attributes:
        pixels: float32 (B, 3, S, S).
        cover: float32 (N, S/16, S/16), share of each cell that object n covers; scene: int64 (N,), its scene.
        names: float32 (N, V), 1 for every name that fits the object.
    """

    pixels: Tensor
    cover: Tensor
    scene: Tensor
    names: Tensor


class CellStream(IterableDataset):
    """Endless `CellBatch`es from the scenes of a `SceneMaker`."""

    def __init__(self, maker: SceneMaker, vocabulary: Vocabulary, scenes: int, start: int = 0) -> None:
        self.maker, self.vocabulary, self.scenes, self.start = maker, vocabulary, scenes, start

    def __iter__(self):
        number = self.start
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> CellBatch:
        """Batch `number`, the same each time."""
        images, covers, rows, names = [], [], [], []
        for row in range(self.scenes):
            scene, _, _ = self.maker(number * self.scenes + row)
            images.append(scene.image)
            small = torch.from_numpy(shrink_masks(scene))
            if len(small):
                covers.append(F.avg_pool2d(small[:, None], 4)[:, 0])
            for thing in scene.objects:
                rows.append(row)
                fits = np.zeros(len(self.vocabulary.names), np.float32)
                fits[[self.vocabulary.index[name] for name in thing.cutout.synonyms]] = 1
                names.append(torch.from_numpy(fits))
        side = self.maker.config.size // 16
        cover = torch.cat(covers) if covers else torch.zeros(0, side, side)
        stacked = torch.stack(names) if names else torch.zeros(0, len(self.vocabulary.names))
        return CellBatch(normalise(np.stack(images)), cover, torch.tensor(rows, dtype=torch.int64), stacked)


def coarse_vision(model: Sam3Detector, pixels: Tensor) -> Vision:
    """The stride-16 level alone: the finer ones are for masks, which have no part in this."""
    encoder = model.vision_encoder
    hidden = encoder.backbone(pixels).last_hidden_state
    side = int(hidden.shape[1] ** 0.5)
    level = encoder.neck.fpn_layers[2](hidden.transpose(1, 2).unflatten(2, (side, side)))
    return Vision((level,), (encoder.neck.position_encoding(level.shape, level.device, level.dtype),))


def place_queries(model: Sam3Detector, vision: Vision) -> Tensor:
    """(B, N, d) what the first encoder layer's cross-attention asks with at each place."""
    layer = model.detr_encoder.layers[0]
    hidden = vision.levels[-1].flatten(2).transpose(1, 2)
    position = vision.positions[-1].flatten(2).transpose(1, 2)
    normed = layer.layer_norm1(hidden)
    attended, _ = layer.self_attn(query=normed + position, key=normed + position, value=normed)
    return layer.cross_attn.q_proj(layer.layer_norm2(hidden + attended))


def cell_logits(model: Sam3Detector, queries: Tensor, end: Tensor, start: Tensor) -> Tensor:
    """How well each place fits each name.

    Args:
        queries: (B, N, d); end: (V, h) states of the names' end tokens; start: (h,) of the start token.

    Returns:
        (B, N, V) logits: the mean over heads of the attention logit, end against start.
    """
    attention = model.detr_encoder.layers[0].cross_attn
    keys = attention.k_proj(model.text_projection(end)) - attention.k_proj(model.text_projection(start))
    heads = attention.num_attention_heads
    return queries @ keys.T / (heads * (queries.shape[-1] / heads) ** 0.5)


def alignment_loss(logits: Tensor, batch: CellBatch) -> Tensor:
    """Binary cross entropy of every cell with every name; cells on a border count by how clearly they belong."""
    count, cells, _ = logits.shape
    target = torch.zeros_like(logits)
    cover = batch.cover.flatten(1)
    inside = torch.zeros(count, cells, device=logits.device)
    for at, row in enumerate(batch.scene.tolist()):
        held = cover[at] > 0.5
        target[row, held] = batch.names[at]
        inside[row] = torch.maximum(inside[row], cover[at])
    weight = torch.where(inside > 0.5, 1.0, torch.where(inside > 0.05, 0.0, 0.2))
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # a cell has a handful of true names among a thousand: count them as much as all the others together
    balance = torch.where(target > 0, 8.0, 1.0)
    return ((loss * balance).sum(-1) * weight).sum() / weight.sum().clamp(min=1)


def align(
    model: Sam3Detector,
    maker: SceneMaker,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    *,
    steps: int,
    scenes: int = 16,
    learning_rate: float = 1e-3,
) -> float:
    """Run the alignment; returns the smoothed loss at the end.

    Args:
        steps: optimiser steps of `scenes` scenes each.
    """
    tokens = tokenizer.encode(vocabulary.names)
    with torch.no_grad():
        ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
        end = end_states(model.text_encoder, ids, mask)
        start = model.text_encoder(input_ids=ids[:1, :1], attention_mask=mask[:1, :1]).last_hidden_state[0, 0]
    layer = model.detr_encoder.layers[0]
    backbone = model.vision_encoder.backbone
    parts = [
        backbone.adapter,
        backbone.adapter_norm,
        model.vision_encoder.neck.fpn_layers[2],
        model.text_projection,
    ]
    parts += [
        layer.layer_norm1,
        layer.self_attn,
        layer.layer_norm2,
        layer.cross_attn.q_proj,
        layer.cross_attn.k_proj,
    ]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    loader = iter(DataLoader(CellStream(maker, vocabulary, scenes), batch_size=None, num_workers=1, prefetch_factor=4))
    smooth = 0.0
    bar = tqdm(range(steps), desc="align", unit="step")
    for step in bar:
        batch = next(loader)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vision = coarse_vision(model, batch.pixels)
            logits = cell_logits(model, place_queries(model, vision), end, start)
        loss = alignment_loss(logits.float(), batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        smooth = float(loss) if step == 0 else 0.98 * smooth + 0.02 * float(loss.detach())
        bar.set_postfix(loss=f"{smooth:.3f}")
    return smooth
