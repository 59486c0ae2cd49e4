"""The scaling table: what was measured on this machine, and a model of the rest with its assumptions beside it.

    python benchmarks/scaling.py            # 1 and 2 processes of one CPU thread, sam3-lite; writes scaling.md too
    python benchmarks/scaling.py --keep-measured --pair-ms 9       # the model again, beside what was measured before

Measured: samples a second of `train.py --cpu-processes N` at a fixed global batch, one thread a process. Modelled: heads
of full-size SAM 3 from cached features on GPUs, as a sum of compute (linear in the pairs of a process), the ring
all-reduce of the gradients, and a part that does not shrink.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sam3.files import read_json, write_json


@dataclass(frozen=True)
class Assumed:
    """Of the modelled rows; every field is a flag.

    Attributes:
        pair_ms: forward and backward of one pair of cached full-size features, heads and masks, on one GPU.
        fixed_ms: matching on the CPU, launches, logging: once a step on every GPU.
        gradient_mb: 10^6 bytes of gradients of the heads. node_gpus: GPUs that NVLink joins.
        inside_gbs, between_gbs: 10^9 bytes a second within a node, and of one node to the others.
        latency_ms: of one all-reduce, per hop between nodes.
        encoder_mb, backbone_mb: of a view in the cache, bfloat16, at 1008 px (`sam3.train.frozen`; `cache.cut`).
        neck_ms: of one pair, where features are cut behind the backbone (2 * 10^11 operations).
        read_gbs: what one node reads of the cache.
    """

    pair_ms: float = 12.0
    fixed_ms: float = 8.0
    gradient_mb: float = 130.0
    node_gpus: int = 8
    inside_gbs: float = 300.0
    between_gbs: float = 40.0
    latency_ms: float = 0.05
    encoder_mb: float = 56.0
    backbone_mb: float = 11.0
    neck_ms: float = 1.0
    read_gbs: float = 6.0


def modelled(assumed: Assumed, gpus: int, batch_each: int, cut: str) -> dict[str, Any]:
    """A step of `gpus` GPUs with `batch_each` pairs on each (weak scaling), features cut behind encoder or backbone."""
    nodes = -(-gpus // assumed.node_gpus)
    feature_mb = assumed.encoder_mb if cut == "encoder" else assumed.backbone_mb
    neck = assumed.neck_ms if cut == "backbone" else 0.0
    compute = assumed.fixed_ms + (assumed.pair_ms + neck) * batch_each
    speed = assumed.inside_gbs if nodes == 1 else assumed.between_gbs
    ring = 2 * (gpus - 1) / gpus * assumed.gradient_mb / speed + assumed.latency_ms * 2 * (nodes - 1)
    # DDP overlaps all but the last bucket with the backward pass
    exposed = max(ring - 0.5 * compute, 0.25 * ring) if gpus > 1 else 0.0
    reading = min(gpus, assumed.node_gpus) * batch_each * feature_mb / assumed.read_gbs
    step = max(compute + exposed, reading)
    alone = max(compute, batch_each * feature_mb / assumed.read_gbs)
    return {
        "gpus": gpus,
        "cut": cut,
        "step_ms": step,
        "samples_per_second": 1000 * gpus * batch_each / step,
        "efficiency": alone / step,
        "reading_ms": reading,
        "exposed_all_reduce_ms": exposed,
    }


def measured(processes: int, args: argparse.Namespace) -> float:
    """Samples a second of a real run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "sam3/train/train.py", "-c", "configs/sam3_chicken_finetune.yaml"]
        command += ["--num-gpus", "0", "--cpu-processes", str(processes), f"train.work={folder}/run"]
        command += [f"train.out={folder}/out", "train.max_epochs=1", f"train.batch_size={args.batch}", "data.workers=0"]
        command += [f"data.train={_few(args, folder)}", f"data.val={folder}/pairs.json", "trainer.threads=1"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
        if done.returncode:
            raise SystemExit(done.stderr[-1500:])
        return float(json.loads(Path(folder, "run/progress.json").read_text())["samples_per_second"])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """What this machine does, and what it is."""
    return {
        "hardware": f"{platform.machine()} CPU, {len(os.sched_getaffinity(0))} cores",
        "batch": args.batch,
        "measured": {str(count): measured(count, args) for count in (1, 2)},
    }


def _few(args: argparse.Namespace, folder: str) -> str:
    """The first pairs of the file, as a file of their own."""
    content = json.loads(Path(args.pairs).read_text())
    images = content["images"][: args.batch * args.steps]
    known = {row["id"] for row in images}
    kept = [row for row in content["annotations"] if row["image_id"] in known]
    write_json(Path(folder) / "pairs.json", {**content, "images": images, "annotations": kept})
    return f"{folder}/pairs.json"


def table(row: dict[str, Any]) -> str:
    """The page that goes into the repository."""
    lines = ["# Scaling", "", "Made by `python benchmarks/scaling.py`; figures in `results/scaling.json`.", ""]
    lines += [f"## Measured: {row['hardware']}, sam3-lite, global batch {row['batch']}, one thread a process", ""]
    lines += ["| processes | samples/s | against one |", "| --- | --- | --- |"]
    one = row["measured"]["1"]
    lines += [f"| {count} | {rate:.2f} | {rate / one:.2f} |" for count, rate in row["measured"].items()]
    lines += ["", "## Modelled: heads of full-size SAM 3 from cached features, not measured (no GPU was at hand)", ""]
    lines += [f"{row['batch_each']} pairs on each GPU.", ""]
    lines += ["| `cache.cut` | GPUs | step, ms | samples/s | efficiency | reading features, ms |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for item in row["modelled"]:
        lines.append(
            f"| {item['cut']} | {item['gpus']} | {item['step_ms']:.0f} | {item['samples_per_second']:.0f} | {item['efficiency']:.2f} "
            f"| {item['reading_ms']:.0f} |"
        )
    lines += ["", "Assumptions:", ""] + [f"* `{name}` = {value}" for name, value in row["assumed"].items()]
    lines += [
        "",
        "What they mean is in `benchmarks/scaling.py`, class `Assumed`; each is a flag, so that a measured figure can take",
        "its place. A step takes the longer of computing (with the part of the all-reduce that the backward pass does not",
        "hide) and reading features; reading is shared by the GPUs of a node, so it is what bends first. Features cut",
        "behind the encoder are five times those behind the backbone: on several GPUs `cache.cut=backbone` is the choice.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="data/splits/train.json")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-each", type=int, default=8)
    parser.add_argument("--keep-measured", action="store_true", help="take the measured rows from --out")
    for name, value in asdict(Assumed()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling.json"))
    args = parser.parse_args()
    assumed = Assumed(**{name: getattr(args, name) for name in asdict(Assumed())})
    held = None
    if args.keep_measured:
        held = {name: read_json(args.out)[name] for name in ("hardware", "batch", "measured")}
    row = {
        **(held or measure(args)),
        "batch_each": args.batch_each,
        "modelled": [
            modelled(assumed, gpus, args.batch_each, cut)
            for cut in ("encoder", "backbone")
            for gpus in (1, 2, 4, 8, 16, 32, 64)
        ],
        "assumed": asdict(assumed),
    }
    write_json(args.out, row)
    args.out.parent.parent.joinpath("scaling.md").write_text(table(row), encoding="utf-8")
    print(table(row))


if __name__ == "__main__":
    main()
