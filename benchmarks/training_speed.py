"""Samples a second of heads-only fine-tuning with masks: cached, uncached, and stock transformers with a plain loop.

    python benchmarks/training_speed.py                        # sam3-lite, this machine
    python benchmarks/training_speed.py --full-size --batch 8 --mask-points 12544   # SAM 3's own size, random weights,
                                                                                    # 1008 px; wants a GPU
    ... --full-size --reduced --batch 8 --mask-points 12544    # the same parts and code at 64 px, to try the command

All train the same parameters on the same pairs, side by side, in turns. `cached` and `uncached` are this repository's
training step in the precision it chooses here, with masks of matched queries only (`loss.semantic_on_negatives=false`);
`cached_everywhere` computes the semantic head on negative pairs too, as the stock loop cannot help doing;
`cached_channels_last` is `cached` with the mask head in another memory layout. `stock` is `transformers.Sam3Model` and its image
processor in a loop as one would write it: decode, forward, match, loss on the last layer, backward, AdamW, in the
precision the weights load in (float32). `stock_mixed` is the same loop under autocast, for those who thought of it.
The cache is filled first; what that took is reported apart. With `--curve N` the losses of N cached and uncached steps
on the same views are compared, and with those of another seed, which says how much noise there is.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from sam3.checkpoint import Checkpoint, load_checkpoint
from sam3.files import write_json
from sam3.tokenizer import Tokenizer, build_tokenizer_file
from sam3.train.augment import AugmentConfig
from sam3.train.cache_config import CacheConfig
from sam3.train.data import OrderedBatches, Pair, PairSet, decode_masks, load_pairs, tight_box
from sam3.train.feature_cache import FeatureCache
from sam3.train.fine_tuning import FineTuning
from sam3.train.frozen import ENCODER, frozen_part
from sam3.train.loaders import training_loader
from sam3.train.loss_config import LossConfig
from sam3.train.losses import box_distance, box_overlap, class_loss
from sam3.train.mask_losses import mask_losses
from sam3.train.matcher import match
from sam3.train.memory import checkpoint_activations
from sam3.train.module import OptimizerConfig
from sam3.train.run import precision

FROZEN = (ENCODER, "text_encoder")
LOSS = LossConfig()


def base(args: argparse.Namespace, folder: Path) -> Checkpoint:
    """The weights to train: a checkpoint, or SAM 3's own shape (or a reduced one) with random numbers."""
    if not args.full_size:
        return load_checkpoint(args.checkpoint)
    from sam3.checkpoint import sam3_config, tiny_config
    from sam3.detector import Sam3Detector

    torch.manual_seed(0)
    build_tokenizer_file(folder / "tokenizer.json")
    model = Sam3Detector(tiny_config() if args.reduced else sam3_config()).eval()
    side = int(model.config.vision_config.backbone_config.image_size)
    return Checkpoint("random weights", folder, model, Tokenizer.load(folder), side, "random")


def sides(loaded: Checkpoint) -> tuple[int, int]:
    """Side of the input and of the mask head's map, pixels."""
    vision = loaded.model.config.vision_config
    return loaded.image_size, int(loaded.image_size / vision.backbone_config.patch_size * max(vision.scale_factors))


