"""Time of an encoder and a decoder: python benchmarks/benchmark_trt.py --encoder FILE --decoder FILE

    python benchmarks/benchmark_trt.py --encoder models/engines/image_encoder.engine --decoder models/engines/decoder.engine
    python benchmarks/benchmark_trt.py --encoder models/export/image_encoder.onnx --decoder models/export/decoder.onnx

A file is a built TensorRT engine (refused when it was built elsewhere) or an ONNX graph, which ONNX Runtime runs on the
device it has: the same command is tried on a CPU. Inputs are random; batch, phrases and boxes as asked.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam3.engines.onnx_engine import open_session
from sam3.engines.tensorrt_engine import BuiltPart, check_origin, read_record
from sam3.errors import BadInput, Sam3AgentError
from sam3.eval.provenance import hardware_line, versions
from sam3.files import write_json


def open_file(path: Path, device: str) -> Any:
    """Something with `run(None, feed)`.

    Raises:
        BadInput: neither an engine nor a graph. BadCheckpoint: an engine from elsewhere.
    """
    if path.suffix == ".onnx" and path.is_file():
        return open_session(path.read_bytes(), str(path), device, 0)
    if path.suffix in (".engine", ".plan"):
        return BuiltPart(check_origin(path.parent, read_record(path.parent)), path)
    raise BadInput(f"{path}: expected a .engine that build_tensorrt.py made, or an .onnx graph.", field="encoder")


def inputs_of(path: Path, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Random inputs of a graph; an engine's graph lies beside it."""
    import onnx

    graph = onnx.load(path.with_suffix(".onnx"), load_external_data=False).graph
    rng, feed = np.random.default_rng(0), {}
    for value in graph.input:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [axis.dim_value or sizes.get(axis.dim_param, 1) for axis in value.type.tensor_type.shape.dim]
        if np.issubdtype(kind, np.floating):
            feed[value.name] = rng.uniform(0.2, 0.6, shape).astype(kind)
        else:
            feed[value.name] = np.ones(shape, kind)
    return feed


def timed(session: Any, feed: dict[str, np.ndarray], runs: int) -> dict[str, float]:
    """Milliseconds of a run, copies to and from the device included."""
    seconds = []
    for number in range(runs + 3):
        start = time.perf_counter()
        session.run(None, feed)
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    low, middle, high = np.percentile(np.array(seconds) * 1e3, (5, 50, 95))
    return {"p5_ms": float(low), "median_ms": float(middle), "p95_ms": float(high)}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--decoder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--boxes", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--device", default="cpu", help="of ONNX graphs: cpu or cuda")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args(argv)
    sizes = {"images": args.images, "pairs": args.pairs, "tokens": args.tokens, "boxes": args.boxes}
    record: dict[str, Any] = {"hardware": hardware_line(), "versions": versions(), "sizes": sizes}
    try:
        for role, path in (("encoder", args.encoder), ("decoder", args.decoder)):
            session = open_file(path, args.device)
            record[role] = {"file": path.name} | timed(session, inputs_of(path, sizes), args.runs)
            print(
                f"{role}: {record[role]['median_ms']:.2f} ms (p5 {record[role]['p5_ms']:.2f}, p95 {record[role]['p95_ms']:.2f})"
            )
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    both = record["encoder"]["median_ms"] + record["decoder"]["median_ms"]
    print(f"together: {both:.2f} ms, {1e3 * args.images / both:.1f} images/s")
    if args.out:
        write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
