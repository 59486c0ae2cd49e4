"""How fast pictures become batches: decode, resize, augment, outlines, per core; loaders; and the feature cache.

    taskset -c 1 python benchmarks/data_loading.py [--pairs data/splits/train.json --side 256]

Rates are of CPU time of one core. `pictures_a_step` says how many cores a GPU needs that takes so many samples a second.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sam3.checkpoint import load_checkpoint
from sam3.files import write_json
from sam3.images import read_image
from sam3.pixels import to_model
from sam3.train.augment import AugmentConfig
from sam3.train.cache_config import CacheConfig
from sam3.train.data import OrderedBatches, PairSet, decode_masks, load_pairs
from sam3.train.feature_cache import FeatureCache
from sam3.train.frozen import ENCODER
from sam3.train.loaders import training_loader

GPU_RATES = (10, 100, 1000)  # samples a second a trainer may want


def per_second(work: Callable[[int], Any], count: int) -> float:
    """Calls a second of CPU time of one core."""
    work(0)
    started = time.process_time()
    for at in range(count):
        work(at)
    return count / (time.process_time() - started)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="sam3-lite")
    parser.add_argument("--pairs", default="data/splits/train.json")
    parser.add_argument("--images", default="data/raw/images")
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/data_loading.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_checkpoint(args.checkpoint)
    pairs = load_pairs(args.pairs, args.images)[: args.pictures]
    side, mask_side = loaded.image_size, loaded.image_size // 4
    plain, views = (PairSet(pairs, side, mask_side, how, 7, views=2) for how in (None, AugmentConfig()))
    images = [read_image(pair.file) for pair in pairs]
    rates = {
        "decode": per_second(lambda at: read_image(pairs[at].file), len(pairs)),
        "resize": per_second(lambda at: to_model(images[at], side), len(pairs)),
        "resize_to_1008": per_second(lambda at: to_model(images[at], 1008), len(pairs)),
        "outlines": per_second(lambda at: decode_masks(pairs[at]), len(pairs)),
        "item": per_second(lambda at: plain.item(at), len(pairs)),
        "item_augmented": per_second(lambda at: views.item(at), len(pairs)),
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(CacheConfig(root=folder, store="bf16"), loaded.model, ENCODER, "32-true", side)
        cache.fill(PairSet(pairs, side, mask_side, AugmentConfig(), 7, views=1))
        cached = cache.items(PairSet(pairs, side, mask_side, AugmentConfig(), 7, views=1))
        rates["item_cached"] = per_second(lambda at: cached.item(at), len(pairs))
        batch = lambda at: cached.batch([cached.item(row) for row in range(args.batch)], loaded.tokenizer)  # noqa: E731
        rates["batched_cached"] = args.batch * per_second(batch, 20)
    loaders = {}
    for workers in tqdm((0, 1, 2), desc="loaders"):
        stream = iter(training_loader(OrderedBatches(views, loaded.tokenizer, args.batch, 7), workers, gpu=False))
        list(islice(stream, 3))
        started = time.perf_counter()
        list(islice(stream, 12))
        loaders[f"workers_{workers}"] = 12 * args.batch / (time.perf_counter() - started)
        del stream
    row = {
        "hardware": f"{platform.machine()} CPU, one core",
        "picture": f"{pairs[0].width}x{pairs[0].height}, {np.mean([p.file.stat().st_size for p in pairs]) / 1e3:.0f} kB",
        "side": side,
        "per_second_and_core": rates,
        "loader_samples_a_second_on_the_cores_given": loaders,
        "cores_for": {f"{rate} samples/s": rate / rates["item_augmented"] for rate in GPU_RATES},
        "cores_for_cached": {f"{rate} samples/s": rate / rates["batched_cached"] for rate in GPU_RATES},
    }
    write_json(args.out, row)
    for name, rate in rates.items():
        print(f"{name:<16}{rate:10.0f} /s and core")
    print("loaders", {name: round(rate) for name, rate in loaders.items()})


if __name__ == "__main__":
    main()
