"""Exported graphs -> TensorRT engines for this GPU, held against ONNX Runtime before they are kept.

    python sam3/export/export_onnx.py --checkpoint facebook/sam3 --attention explicit --output models/export
    python sam3/export/build_tensorrt.py --graphs models/export --output models/engines --precision fp16
    python sam3/export/build_tensorrt.py --graphs models/export --output models/ahead --target SM89   # TensorRT-RTX, no GPU

Each of the five parts (`sam3.export.cut.parts`) becomes one engine: strongly typed, one dynamic profile, a timing cache
that the next build reads. The same build as a `trtexec` line is printed and kept in engines.json, which also says for
which GPU and version the files are: `sam3.engines.tensorrt_engine` refuses others. Export with `--attention explicit`:
builders have fused half-precision attention into silently wrong features. `--precision fp8` is fp16 with the image
encoder's linear layers in FP8 (`sam3.export.fp8`); it is kept only if it passes the gate, like the others.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sam3.errors import BadCheckpoint, BadConfig, Sam3AgentError, Unavailable
from sam3.export.cut import parts, read_record
from sam3.export.half import half
from sam3.files import write_json
from sam3.folders import fresh_folder

LIBRARIES = ("tensorrt", "tensorrt_rtx")
PRECISIONS = ("fp32", "fp16", "fp8")
DTYPES = {"fp32": "float32", "fp16": "float16", "fp8": "float8"}
PICTURES = Path("data/demo")
PHRASES = ("chicken", "duck", "red car")
FOUND = 12  # instances that the gate compares at least
# name of a dynamic axis -> (least, best, most)
RANGES = {
    "images": (1, 1, 16),
    "pairs": (1, 4, 16),
    "phrases": (1, 1, 16),
    "tokens": (2, 8, 32),
    "boxes": (1, 1, 16),
    "queries_kept": (1, 8, 200),
}
Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


def library(name: str | None = None) -> Any:
    """TensorRT's Python module; TensorRT-RTX where that is what is installed.

    Raises:
        Unavailable: neither is installed with its libraries.
    """
    import importlib

    if name not in (None, *LIBRARIES):  # it may come from a file: nothing else is imported
        raise BadConfig(f"library {name!r}: expected {' or '.join(LIBRARIES)}.", field="library")
    for module in (name,) if name else LIBRARIES:
        try:
            found = importlib.import_module(module)
            if hasattr(found, "Builder"):
                return found
        except (ImportError, OSError, RuntimeError):  # the packages on PyPI may be stubs without their libraries
            continue
    raise Unavailable(
        f"{name or 'tensorrt'} is not installed here. Install NVIDIA's tensorrt, or tensorrt-rtx-cu13 to build ahead of time.",
        field="engine",
    )


def shapes_of(model: bytes, most_queries: int) -> Shapes:
    """Least, best and largest shape of every input, from the names of its axes."""
    import onnx

    found: Shapes = {}
    for value in onnx.load_from_string(model).graph.input:
        axes = [
            (axis.dim_value,) * 3 if axis.dim_value else RANGES.get(axis.dim_param, RANGES["pairs"])
            for axis in value.type.tensor_type.shape.dim
        ]
        least, best, most = zip(*axes, strict=True)
        if value.name == "queries":
            most = (most[0], most_queries, most[2])
            best = (best[0], min(best[1], most_queries), best[2])
        found[value.name] = (least, best, most)
    return found


def trtexec_line(graph: Path, engine: Path, shapes: Shapes, cache: Path) -> str:
    """The build as NVIDIA's command line does it."""

    def listed(which: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, shape[which]))}" for name, shape in shapes.items())

    words = ["trtexec", f"--onnx={graph}", f"--saveEngine={engine}", "--stronglyTyped", f"--timingCacheFile={cache}"]
    words += [f"--{name}Shapes={listed(at)}" for at, name in enumerate(("min", "opt", "max"))]
    return shlex.join(words)


