"""A float32 graph -> one whose weights and activations are float16, cast in the graph itself.

Strongly typed builders take types from the graph and ignore an FP16 flag. Softmax, norms and what is summed over many
places stay float32: a softmax between casts is also what keeps builders from fusing attention into wrong features.
Inputs and outputs stay float32.
"""

from __future__ import annotations

SUMS = ["Softmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceSum", "ReduceMean"]
BOXES = ["Sigmoid", "Log", "Sin", "Cos"]  # a box is refined through these
WIDE = [*SUMS, *BOXES]


def half(model: bytes) -> bytes:
    """The graph in half precision."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    graph = onnx.load_from_string(model)
    cast = convert_float_to_float16(
        graph, keep_io_types=True, disable_shape_infer=False, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *WIDE]
    )
    # the converter writes the cast of a value once for every reader of it; builders want one
    made: set[str] = set()
    for node in list(cast.graph.node):
        if made.issuperset(node.output):
            cast.graph.node.remove(node)
        made.update(node.output)
    return cast.SerializeToString()
