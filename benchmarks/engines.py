"""Every engine on the same work in one run: python benchmarks/engines.py [--model lite|full] [--engines ...]

Rounds go around the engines, so that a busy machine slows all of them. `full` is the published architecture with random
weights (same work, no meaning): for a GPU. The threshold is set so that the first phrase finds three objects, since
random weights find nothing at 0.5. Writes JSON with hardware, versions, medians, spread, ratios to stock transformers,
and what the roofline allows on an H200.

    python benchmarks/engines.py --model lite                                     # CPU: torch, its fast path, onnx, jax, stock (eager and compiled)
    python benchmarks/engines.py --model full --engines stock,stock-compiled,torch-best,jax,keras-hub --device cuda   # one GPU

`keras-hub` (`keras_hub_opponent.py` says how to get it) has the published backbone only: `full`, or `small` to try it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from keras_hub_opponent import KerasHubEngine  # neighbours, not a package
from stock import StockEngine

from sam3.checkpoint import STARTER, WEIGHTS, lite_config, load_checkpoint, sam3_config, save_checkpoint, tiny_config
from sam3.detector import Sam3Detector
from sam3.engines import load_engine
from sam3.eval.provenance import hardware_line, versions
from sam3.export.export_onnx import export
from sam3.fast.roofline import H200, predict, stages
from sam3.files import write_json
from sam3.flax.config import from_values
from sam3.types import Prompt

PHRASES = ["chicken", "duck", "tractor", "tree", "house", "dog", "fence", "red car"] * 2
ROOT = Path(__file__).resolve().parent.parent
OBJECTS = 3  # found by a phrase that finds something
SETTLED = 0.1  # seconds; threads of the engine before spin for a while, and would slow down the next one


def weights(model: str, folder: Path) -> str:
    """A checkpoint of the size asked for."""
    if model == "lite":
        return STARTER
    torch.manual_seed(0)
    made = {"full": sam3_config, "small": tiny_config, "lite-random": lite_config}[model]()
    return str(save_checkpoint(folder / model, Sam3Detector(made), WEIGHTS / STARTER / "tokenizer.json"))


def make(name: str, checkpoint: str, graphs: Path, device: str) -> Any:
    """An engine by its name in the report."""
    bf16 = device != "cpu"
    if name.startswith("stock"):
        return StockEngine(checkpoint, device=device, compiled=name.endswith("compiled"), bf16=bf16)
    if name == "keras-hub":
        return KerasHubEngine(checkpoint, bf16=bf16)
    if name == "onnx":
        return load_engine("onnx", checkpoint=graphs, device=device)
    if name == "tensorrt":
        return load_engine("tensorrt", checkpoint="models/engines")
    if name.startswith("torch-"):
        return load_engine(
            "torch", checkpoint=checkpoint, device=device, fast=name.removeprefix("torch-").replace("+", ",")
        )
    return load_engine(name, checkpoint=checkpoint, device=device)


def opened(
    name: str, checkpoint: str, graphs: Path, device: str, threshold: float, image: np.ndarray
) -> tuple[Any, float | None]:
    """An engine that has answered once (an image, a phrase), and the GB of GPU memory that it took at most for that.

    PyTorch and JAX count what they take, weights and activations; of other engines, and without a GPU, nobody tells: None.
    """
    before = gpu_bytes()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    engine = make(name, checkpoint, graphs, device)
    engine.threshold = threshold
    engine.ground(engine.encode([image]), [Prompt(PHRASES[0])])
    most = gpu_bytes(peak=True)
    return engine, (most - before) / 1e9 if most > before else None


def gpu_bytes(peak: bool = False) -> int:
    """Bytes of GPU memory that PyTorch and JAX hold, or held at most."""
    torch_bytes = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    if "jax" not in sys.modules:
        return torch_bytes
    import jax

    said = jax.local_devices()[0].memory_stats() or {}  # none on a CPU
    return int(torch_bytes + said.get("peak_bytes_in_use" if peak else "bytes_in_use", 0))


def tasks(engine: Any, image: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What is timed."""
    prompts = [Prompt(phrase) for phrase in PHRASES]

    def asked(count: int) -> Callable[[], Any]:
        return lambda: engine.ground(engine.encode([image]) * count, prompts[:count])

    [held] = engine.encode([image])
    return {
        "image": lambda: finished(engine.encode([image])),
        "image + 1 phrase": asked(1),
        "image + 8 phrases": asked(8),
        "further phrase": lambda: engine.ground([held], prompts[1:2]),
        "16 further phrases": lambda: engine.ground([held] * 16, prompts),
        "8 images, 1 phrase each": lambda: engine.ground(engine.encode([image] * 8), prompts[:8]),
    }