def build_part(trt: Any, model: bytes, shapes: Shapes, cache: bytes, target: str | None) -> tuple[bytes, bytes]:
    """One engine.

    Args:
        cache: a timing cache, or nothing. target: a compute capability of TensorRT-RTX ("SM89"), or this GPU's.

    Returns:
        The serialised engine and the timing cache.

    Raises:
        BadCheckpoint: the graph does not parse or build; says why.
    """
    logger = _Log(trt)
    builder = trt.Builder(logger.sink)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger.sink)
    if not parser.parse(model):
        said = "; ".join(parser.get_error(at).desc() for at in range(parser.num_errors))
        raise BadCheckpoint(f"TensorRT cannot read the graph: {said[:300]}")
    config = builder.create_builder_config()
    if target:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    if shapes:
        profile = builder.create_optimization_profile()
        for name, (least, best, most) in shapes.items():
            profile.set_shape(name, least, best, most)
        config.add_optimization_profile(profile)
    timing = config.create_timing_cache(cache)
    config.set_timing_cache(timing, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BadCheckpoint(f"TensorRT cannot build the graph: {logger.last[:300]}")
    kept = config.get_timing_cache()
    return bytes(engine), bytes(kept.serialize()) if kept is not None else b""


class _Log:
    """TensorRT's logger that keeps the last error."""

    def __init__(self, trt: Any) -> None:
        self.last = "no reason given"
        outer = self

        class Sink(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                    outer.last = message

        self.sink = Sink()


def build(
    graphs: Path,
    output: Path,
    *,
    precision: str = "fp16",
    target: str | None = None,
    pictures: Path = PICTURES,
    gate: Callable[[Path, Path], list[str]] | None = None,
) -> dict[str, Any]:
    """Build every part, check, and put the engines in place; returns what engines.json says.

    Args:
        precision: one of `PRECISIONS`. target: build ahead of time for a compute capability, with TensorRT-RTX.
        pictures: a folder whose pictures set the scales of FP8, and are asked about in the gate.
        gate: from the folders of graphs and engines to the reasons why they differ; by default `parity_gate` on the
            same pictures where the engines can run, nothing where they cannot.

    Raises:
        BadConfig, BadCheckpoint, Unavailable: nothing is kept.
    """
    if precision not in PRECISIONS:
        raise BadConfig(f"precision {precision!r}: expected {', '.join(PRECISIONS)}.", field="precision")
    trt = library("tensorrt_rtx" if target else None)
    if target and not hasattr(trt.ComputeCapability, target):
        known = ", ".join(n for n in dir(trt.ComputeCapability) if n.startswith("SM"))
        raise BadConfig(f"target {target!r}: expected one of {known}.", field="target")
    record = read_record(graphs, ("checkpoint", "sha256", "image_size", "queries"))
    if precision != "fp32" and record.get("attention") != "explicit":
        raise BadConfig(
            f"{graphs}: attention is not written out, and builders have fused it into wrong features at {precision}. Export "
            f"again: python sam3/export/export_onnx.py --checkpoint {shlex.quote(str(record['checkpoint']))} "
            f"--attention explicit --output {shlex.quote(str(graphs))}",
            field="graphs",
        )
    cache_file = output / "timing.cache"
    cache = cache_file.read_bytes() if cache_file.is_file() else b""
    about: dict[str, Any] = {"parts": {}, "trtexec": {}}
    with fresh_folder(output) as fresh:
        for name, model in tqdm(parts(graphs).items(), desc="build", unit="engine"):
            typed = in_precision(name, model, precision, int(record["image_size"]), pictures)
            shapes = shapes_of(typed, int(record["queries"]))
            (fresh / f"{name}.onnx").write_bytes(typed)
            engine, cache = build_part(trt, typed, shapes, cache, target)
            (fresh / f"{name}.engine").write_bytes(engine)
            about["parts"][name] = hashlib.sha256(engine).hexdigest()
            here = (output / f"{name}.onnx", output / f"{name}.engine", shapes, cache_file)
            about["trtexec"][name] = trtexec_line(*here)
        (fresh / "timing.cache").write_bytes(cache)
        shutil.copyfile(graphs / "tokenizer.json", fresh / "tokenizer.json")
        about |= {key: record[key] for key in ("checkpoint", "sha256", "image_size", "queries")}
        about |= {"precision": precision, "graphs": str(graphs), "attention": record.get("attention", "fused")}
        about |= origin(trt, target)
        write_json(fresh / "engines.json", about)
        write_json(
            fresh / "export.json", record | {"dtype": DTYPES[precision]}
        )  # so that the parts can be packaged and run like graphs
        check = gate or (None if target else partial(parity_gate, pictures=pictures))
        if check and (reasons := check(graphs, fresh)):
            raise BadCheckpoint(
                f"the engines do not say what the graphs say: {'; '.join(reasons)}. They were not kept."
            )
    return about


def in_precision(part: str, model: bytes, precision: str, side: int, pictures: Path) -> bytes:
    """A part in the types that its engine computes in; FP8 is for the image encoder, where the work is."""
    if precision == "fp32":
        return model
    if precision == "fp16" or part != "image_encoder":
        return half(model)
    from sam3.export.fp8 import fp8
    from sam3.images import picture_files, read_image
    from sam3.pixels import to_model

    return fp8(model, [{"pixels": to_model(read_image(path), side)[None]} for path in picture_files(pictures)[:64]])


def origin(trt: Any, target: str | None = None) -> dict[str, Any]:
    """For which library and GPU engines are: what must be the same where they are loaded."""
    kind = {"library": trt.__name__.split(".")[0], "version": trt.__version__}
    if target:
        return kind | {"gpu": None, "compute_capability": target}
    import torch

    if not torch.cuda.is_available():
        raise Unavailable(
            "TensorRT engines need an NVIDIA GPU and this PyTorch sees none. To build for another machine: --target SM89.",
            field="target",
        )
    major, minor = torch.cuda.get_device_capability()
    return kind | {"gpu": torch.cuda.get_device_name(), "compute_capability": f"SM{major}{minor}"}


def parity_gate(graphs: Path, engines: Path, pictures: Path = PICTURES) -> list[str]:
    """Why the engines do not say what ONNX Runtime says of the same graphs; nothing when they do.

    The threshold lies where the graphs find `FOUND` things in all: whatever the weights score, masks are compared.
    """
    import numpy as np

    from sam3.engines.onnx_engine import OnnxEngine
    from sam3.engines.tensorrt_engine import TensorrtEngine
    from sam3.eval.parity import compare, judge
    from sam3.images import picture_files, read_image
    from sam3.types import Prompt

    asked = [(read_image(path), [Prompt(phrase) for phrase in PHRASES]) for path in picture_files(pictures)[:4]]
    if not asked:
        return [f"no pictures in {pictures} to compare on: give a folder with --pictures"]
    reference = OnnxEngine(graphs, threshold=0.0)
    found = [reference.ground(reference.encode([image]) * len(prompts), prompts) for image, prompts in asked]
    scores = np.sort(np.concatenate([one.scores for answers in found for one in answers]))
    level = min(0.5, float(scores[-FOUND:].min()))
    return judge(compare(reference, TensorrtEngine(engines), asked, threshold=level), exact=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=Path, required=True, help="folder of exported graphs")
    parser.add_argument("--output", type=Path, required=True, help="folder for the engines")
    parser.add_argument("--precision", default="fp16", help=", ".join(PRECISIONS))
    parser.add_argument(
        "--pictures", type=Path, default=PICTURES, help="folder of pictures: scales of FP8, and the gate"
    )
    parser.add_argument("--target", help="build ahead of time for a compute capability, e.g. SM89 (TensorRT-RTX)")
    args = parser.parse_args(argv)
    try:
        about = build(args.graphs, args.output, precision=args.precision, target=args.target, pictures=args.pictures)
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in about["trtexec"].values():
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
