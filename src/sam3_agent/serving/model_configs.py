"""A packaged version -> the `config.pbtxt` of its models, checked against Triton's own schema by building its message.

Two kinds of graph host: the Python backend running ONNX Runtime (laptops), or Triton's ONNX Runtime or TensorRT
backends (GPU hosts). Names, tensors and batching are the same. Field names: `model_config.proto` of Triton 2.51.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sam3.triton.canary import WEIGHTS
from sam3.triton.grounding import GRAPHS
from sam3_agent.serving.settings import ServingSettings

Backend = Literal["python", "onnxruntime", "tensorrt"]
WHOLE, VIDEO = "sam3", "sam3_video"
PARTS = {graph: f"sam3_{graph}" for graph in GRAPHS}
MODELS = (*PARTS.values(), WHOLE, VIDEO)  # in the order of loading
TYPES = {"float": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64", "bool": "TYPE_BOOL"}
PICTURE = {
    "image": ("TYPE_UINT8", [-1, -1, 3]),
    "image_bytes": ("TYPE_STRING", [1]),
    "image_key": ("TYPE_STRING", [1]),
    "phrases": ("TYPE_STRING", [-1]),
    "threshold": ("TYPE_FP32", [1]),
}
EXEMPLARS = {
    "exemplar_boxes": ("TYPE_FP32", [-1, 4]),
    "exemplar_labels": ("TYPE_INT32", [-1]),
    "exemplar_phrases": ("TYPE_INT32", [-1]),
}
ANSWER = {
    "boxes": ("TYPE_FP32", [-1, 4]),
    "scores": ("TYPE_FP32", [-1]),
    "phrase_index": ("TYPE_INT32", [-1]),
    "presence": ("TYPE_FP32", [-1]),
    "masks": ("TYPE_UINT8", [-1, -1]),
    "rle": ("TYPE_STRING", [-1]),
    "image_size": ("TYPE_INT32", [2]),
    "image_key": ("TYPE_STRING", [1]),
    "warnings": ("TYPE_STRING", [-1]),
}
CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "START": ("CONTROL_SEQUENCE_START", {"int32_false_true": [0, 1]}),
    "END": ("CONTROL_SEQUENCE_END", {"int32_false_true": [0, 1]}),
    "CORRID": ("CONTROL_SEQUENCE_CORRID", {"data_type": "TYPE_UINT64"}),
}


def graph_config(
    graph: str, model: bytes, version: int, backend: Backend, settings: ServingSettings, built: bool = False
) -> dict[str, Any]:
    """The configuration of one part; its tensors are read from the ONNX model. `built`: there is a TensorRT engine."""
    inputs, outputs = tensors_of(model)
    gpu = backend != "python"
    config = _base(PARTS[graph], version, settings) | {
        "input": inputs,
        "output": outputs,
        # `sam3` has waited for company already, and asks with whole batches
        "dynamic_batching": _batching(settings) | {"max_queue_delay_microseconds": 0},
        "instance_group": [{"kind": "KIND_GPU" if gpu else "KIND_CPU", "count": settings.instances if gpu else 1}],
        "model_warmup": [_warmup({item["name"]: (item["data_type"], item["dims"]) for item in inputs}, settings)],
    }
    if backend == "python":
        return config | {"backend": "python", "parameters": _parameters({"threads": settings.threads})}
    if built:
        return config | {"platform": "tensorrt_plan", "default_model_filename": "model.plan"}
    config |= {"platform": "onnxruntime_onnx", "default_model_filename": "model.onnx"}
    if backend == "tensorrt":  # ONNX Runtime builds the engine when the model loads
        config["optimization"] = {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt"}]}}
    return config


def whole_config(
    version: int, levels: int, backend: Backend, settings: ServingSettings, weights: str = ""
) -> dict[str, Any]:
    """The configuration of `sam3`; `weights` is the checksum by which clients name what answers them."""
    return _base(WHOLE, version, settings) | {
        "backend": "python",
        "input": _optional(PICTURE | EXEMPLARS),
        "output": _listed(ANSWER),
        "dynamic_batching": _batching(settings),
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],  # one process, so that it has one cache
        "parameters": _parameters(
            _pipeline(levels, backend, settings)
            | {"response_cache_bytes": settings.response_cache_mb * 1_000_000, WEIGHTS: weights}
        ),
        "model_warmup": [_picture_warmup(settings)],
    }


def video_config(version: int, levels: int, backend: Backend, settings: ServingSettings) -> dict[str, Any]:
    """The configuration of `sam3_video`."""
    controls = [{"name": name, "control": [{"kind": kind} | how]} for name, (kind, how) in CONTROLS.items()]
    small = settings.model_copy(update={"image_cache_mb": max(1, settings.image_cache_mb // 4)})
    return _base(VIDEO, version, settings) | {
        "backend": "python",
        "input": _optional({name: kind for name, kind in PICTURE.items() if name != "image_key"}),
        "output": _listed(ANSWER | {"track_ids": ("TYPE_INT64", [-1])}),
        "sequence_batching": {
            "max_sequence_idle_microseconds": settings.idle_seconds * 1_000_000,
            "control_input": controls,
            "oldest": {
                "max_candidate_sequences": settings.streams,
                "preferred_batch_size": settings.queue.preferred,
                "max_queue_delay_microseconds": settings.queue.delay_us,
            },
        },
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "parameters": _parameters(
            _pipeline(levels, backend, small)
            | {"streams": settings.streams, "idle": settings.idle_seconds, "response_cache_bytes": 0}
        ),
    }


def render(config: Mapping[str, Any]) -> str:
    """A configuration as the text of `config.pbtxt`; an unknown field is an error of ours, raised by the schema."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    return str(text_format.MessageToString(json_format.ParseDict(config, ModelConfig())))


