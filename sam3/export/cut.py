"""A part of an exported graph as a model of its own, between values whose names the export kept (`graphs.CUTS`).

`parts(folder)` is the one split that every runtime of the graphs uses: in process, TensorRT, and the models on Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam3.errors import BadCheckpoint
from sam3.files import read_json

PARTS = ("image_encoder", "text_encoder", "decoder", "fine_levels", "mask_head")


def read_record(folder: Path, keys: Sequence[str] = ("sha256", "image_size")) -> dict[str, Any]:
    """What export.json says of a folder of graphs.

    Raises:
        BadCheckpoint: it is not there, or says too little.
    """
    path = folder / "export.json"
    if not path.is_file():
        raise BadCheckpoint(f"{path}: missing. Export the checkpoint again with --component all.")
    record = read_json(path)
    for key in keys:
        if not isinstance(record, dict) or key not in record:
            raise BadCheckpoint(f"{path}: says no {key}, so this is no export of ours. Export the checkpoint again.")
    return record


def read_graph(path: Path) -> Any:
    """An ONNX model.

    Raises:
        BadCheckpoint: no such file, or not one.
    """
    import onnx

    if not path.is_file():
        raise BadCheckpoint(f"{path}: missing. Export the checkpoint again with --component all.")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own exception types
        raise BadCheckpoint(f"{path}: not an ONNX graph ({str(error)[:120]}). Export it again.") from error


def cut(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The part of a graph between named values; every count in it that an input brings is dynamic.

    Raises:
        BadCheckpoint: the graph has no such values: it was exported by another version.
    """
    from onnx import TensorProto, helper
    from onnx.utils import Extractor

    names = {name for node in model.graph.node for name in node.output} | {value.name for value in model.graph.input}
    if missing := [name for name in (*inputs, *outputs) if name not in names]:
        raise BadCheckpoint(f"the graph has no value {missing[0]!r}. Export it again with this version.")
    noted = {v.name for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    for name in dict.fromkeys((*inputs, *outputs)):
        if name not in noted:  # quantisation forgets the notes; every value at a cut is float32
            model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    given = {value.name for value in model.graph.input} - set(inputs)
    borrowed = [node for node in model.graph.node if _is_batch_size(node) and node.input[0] in given]
    asked = [node.input[0] for node in borrowed]
    try:
        for node in borrowed:  # the batch size is read off any input, perhaps one that this part does not have
            node.input[0] = inputs[0]
        part = Extractor(model).extract_model(list(inputs), list(outputs))
    finally:
        for node, name in zip(borrowed, asked, strict=True):
            node.input[0] = name
    for value in part.graph.input:
        if value.name == "queries" and value.type.tensor_type.shape.dim:  # any number of them can be drawn
            value.type.tensor_type.shape.dim[1].dim_param = "queries_kept"
    # sizes noted for the whole graph need not hold for the part
    del part.graph.value_info[:]
    for value in part.graph.output:
        value.type.tensor_type.ClearField("shape")
    return part.SerializeToString()


def _is_batch_size(node: Any) -> bool:
    """Does a node ask for the first axis of its input, and for nothing else?"""
    asked = {item.name: item.i for item in node.attribute}
    return node.op_type == "Shape" and asked.get("start", 0) == 0 and asked.get("end") == 1


def parts(folder: Path) -> dict[str, bytes]:
    """The graphs of a folder as the five models that an engine runs.

    image_encoder: pixels -> map, coarsest level, and what else needs no prompt · text_encoder · decoder: the answer for
    a pair, without masks · fine_levels: map -> finer levels · mask_head: masks of chosen queries. The last two run
    only when there is something to draw. A folder that holds the five already (`PARTS`) is taken as it is.
    """
    if (folder / "mask_head.onnx").is_file():
        return {name: read_graph(folder / f"{name}.onnx").SerializeToString() for name in PARTS}
    image, decoder = read_graph(folder / "image_encoder.onnx"), read_graph(folder / "decoder.onnx")
    levels = [value.name for value in image.graph.output]
    fine, coarsest = levels[:-1], levels[-1]
    asked = [value.name for value in decoder.graph.input if not value.name.startswith("level_")]
    encode, start = cut(image, ["pixels"], ["trunk", coarsest]), cut(decoder, [coarsest], ["started"])
    return {
        "image_encoder": follow(encode, start),
        "text_encoder": read_graph(folder / "text_encoder.onnx").SerializeToString(),
        "decoder": cut(
            decoder, ["started", coarsest, *asked], ["logits", "boxes_out", "presence", "queries", "encoded"]
        ),
        "fine_levels": cut(image, ["trunk"], fine),
        "mask_head": cut(decoder, ["queries", "encoded", *fine], ["mask_rows"]),
    }


def follow(first: bytes, second: bytes) -> bytes:
    """Two models as one: the second takes its inputs from the first's outputs of the same names; outputs of both."""
    import onnx

    model, more = onnx.load_from_string(first), onnx.load_from_string(second)
    shared = {value.name for value in more.graph.input} | {value.name for value in more.graph.output}
    for node in more.graph.node:  # both exports number their nodes and values alike
        node.name = f"then/{node.name}"
        for names in (node.input, node.output):
            names[:] = [name if not name or name in shared else f"then/{name}" for name in names]
    for item in more.graph.initializer:
        item.name = f"then/{item.name}"
    versions = {item.domain: item for item in model.opset_import}
    for item in more.opset_import:  # a quantised part has operators of its own
        if item.domain in versions:
            versions[item.domain].version = max(versions[item.domain].version, item.version)
        else:
            model.opset_import.append(item)
    model.graph.node.extend(more.graph.node)
    model.graph.initializer.extend(more.graph.initializer)
    model.graph.output.extend(more.graph.output)
    return bytes(model.SerializeToString())
