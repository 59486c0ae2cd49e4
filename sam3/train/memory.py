"""Memory on a GPU: activation checkpointing, and the batch size that fills it."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from sam3.checkpoint import Checkpoint
from sam3.detector import Sam3Detector
from sam3.errors import BadConfig
from sam3.train.batch_size import search_batch_size
from sam3.train.data import PairSet, collate
from sam3.train.loss_config import LossConfig
from sam3.train.losses import detection_loss


def checkpoint_activations(model: Sam3Detector) -> None:
    """Recompute DETR, geometry and ViT layers in the backward pass instead of keeping their activations."""
    layers = [*model.detr_encoder.layers, *model.detr_decoder.layers, *model.geometry_encoder.layers]
    layers += list(getattr(model.vision_encoder.backbone, "layers", []))
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def largest_batch(base: Checkpoint, loss: LossConfig, pairs: PairSet, gpus: int) -> int:
    """Search the batch size that uses 80 to 95 % of the GPU.

    Raises:
        BadConfig: there is no GPU to fill.
    """
    if not gpus:
        raise BadConfig(
            "train.batch_size=auto fills a GPU, and there is none here: give a number.",
            field="train.batch_size",
        )
    device = torch.device("cuda")
    model = base.model.to(device).train()  # type: ignore[arg-type]
    items = [pairs[at % len(pairs)] for at in range(min(len(pairs), 64))]

    def attempt(size: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        batch = collate([items[at % len(items)] for at in range(size)], base.tokenizer).to(device)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            vision = model.encode_images(batch.pixels)
            found = model.ground(vision, model.encode_text(batch.ids, batch.mask))
            total, _ = detection_loss(model, found, batch, loss)
        total.backward()
        model.zero_grad(set_to_none=True)
        return int(torch.cuda.max_memory_allocated(device))

    optimizer_state = 2 * sum(parameter.numel() * 4 for parameter in model.parameters() if parameter.requires_grad)
    budget = torch.cuda.get_device_properties(device).total_memory - optimizer_state
    size = search_batch_size(attempt, budget)
    model.cpu()
    torch.cuda.empty_cache()
    return size