class Ours:
    """This repository's training step on an endless stream of batches."""

    def __init__(self, loaded: Checkpoint, items: Any, batch: int, device: str, loss: LossConfig, **how: Any) -> None:
        self.kind = precision("auto", int(device == "cuda"))
        self.device, self.loaded = device, loaded
        self.module = FineTuning(loaded.model, loss, OptimizerConfig(learning_rate=1e-4), 1000, FROZEN)
        self.module.keep_words = how.pop("keep_words", False)
        self.module.log = self.module.log_dict = lambda *_, **__: None  # type: ignore[method-assign,assignment]
        self.module.to(device).train()
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        batches = OrderedBatches(items, loaded.tokenizer, batch, how.pop("seed", 7))
        self.stream = iter(training_loader(batches, how.pop("workers"), gpu=device == "cuda"))

    def step(self) -> float:
        """One step; returns the loss."""
        batch = next(self.stream).to(self.device, non_blocking=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.kind == "bf16-mixed"):
            loss = self.module.training_step(batch, 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        return float(loss.detach())


class Stock:
    """transformers' model, processor and nothing else: what a notebook would do."""

    def __init__(self, loaded: Checkpoint, pairs: list[Pair], batch: int, device: str, *, mixed: bool = False) -> None:
        from transformers import Sam3Model
        from transformers.models.sam3.image_processing_sam3 import Sam3ImageProcessor

        self.device, self.batch, self.mixed = device, batch, mixed
        side, self.mask_side = sides(loaded)
        self.processor = Sam3ImageProcessor(size={"height": side, "width": side})
        self.tokenizer, self.pairs = loaded.tokenizer, cycle(pairs)
        self.model = Sam3Model(loaded.model.config)
        self.model.load_state_dict(loaded.model.state_dict())
        self.model.to(device).train()
        self.model.vision_encoder.requires_grad_(False)
        self.model.text_encoder.requires_grad_(False)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=1e-4)

    def step(self) -> float:
        """One step; returns the loss."""
        pairs = [next(self.pairs) for _ in range(self.batch)]
        images = [Image.open(pair.file).convert("RGB") for pair in pairs]
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"].to(self.device)
        tokens = self.tokenizer.encode([pair.text for pair in pairs], length=32)
        truth = [decode_masks(pair) for pair in pairs]
        boxes, masks = [], []
        for pair, raw in zip(pairs, truth, strict=True):
            edges = np.array([tight_box(mask) for mask in raw], np.float32).reshape(-1, 4)
            scale = np.array([pair.width, pair.height, pair.width, pair.height], np.float32)
            boxes.append(torch.from_numpy(edges / scale).to(self.device))
            whole = torch.from_numpy(raw).float()[:, None]
            small = F.interpolate(whole, size=(self.mask_side,) * 2, mode="area") if len(whole) else whole
            masks.append(small[:, 0].to(self.device) if len(small) else torch.zeros(0, 1, 1, device=self.device))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.mixed):
            found = self.model(
                pixel_values=pixels,
                input_ids=torch.from_numpy(tokens.ids).to(self.device),
                attention_mask=torch.from_numpy(tokens.mask).to(self.device),
            )
        loss = plain_loss(found, boxes, masks)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def plain_loss(found: Any, boxes: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The published terms on the one layer that transformers returns, semantic head included."""
    logits, positive = found.pred_logits.float(), torch.tensor([len(b) > 0 for b in boxes], device=boxes[0].device)
    matches = match(logits, found.pred_boxes, boxes, LOSS.matcher)
    presence = F.binary_cross_entropy_with_logits(found.presence_logits[:, 0].float(), positive.float())
    total = LOSS.presence_loss_weight * presence
    total = total + LOSS.focal_loss_weight * class_loss(logits, matches, positive, LOSS)
    objects = torch.cat(boxes)
    total = total + LOSS.box_loss_weight * box_distance(found.pred_boxes.float(), matches, objects)
    total = total + LOSS.iou_loss_weight * box_overlap(found.pred_boxes.float(), matches, objects)
    if len(objects):
        drawn = found.pred_masks[matches.pair, matches.query].float()
        focal, dice = mask_losses(drawn, torch.cat([m for m in masks if len(m)])[matches.target])
        total = total + LOSS.mask_loss_weight * focal + LOSS.dice_loss_weight * dice
    area = torch.stack(
        [m.amax(0) if len(m) else found.semantic_seg.new_zeros(found.semantic_seg.shape[-2:]) for m in masks]
    )
    semantic = sigmoid_focal_loss(found.semantic_seg[:, 0].float(), area.float(), reduction="mean")
    return total + LOSS.semantic_loss_weight * LOSS.mask_loss_weight * semantic


class Busy(threading.Thread):
    """Samples how busy the GPU is, percent, ten times a second, while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until told that it is over."""
        while not self.over.wait(0.1):
            self.samples.append(torch.cuda.utilization())


def rate(step: Callable[[], float], steps: int, batch: int, device: str) -> dict[str, float]:
    """Samples a second and what the GPU did meanwhile."""
    gpu = device == "cuda"
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    busy = Busy()
    if gpu:
        busy.start()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    busy.over.set()
    row = {"samples_per_second": steps * batch / seconds}
    if gpu:
        row |= {"peak_gib": torch.cuda.max_memory_allocated() / 2**30, "gpu_busy_percent": fmean(busy.samples or [0])}
    return row


def curves(make: Callable[..., Ours], steps: int) -> dict[str, float]:
    """Mean relative differences of the loss, step by step: cached against uncached, and one seed against another."""

    def run(**how: Any) -> np.ndarray:
        torch.manual_seed(0)
        ours = make(**how)
        return np.array([ours.step() for _ in range(steps)])

    uncached, cached, other = run(cached=False), run(cached=True), run(cached=False, seed=8)
    smooth = lambda values: np.convolve(values, np.ones(8) / 8, "valid")  # noqa: E731
    return {
        "steps": steps,
        "cached_against_uncached": float(np.mean(np.abs(cached - uncached) / uncached)),
        "seed_against_seed": float(np.mean(np.abs(smooth(other) - smooth(uncached)) / smooth(uncached))),
        "last_uncached": float(uncached[-8:].mean()),
        "last_cached": float(cached[-8:].mean()),
    }


def contenders(args: argparse.Namespace, folder: Path, device: str) -> Iterator[tuple[str, Any]]:
    """Name and maker of every loop, and last what the cache cost."""
    pairs = load_pairs(args.pairs, args.images)
    both = [p for p in pairs if p.segmentations][: args.pictures // 2] + [p for p in pairs if not p.segmentations]
    chosen = [p for pair in zip(both, both[args.pictures // 2 :], strict=False) for p in pair][: args.pictures]
    loss = LossConfig(mask_points=args.mask_points, semantic_on_negatives=False)

    def fresh() -> Checkpoint:
        loaded = base(args, folder)
        loaded.model.set_attn_implementation("sdpa" if device == "cuda" else "eager")
        if args.full_size:
            checkpoint_activations(loaded.model)
        return loaded

    def ours(cached: bool, seed: int = 7, loss: LossConfig = loss, channels_last: bool = False) -> Ours:
        loaded = fresh()
        if channels_last:
            loaded.model.mask_decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        items: Any = PairSet(chosen, *sides(loaded), AugmentConfig(), 7, views=args.views)
        if cached:
            items = cache_of(loaded).items(items)
        workers = 0 if cached else args.workers
        return Ours(loaded, items, args.batch, device, loss, workers=workers, seed=seed, keep_words=cached)

    def cache_of(loaded: Checkpoint) -> FeatureCache:
        kind = precision("auto", int(device == "cuda"))
        config = CacheConfig(enabled=True, root=str(folder / "features"), store=args.store)
        return FeatureCache(config, loaded.model.to(device), frozen_part(FROZEN, args.cut), kind, loaded.image_size)

    loaded = fresh()
    filled = cache_of(loaded).fill(PairSet(chosen, *sides(loaded), AugmentConfig(), 7, views=args.views))
    yield "cache", filled
    yield "cached", lambda: ours(True)
    yield "cached_everywhere", lambda: ours(True, loss=replace(loss, semantic_on_negatives=True))
    yield "cached_channels_last", lambda: ours(True, channels_last=True)
    yield "uncached", lambda: ours(False)
    yield "stock", lambda: Stock(base(args, folder), chosen, args.batch, device)
    yield (
        "stock_mixed",
        lambda: Stock(base(args, folder), chosen, args.batch, device, mixed=True),
    )
    if args.curve:
        yield "curve", curves(ours, args.curve)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="sam3-lite")
    parser.add_argument("--full-size", action="store_true", help="SAM 3's own shape with random weights, 1008 px")
    parser.add_argument("--reduced", action="store_true", help="with --full-size: its parts at the smallest size")
    parser.add_argument("--pairs", default="data/splits/train.json")
    parser.add_argument("--images", default="data/raw/images")
    parser.add_argument("--pictures", type=int, default=32, help="half of them positive")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="in each of the rounds")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="of the uncached loop")
    parser.add_argument("--store", default="auto", help="auto, fp32, bf16 or fp8")
    parser.add_argument("--cut", default="auto", help="where features are cut: encoder (auto) or backbone")
    parser.add_argument("--mask-points", type=int, default=0)
    parser.add_argument("--curve", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_speed.json"))
    args = parser.parse_args()
    if args.reduced and not args.full_size:
        parser.error("--reduced goes with --full-size; sam3-lite is small as it is.")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        loops: dict[str, Any] = {}
        for name, made in contenders(args, Path(folder), device):
            if isinstance(made, dict):
                results[name] = made
            elif device == "cuda":  # one at a time: together they would not fit
                loop = made()
                [loop.step() for _ in range(3)]
                results[name] = rate(loop.step, args.steps * args.rounds, args.batch, device)
                del loop
                torch.cuda.empty_cache()
            else:
                loops[name] = made()
                [loops[name].step() for _ in range(2)]
        measured: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                measured[name].append(rate(loop.step, args.steps, args.batch, device)["samples_per_second"])
        results |= {name: {"samples_per_second": median(rates), "rounds": rates} for name, rates in measured.items()}
    best = results["cached"]["samples_per_second"]
    names = ("uncached", "stock", "stock_mixed")
    results["cached_is_faster_by"] = {name: best / results[name]["samples_per_second"] for name in names}
    hardware = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    about = {
        "checkpoint": f"SAM 3's {'parts, 64 px' if args.reduced else 'shape'}, random weights"
        if args.full_size
        else args.checkpoint,
        "hardware": f"{hardware}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "precision": precision("auto", int(device == "cuda")),
        "batch": args.batch,
        "steps": args.steps * args.rounds,
    }
    write_json(args.out, about | results)
    for name in ("cached", "cached_everywhere", "cached_channels_last", "uncached", "stock", "stock_mixed"):
        print(f"{name:<22}{results[name]['samples_per_second']:8.1f} samples/s")
    print("cached is faster by", {name: round(value, 2) for name, value in results["cached_is_faster_by"].items()})
    if args.curve:
        print("curves", results["curve"])


if __name__ == "__main__":
    main()