def finished(embeddings: list[Any]) -> None:
    """Wait for work that was only handed to a device: the clock must not stop before it is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    for item in embeddings:
        vision = getattr(item, "vision", None)
        if vision is not None and hasattr(vision, "started"):
            vision.started.block_until_ready()


def threshold_for(checkpoint: str, image: np.ndarray) -> float:
    """A threshold above which the first phrase finds `OBJECTS`."""
    engine = load_engine("torch", checkpoint=checkpoint, threshold=0.0)
    answer = engine.answer(engine.encode([image]) * 8, [Prompt(p) for p in PHRASES[:8]])  # type: ignore[attr-defined]
    scores = 1 / (1 + np.exp(-answer.logits.astype(float))) / (1 + np.exp(-answer.presence.astype(float)))[:, None]
    return float(np.sort(scores[0])[-OBJECTS])


def measure(
    engines: dict[str, Any], image: np.ndarray, rounds: int, budget: float = 60.0
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every task of every engine, one of each a round; after `budget` seconds three rounds are enough."""
    work = {name: tasks(engine, image) for name, engine in engines.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {task: [] for task in todo} for name, todo in work.items()}
    begun = time.perf_counter()
    for number in tqdm(range(rounds + 2), desc="rounds"):  # the first two compile and warm up
        if number == 2:
            begun = time.perf_counter()
        if number >= 5 and time.perf_counter() - begun > budget:
            break
        for name, todo in work.items():
            time.sleep(SETTLED)
            for task, run in todo.items():
                start = time.perf_counter()
                run()
                if number >= 2:
                    seconds[name][task].append(time.perf_counter() - start)
    return seconds


def summary(seconds: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians, quartiles, ratios to the stock model, and how much dearer eight phrases are than one."""
    report: dict[str, Any] = {}
    for name, todo in seconds.items():
        report[name] = {
            task: dict(
                zip(
                    ("q1_ms", "median_ms", "q3_ms"),
                    np.percentile(np.array(s) * 1e3, (25, 50, 75)).tolist(),
                    strict=True,
                )
            )
            for task, s in todo.items()
        }
        eight, one = (np.median(todo[f"image + {n}"]) for n in ("8 phrases", "1 phrase"))
        report[name]["8 phrases / 1 phrase"] = float(eight / one)
    for opponent in ("stock", "stock-compiled", "keras-hub"):
        for name in report if opponent in report else ():
            report[name][f"faster than {opponent}"] = {
                task: report[opponent][task]["median_ms"] / report[name][task]["median_ms"] for task in seconds[name]
            }
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite", choices=["lite", "full", "small"])
    parser.add_argument("--engines", default="stock,stock-compiled,torch,torch-exact,onnx,jax")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop early after these, with three rounds or more")
    parser.add_argument("--image", type=Path, default=ROOT / "data/demo/yard.jpg")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    from sam3.images import read_image

    names, image = args.engines.split(","), read_image(args.image)
    with TemporaryDirectory() as place:
        checkpoint, graphs = weights(args.model, Path(place)), Path(place) / "graphs"
        if "onnx" in names:
            export(checkpoint, graphs)
        level, engines, memory = threshold_for(checkpoint, image), {}, {}
        for name in names:
            engines[name], memory[name] = opened(name, checkpoint, graphs, args.device, level, image)
        config = load_checkpoint(checkpoint).model.config.to_dict()
        seconds = measure(engines, image, args.rounds, args.seconds)
    last = engines[names[-1]]
    found = [len(found) for found in last.ground(last.encode([image]) * 8, [Prompt(p) for p in PHRASES[:8]])]
    record = {
        "model": args.model,
        "weights": "random" if args.model != "lite" else STARTER,
        "device": args.device,
        "hardware": hardware_line(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "rounds": len(next(iter(seconds[names[0]].values()))),
        "threshold": level,
        "objects_found": found,
        "engines": summary(seconds),
        "roofline_h200": {
            "this model": predict(stages(from_values(config)), H200),
            "published model": predict(stages(from_values({})), H200),
        },
    }
    if args.device.startswith("cuda"):
        record["peak_memory_gb"] = memory
    out = args.out or ROOT / f"benchmarks/results/engines_{args.model}_{args.device.split(':')[0]}.json"
    write_json(out, record)
    show(record)
    print(f"wrote {out}")
    return 0


def show(record: dict[str, Any]) -> None:
    """The medians as a table."""
    from rich.console import Console
    from rich.table import Table

    rows = {
        name: {k: v for k, v in values.items() if isinstance(v, dict) and "median_ms" in v}
        for name, values in record["engines"].items()
    }
    table = Table(title=f"{record['model']} on {record['hardware']}: median ms")
    table.add_column("engine", no_wrap=True)
    for task in next(iter(rows.values())):
        table.add_column(task, justify="right")
    table.add_column("8 / 1", justify="right")
    for name, values in rows.items():
        cells = [f"{v['median_ms']:.1f}" for v in values.values()]
        table.add_row(name, *cells, f"{record['engines'][name]['8 phrases / 1 phrase']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