def renamed(text: str, name: str, parts: Mapping[str, str]) -> str:
    """The same configuration under another name, and with other names for the composing models."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = text_format.Parse(text, ModelConfig())
    config.name = name
    for graph, part in parts.items():
        if graph in config.parameters:
            config.parameters[graph].string_value = part
    return str(text_format.MessageToString(config))


def with_parameters(text: str, values: Mapping[str, str]) -> str:
    """The same configuration with further parameters."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = text_format.Parse(text, ModelConfig())
    for name, value in values.items():
        config.parameters[name].string_value = value
    return str(text_format.MessageToString(config))


def tensors_of(model: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of an ONNX model without the batch axis; -1 where its size is open."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # only its shapes are wanted
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def listed(values: Sequence[Any]) -> list[dict[str, Any]]:
        out = []
        for value in values:
            kind = TYPES[value.type.removeprefix("tensor(").removesuffix(")")]
            dims = [axis if isinstance(axis, int) else -1 for axis in value.shape][1:]
            # a value per row has no axis left, which Triton writes as one axis of 1
            scalar: dict[str, Any] = {} if dims else {"reshape": {"shape": []}}
            out.append({"name": value.name, "data_type": kind, "dims": dims or [1]} | scalar)
        return out

    return listed(session.get_inputs()), listed(session.get_outputs())


def _base(name: str, version: int, settings: ServingSettings) -> dict[str, Any]:
    policy = {"specific": {"versions": [version]}}
    return {"name": name, "max_batch_size": settings.batch, "version_policy": policy}


def _batching(settings: ServingSettings) -> dict[str, Any]:
    queue = settings.queue
    return {
        "preferred_batch_size": queue.preferred,
        "max_queue_delay_microseconds": queue.delay_us,
        "priority_levels": queue.priorities,
        "default_priority_level": queue.priorities,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": queue.timeout_ms * 1000,
            "allow_timeout_override": True,
            "max_queue_size": queue.limit,
        },
    }


def _pipeline(levels: int, backend: Backend, settings: ServingSettings) -> dict[str, Any]:
    return PARTS | {
        "levels": levels,
        "threads": settings.threads,
        "own_parts_mb": settings.own_parts_mb if backend == "python" else 0,
        "batch": settings.batch,
        "image_cache_bytes": settings.image_cache_mb * 1_000_000,
        "text_cache_bytes": settings.text_cache_mb * 1_000_000,
    }


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"string_value": str(value)} for name, value in values.items()}


def _listed(tensors: Mapping[str, tuple[str, list[int]]]) -> list[dict[str, Any]]:
    return [{"name": name, "data_type": kind, "dims": dims} for name, (kind, dims) in tensors.items()]


def _optional(tensors: Mapping[str, tuple[str, list[int]]]) -> list[dict[str, Any]]:
    """Ragged, so that pictures of different sizes go into one batch."""
    return [item | {"optional": True, "allow_ragged_batch": True} for item in _listed(tensors)]


def _warmup(tensors: Mapping[str, tuple[str, list[int]]], settings: ServingSettings) -> dict[str, Any]:
    """A full preferred batch of zeros; open axes get a few entries."""
    inputs = {
        name: {"data_type": kind, "dims": [7 if size < 0 else size for size in dims], "zero_data": True}
        for name, (kind, dims) in tensors.items()
    }
    return {"name": "zeros", "batch_size": settings.queue.preferred[0], "inputs": inputs}


def _picture_warmup(settings: ServingSettings) -> dict[str, Any]:
    inputs = {
        "image": {"data_type": "TYPE_UINT8", "dims": [64, 96, 3], "random_data": True},
        "phrases": {"data_type": "TYPE_STRING", "dims": [1], "input_data_file": "phrases"},
    }
    return {"name": "a picture", "batch_size": 1, "inputs": inputs}
