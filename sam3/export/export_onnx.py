"""A checkpoint -> three ONNX graphs, each held against PyTorch before it is kept.

    python sam3/export/export_onnx.py --checkpoint models/finetuned --component all --output models/export

Components: encoder (images), text, decoder, or all. The folder also gets `tokenizer.json` and `export.json`
(names, shapes, checkpoint, largest differences), which is all the ONNX engine needs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sam3.checkpoint import Checkpoint, load_checkpoint
from sam3.detector import BoxPrompts
from sam3.errors import BadCheckpoint, BadConfig, Sam3AgentError
from sam3.export.graphs import CUTS, Decoder, ImageEncoder, TextEncoder
from sam3.fast.detector import FastDetector
from sam3.files import read_json, write_json
from sam3.folders import fresh_folder

COMPONENTS = {"encoder": "image_encoder", "text": "text_encoder", "decoder": "decoder"}
TOLERANCE = 1e-4
OPSET = 18


@dataclass(frozen=True)
class Graph:
    """What one graph is exported from.

    Attributes:
        inputs: example tensors by name; batch sizes of 2 or more, since 1 would be baked in.
        outputs: of the graph; the module returns them first, and then the values named in `CUTS`.
        dynamic: per input, the names of its dynamic axes.
        sample: makes fresh inputs of other sizes, for the check.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]]
    sample: Callable[[int], dict[str, Tensor]]


def graphs(loaded: Checkpoint, *, explicit: bool = False) -> dict[str, Graph]:
    """The three graphs of a checkpoint, by component; `explicit` writes attention out (`sam3.fast.attention`)."""
    model = loaded.model
    fast = FastDetector(model, explicit=explicit).eval()
    side = loaded.image_size
    levels = [tuple(x.shape[1:]) for x in model.encode_images(torch.zeros(1, 3, side, side)).levels]
    width = levels[0][0]

    def pixels(seed: int, count: int = 2) -> dict[str, Tensor]:
        return {"pixels": _random(seed, count, 3, side, side).clamp(-1, 1)}

    def ids(seed: int, count: int = 2, length: int = 7) -> dict[str, Tensor]:
        mask = torch.ones(count, length, dtype=torch.int64)
        mask[0, length - 2 :] = 0
        words: Any = model.config.text_config
        high = words.vocab_size
        return {"ids": torch.randint(0, high, (count, length), generator=_generator(seed)), "mask": mask}

    def pairs(seed: int, count: int = 2, length: int = 7, boxes: int = 3) -> dict[str, Tensor]:
        mask = torch.ones(count, length, dtype=torch.bool)
        mask[0, length - 2 :] = False
        labels = torch.ones(count, boxes, dtype=torch.int64)
        labels[0] = -10  # a pair without boxes, and one with a negative and a padding box
        labels[1, -1], labels[1, 0] = -10, 0
        corner = torch.rand(count, boxes, 4, generator=_generator(seed)) * 0.4 + 0.2
        named = {
            "text": _random(seed, count, length, width),
            "text_mask": mask,
            "boxes": corner,
            "box_labels": labels,
        }
        return named | {f"level_{at}": _random(seed + at, count, *shape) for at, shape in enumerate(levels)}

    names = [f"level_{at}" for at in range(len(levels))]
    pair = {0: "pairs"}
    return {
        "encoder": Graph(
            "image_encoder",
            ImageEncoder(fast),
            pixels(0),
            names,
            {"pixels": {0: "images"}},
            lambda seed: pixels(seed, 3),
        ),
        "text": Graph(
            "text_encoder",
            TextEncoder(model),
            ids(0),
            ["text"],
            {"ids": {0: "phrases", 1: "tokens"}, "mask": {0: "phrases", 1: "tokens"}},
            lambda seed: ids(seed, 3, 11),
        ),
        "decoder": Graph(
            "decoder",
            Decoder(fast),
            pairs(0),
            ["logits", "boxes_out", "presence", "masks"],
            {"text": {0: "pairs", 1: "tokens"}, "text_mask": {0: "pairs", 1: "tokens"}}
            | {"boxes": {0: "pairs", 1: "boxes"}, "box_labels": {0: "pairs", 1: "boxes"}}
            | {name: pair for name in names},
            lambda seed: pairs(seed, 3, 11, 2),
        ),
    }


