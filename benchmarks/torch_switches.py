"""What each optimisation of the torch engine gains and costs: python benchmarks/torch_switches.py [--model lite|full]

Each switch alone, and the presets, against the reference detector; side by side in one run. Whatever the switch, the fast
detector computes only the last decoder layer's heads, which is part of every gain. Gain is the
ratio of medians, error the largest difference of the outputs and the cosine of the features against the reference.
CUDA graphs and FP8 products need a GPU: on a CPU FP8 is emulated (its error is real, its speed is not) and CUDA graphs
are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engines import PHRASES, ROOT, measure, threshold_for, weights  # a neighbour, not a package

from sam3.engines import load_engine
from sam3.eval.parity import compare
from sam3.eval.provenance import hardware_line, versions
from sam3.fast.switches import Switches
from sam3.files import write_json
from sam3.types import Prompt

GAINED = ("image", "image + 1 phrase", "image + 8 phrases", "16 further phrases")


def variants(device: str, compiled: bool) -> list[str]:
    """The reference, each switch alone, and the presets."""
    names = [item.name for item in fields(Switches)]
    if not device.startswith("cuda"):
        names.remove("cuda_graphs")
    if not compiled:
        names = [name for name in names if name not in ("compile", "cuda_graphs")]
    alone = ["compile,cuda_graphs" if name == "cuda_graphs" else name for name in names]
    return ["none", *alone, "exact", "best", "best,fp8"] if device.startswith("cuda") else ["none", *alone, "exact"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite", choices=["lite", "full", "small"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="try torch.compile, too")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    from sam3.images import read_image

    image = read_image(ROOT / "data/demo/yard.jpg")
    with TemporaryDirectory() as place:
        checkpoint = weights(args.model, Path(place))
        level = threshold_for(checkpoint, image)
        names = variants(args.device, args.compile)
        engines: dict[str, Any] = {
            name: load_engine("torch", checkpoint=checkpoint, device=args.device, fast=name, threshold=level)
            for name in names
        }
    seconds = measure(engines, image, args.rounds, budget=30)
    asked = [(image, [Prompt(phrase) for phrase in PHRASES[:4]])]
    rows: dict[str, Any] = {}
    for name in names:
        parity = compare(engines["none"], engines[name], asked, threshold=level).to_json()
        rows[name] = {
            "gain": {t: float(np.median(seconds["none"][t]) / np.median(seconds[name][t])) for t in GAINED},
            "error": {
                key: parity[key] for key in ("features_cosine", "max_difference", "mask_iou", "presence_difference")
            },
        }
        gains = ", ".join(f"{task} x{gain:.2f}" for task, gain in rows[name]["gain"].items())
        print(f"{name:14s} {gains}; logits differ by {parity['max_difference']['logits']:.1e}")
    record = {
        "model": args.model,
        "device": args.device,
        "hardware": hardware_line(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "rounds": len(seconds["none"]["image"]),
        "switches": rows,
    }
    out = args.out or ROOT / f"benchmarks/results/torch_switches_{args.model}_{args.device.split(':')[0]}.json"
    write_json(out, record)
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
