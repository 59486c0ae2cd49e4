"""A float32 graph -> one in half precision whose linear layers multiply in FP8 (E4M3), for GPUs from Ada and Hopper on.

    python sam3/export/build_tensorrt.py --graphs models/export --output models/engines --precision fp8 --pictures data/demo

Only `MatMul`s with a constant matrix change: their weights are stored in 8 bits, their inputs quantised on the way, one
scale a tensor each (largest magnitude seen / 448; Micikevicius et al. 2022, "FP8 Formats for Deep Learning"). The scales
of the inputs come from running the float graph on pictures. The types stand in the graph as `QuantizeLinear` and
`DequantizeLinear`, so that a strongly typed builder has no choice, and ONNX Runtime on a CPU (its optimiser turned
off) can say what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.export.half import half

LARGEST = 448.0  # of E4M3
OPSET = 19  # the first with FP8
EVERY = 16  # sizes that tensor cores take in FP8


def fp8(model: bytes, feeds: Sequence[Mapping[str, np.ndarray]]) -> bytes:
    """The graph with FP8 linear layers, everything else as `half` leaves it.

    Args:
        feeds: inputs of the graph, as it will see them; they set the scales.

    Raises:
        BadInput: nothing to set the scales with, or a scale would not be a finite number.
    """
    import onnx
    from onnx import helper

    layers = linear_layers(onnx.load_from_string(model))
    scales = {
        name: most / LARGEST for name, most in magnitudes(model, [read for read, _ in layers.values()], feeds).items()
    }
    graph = onnx.load_from_string(half(model))
    weights = {item.name: item for item in graph.graph.initializer}
    made: set[str] = set()
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    for node in nodes:
        if node.name in layers:
            read, weight = layers[node.name]
            node.input[0] = _quantised(graph, node.input[0], scales[read], made)
            node.input[1] = _stored(graph, weights[weight], made)
        graph.graph.node.append(node)
    for wanted in graph.opset_import:
        if not wanted.domain:
            wanted.version = max(wanted.version, OPSET)
    used = {name for node in graph.graph.node for name in node.input}
    kept = [item for item in graph.graph.initializer if item.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    del graph.graph.value_info[:]
    graph.ir_version = max(graph.ir_version, helper.find_min_ir_version_for(list(graph.opset_import)))
    return bytes(graph.SerializeToString())


def linear_layers(model: Any) -> dict[str, tuple[str, str]]:
    """Name of each linear layer's node -> names of its input and of its matrix."""
    matrices = {
        item.name for item in model.graph.initializer if len(item.dims) == 2 and not any(n % EVERY for n in item.dims)
    }
    return {
        node.name: (node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in matrices
    }


def magnitudes(model: bytes, values: Sequence[str], feeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """The largest magnitude of values inside a graph, over all feeds."""
    import onnx
    import onnxruntime as ort

    names = list(dict.fromkeys(values))
    if not names:
        return {}
    if not feeds:
        raise BadInput("FP8 needs pictures to set its scales with: --pictures FOLDER.", field="pictures")
    graph = onnx.load_from_string(model)
    given = {value.name for value in (*graph.graph.output, *graph.graph.input)}
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in given
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    most = dict.fromkeys(names, 0.0)
    for feed in feeds:
        for name, value in zip(names, session.run(names, dict(feed)), strict=True):
            most[name] = max(most[name], float(np.abs(value).max()))
    if bad := [name for name, value in most.items() if not 0 < value < np.inf]:
        raise BadInput(f"FP8: {bad[0]} is {most[bad[0]]} on every picture; no scale fits. Give other pictures.")
    return most


def _scale(graph: Any, name: str, value: float) -> str:
    """A scale as half-precision constant."""
    from onnx import numpy_helper

    graph.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float16), name))
    return name


def _quantised(graph: Any, value: str, scale: float, made: set[str]) -> str:
    """What goes into a layer, through FP8 and back; once for all layers that read it."""
    from onnx import TensorProto, helper

    through = f"{value}/fp8"
    if value not in made:
        made.add(value)
        named = _scale(graph, f"{value}/scale", scale)
        graph.graph.initializer.append(
            helper.make_tensor(f"{value}/zero", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)
        )
        narrow = helper.make_node("QuantizeLinear", [value, named, f"{value}/zero"], [f"{value}/narrow"])
        graph.graph.node.extend([narrow, helper.make_node("DequantizeLinear", [f"{value}/narrow", named], [through])])
    return through


def _stored(graph: Any, weight: Any, made: set[str]) -> str:
    """A matrix in FP8, and the node that widens it."""
    import ml_dtypes
    from onnx import TensorProto, helper, numpy_helper

    through = f"{weight.name}/fp8"
    if weight.name not in made:
        made.add(weight.name)
        values = numpy_helper.to_array(weight).astype(np.float32)
        scale = max(float(np.abs(values).max()), 1e-6) / LARGEST
        narrow = (values / np.float32(np.float16(scale))).clip(-LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
        stored = helper.make_tensor(
            f"{weight.name}/narrow", TensorProto.FLOAT8E4M3FN, values.shape, narrow.tobytes(), raw=True
        )
        graph.graph.initializer.append(stored)
        named = _scale(graph, f"{weight.name}/scale", scale)
        graph.graph.node.append(helper.make_node("DequantizeLinear", [stored.name, named], [through]))
    return through