def export(
    checkpoint: str | Path, output: str | Path, component: str = "all", *, attention: str = "fused"
) -> dict[str, Any]:
    """Export, check, and put the graphs in place; returns what export.json says.

    Args:
        attention: "explicit" writes it out for builders that fuse half-precision attention wrongly (TensorRT).

    Raises:
        BadConfig: no such component or form of attention. BadCheckpoint: a graph differs from PyTorch by more than 1e-4; nothing is kept.
    """
    if component != "all" and component not in COMPONENTS:
        raise BadConfig(f"component {component!r}: expected all, {', '.join(COMPONENTS)}.", field="component")
    if attention not in ("fused", "explicit"):
        raise BadConfig(f"attention {attention!r}: expected fused or explicit.", field="attention")
    loaded = load_checkpoint(checkpoint)
    chosen = list(COMPONENTS) if component == "all" else [component]
    target = Path(output)
    with fresh_folder(target) as fresh:
        if component != "all" and target.is_dir():
            shutil.copytree(target, fresh, dirs_exist_ok=True)
        record = _record(loaded, fresh)
        record["attention"] = attention
        everything = graphs(loaded, explicit=attention == "explicit")
        for name in tqdm(chosen, desc="export", unit="graph"):
            graph = everything[name]
            write_graph(graph, fresh / f"{graph.name}.onnx")
            record["max_difference"][graph.name] = check_graph(graph, fresh / f"{graph.name}.onnx")
        if set(COMPONENTS.values()) <= set(record["max_difference"]):
            record["end_to_end_difference"] = check_whole(loaded, fresh)
        shutil.copyfile(loaded.folder / "tokenizer.json", fresh / "tokenizer.json")
        write_json(fresh / "export.json", record)
    return record


def write_graph(graph: Graph, path: Path) -> None:
    """Trace with torch.export and write one self-contained ONNX file."""
    axes = {
        name: {axis: torch.export.Dim(label, min=1) for axis, label in axes.items()}
        for name, axes in graph.dynamic.items()
    }
    names = list(graph.inputs)
    shapes: tuple[Any, ...] = tuple(_shared(axes)[name] for name in names)
    if isinstance(graph.module, Decoder):  # *levels arrive as one variadic argument
        shapes = (*shapes[:4], tuple(shapes[4:]))
    with torch.no_grad(), _quiet():
        program: Any = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=[*graph.outputs, *CUTS[graph.name]],
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    # the cuts keep their names, and what is known of their shapes, inside the graph
    model.graph.value_info.extend(model.graph.output[len(graph.outputs) :])
    del model.graph.output[len(graph.outputs) :]
    path.write_bytes(model.SerializeToString())


