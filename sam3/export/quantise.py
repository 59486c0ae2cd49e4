"""Exported graphs -> INT8 graphs for CPUs and small devices, kept only if they still say the same.

    python sam3/export/quantise.py --graphs models/export --output models/export-int8 --pairs data/splits/val.json \\
        --images data/raw/images

Weights of the linear layers become 8-bit (per channel), activations are scaled on the fly; convolutions stay float32.
The gate is that of 16-bit engines: mean mask IoU of at least 0.99, cgF1 within 0.005, against the float32 graphs.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.errors import BadCheckpoint, Sam3AgentError
from sam3.export.graphs import CUTS
from sam3.files import read_json, write_json
from sam3.folders import fresh_folder

if TYPE_CHECKING:
    from sam3.eval.parity import Asked
    from sam3.eval.saco import GroundTruth


def quantise(
    graphs: Path, output: Path, asked: Sequence[Asked], truth: tuple[GroundTruth, Path] | None = None
) -> dict[str, Any]:
    """Quantise, compare, and put the graphs in place; returns the comparison.

    Args:
        asked: pictures and prompts to compare on. truth: a validation file and its picture folder, for cgF1.

    Raises:
        BadCheckpoint: the quantised graphs say something else; nothing is kept.
    """
    from sam3.engines.onnx_engine import OnnxEngine
    from sam3.eval.parity import compare, judge

    record = read_json(graphs / "export.json") | {"dtype": "int8"}
    with fresh_folder(output) as fresh:
        for name in CUTS:
            eight_bits(graphs / f"{name}.onnx", fresh / f"{name}.onnx")
        write_json(fresh / "export.json", record)
        shutil.copyfile(graphs / "tokenizer.json", fresh / "tokenizer.json")
        engines = OnnxEngine(graphs), OnnxEngine(fresh)
        parity = compare(*engines, asked)
        if truth:
            parity.cgf1 = _cgf1(engines, truth)
        if reasons := judge(parity, exact=False):
            raise BadCheckpoint(f"INT8 does not say what {graphs} says: {'; '.join(reasons)}. It was not kept.")
        outcome = sizes(graphs, fresh) | parity.to_json()
    return outcome


def eight_bits(source: Path, target: Path) -> None:
    """One graph with 8-bit linear layers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from sam3.export.cut import read_graph

    logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing that the exporter has done
    model = read_graph(source)
    del model.graph.value_info[:]  # the exporter's notes of shapes and the quantiser's own contradict each other
    bare = target.with_suffix(".bare")
    bare.write_bytes(model.SerializeToString())
    # a scale for every output channel is understood of plain matrices only
    plain = {item.name for item in model.graph.initializer if len(item.dims) == 2}
    layers = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in plain]
    quantize_dynamic(
        bare,
        target,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=layers,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    bare.unlink()


def sizes(before: Path, after: Path) -> dict[str, float]:
    """Megabytes of both folders' graphs."""
    return {
        name: sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6
        for name, folder in (("before_mb", before), ("after_mb", after))
    }


def _cgf1(engines: Sequence[Any], truth: tuple[GroundTruth, Path]) -> tuple[float, float]:
    from sam3.eval.parity import cgf1_of

    return cgf1_of(engines[0], *truth), cgf1_of(engines[1], *truth)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    from sam3.eval.parity import prompts_of
    from sam3.eval.saco import read_ground_truth

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=Path, required=True, help="folder of float32 graphs")
    parser.add_argument("--output", type=Path, required=True, help="folder for the INT8 graphs")
    parser.add_argument("--pairs", type=Path, required=True, help="SA-Co validation file")
    parser.add_argument("--images", type=Path, required=True, help="folder of its pictures")
    args = parser.parse_args(argv)
    try:
        truth = read_ground_truth(args.pairs)
        outcome = quantise(args.graphs, args.output, [*prompts_of(truth, args.images, 12)], (truth, args.images))
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{args.output}: {outcome['before_mb']:.1f} MB -> {outcome['after_mb']:.1f} MB, mask IoU {outcome['mask_iou']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