def check_graph(graph: Graph, path: Path) -> float:
    """Largest absolute difference between ONNX Runtime and PyTorch on inputs of other sizes.

    Raises:
        BadCheckpoint: it is above 1e-4.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for seed in (1, 2):
        inputs = graph.sample(seed)
        with torch.no_grad():
            out = graph.module(*inputs.values())
        expected = [out] if isinstance(out, Tensor) else list(out)[: len(graph.outputs)]
        got = session.run(graph.outputs, {name: value.numpy() for name, value in inputs.items()})
        worst = max(worst, *(float(np.abs(a.numpy() - b).max()) for a, b in zip(expected, got, strict=True)))
    if not worst <= TOLERANCE:
        raise BadCheckpoint(
            f"{path.name}: differs from PyTorch by {worst:.2g}, allowed {TOLERANCE:g}. It was not kept."
        )
    return worst


def check_whole(loaded: Checkpoint, folder: Path) -> float:
    """Largest difference of the chained graphs from the reference detector, boxes and padding included.

    Mask logits count as a share of the largest one where that is above 1.

    Raises:
        BadCheckpoint: it is above 1e-4.
    """
    import onnxruntime as ort

    run = {
        name: ort.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        for name in COMPONENTS.values()
    }
    side, model = loaded.image_size, loaded.model
    pixels = _random(7, 2, 3, side, side).clamp(-1, 1)
    words: Any = model.config.text_config
    ids = torch.randint(0, words.vocab_size, (2, 9), generator=_generator(7))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    boxes, labels = torch.rand(2, 2, 4, generator=_generator(8)) * 0.4 + 0.2, torch.tensor([[1, 0], [-10, -10]])
    with torch.no_grad():
        found = model.ground(model.encode_images(pixels), model.encode_text(ids, mask), BoxPrompts(boxes, labels))
        drawn = model.pixel_embeddings(found)
        count = found.queries.shape[2]
        rows = torch.arange(2).repeat_interleave(count)
        masks = model.mask_logits(drawn, rows, found.queries[-1].flatten(0, 1)).unflatten(0, (2, count))
    levels = run["image_encoder"].run(None, {"pixels": pixels.numpy()})
    text = run["text_encoder"].run(None, {"ids": ids.numpy(), "mask": mask.numpy()})[0]
    feed = {f"level_{at}": level for at, level in enumerate(levels)} | {"text": text, "text_mask": mask.bool().numpy()}
    feed |= {"boxes": boxes.numpy(), "box_labels": labels.numpy()}
    got = run["decoder"].run(["logits", "boxes_out", "presence", "masks"], feed)
    expected = [found.logits[-1], found.boxes[-1], found.presence[-1], masks]
    scale = [1.0, 1.0, 1.0, max(1.0, float(masks.abs().max()))]
    worst = max(float(np.abs(a.numpy() - b).max()) / s for a, b, s in zip(expected, got, scale, strict=True))
    if not worst <= TOLERANCE:
        raise BadCheckpoint(
            f"the three graphs together differ from PyTorch by {worst:.2g}, allowed {TOLERANCE:g}. They were not kept."
        )
    return worst


def _record(loaded: Checkpoint, folder: Path) -> dict[str, Any]:
    held = folder / "export.json"
    differences = read_json(held)["max_difference"] if held.is_file() else {}
    decoder: Any = loaded.model.config.detr_decoder_config
    return {
        "checkpoint": loaded.name,
        "sha256": loaded.sha256,
        "image_size": loaded.image_size,
        "queries": decoder.num_queries,
        "opset": OPSET,
        "torch": torch.__version__,
        "cuts": CUTS,
        "max_difference": differences,
    }


def _shared(axes: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    """One `Dim` object per label: the exporter wants the same object for the same size."""
    known: dict[str, Any] = {}
    return {
        name: {axis: known.setdefault(dim.__name__, dim) for axis, dim in dims.items()} for name, dims in axes.items()
    }


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=_generator(seed))


def _quiet() -> Any:
    """The exporter's warnings speak of its own internals."""
    import logging
    import warnings

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    caught = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return caught


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a checkpoint folder, sam3-lite or facebook/sam3")
    parser.add_argument("--component", default="all", help="encoder, text, decoder or all")
    parser.add_argument("--attention", default="fused", help="explicit writes it out (for TensorRT)")
    parser.add_argument("--output", required=True, help="folder for the graphs")
    args = parser.parse_args(argv)
    try:
        record = export(args.checkpoint, args.output, args.component, attention=args.attention)
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, difference in record["max_difference"].items():
        print(f"{args.output}/{name}.onnx: largest difference from PyTorch {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
