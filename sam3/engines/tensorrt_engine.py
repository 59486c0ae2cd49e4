"""The TensorRT engine: five built parts, on the GPU and version that they were built for and on no other.

    python sam3/export/build_tensorrt.py --graphs models/export --output models/engines
    load_engine("tensorrt", checkpoint="models/engines")

It is the ONNX engine with TensorRT in the place of ONNX Runtime: the parts are cut and fed alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from sam3.engines.onnx_engine import OnnxEngine
from sam3.errors import BadCheckpoint, Unavailable
from sam3.export.cut import PARTS
from sam3.files import read_json
from sam3.tokenizer import Tokenizer

SAID = ("parts", "library", "version", "gpu", "compute_capability", "precision", "image_size", "sha256")


class TensorrtEngine(OnnxEngine):
    """`encode` and `ground` on built engines.

    Args:
        folder: what `sam3.export.build_tensorrt` wrote.

    Raises:
        BadCheckpoint: no engines, changed ones, or ones for another GPU or version. Unavailable: no GPU or library.
    """

    name = "tensorrt"

    def __init__(self, folder: Path, *, threshold: float = 0.5, batch: int = 16) -> None:
        record = read_record(folder)
        trt = check_origin(folder, record)
        self.folder, self.threshold, self.batch = folder, threshold, batch
        self.image_size, self.sha256 = int(record["image_size"]), str(record["sha256"])
        self.dtype = {"fp16": "float16", "fp8": "float8"}.get(record["precision"], "float32")
        self.tokenizer = Tokenizer.load(folder)
        self.parts = {name: BuiltPart(trt, folder / f"{name}.engine") for name in PARTS}
        self._words: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}

    @classmethod
    def load(  # type: ignore[override]
        cls, checkpoint: str | Path, *, device: str | None = None, threshold: float = 0.5
    ) -> TensorrtEngine:
        """From a folder of built engines."""
        if device is not None and not device.startswith("cuda"):
            raise Unavailable(f"device {device}: the tensorrt engine runs on cuda.", field="device")
        return cls(Path(checkpoint), threshold=threshold)


def rebuild_line(folder: Path, record: dict[str, Any] | None = None) -> str:
    """The command that makes the engines of a folder again."""
    said = record or {}
    return (
        f"python sam3/export/build_tensorrt.py --graphs {quote(str(said.get('graphs', 'models/export')))} "
        f"--output {quote(str(folder))} --precision {quote(str(said.get('precision', 'fp16')))}"
    )


def read_record(folder: Path) -> dict[str, Any]:
    """engines.json, held against the files.

    Raises:
        BadCheckpoint: not a folder of engines, or a file is not the one that was built.
    """
    if not (folder / "engines.json").is_file():
        raise BadCheckpoint(
            f"{folder}: no engines.json, so nobody knows what its engines were built for. Build them: {rebuild_line(folder)}"
        )
    record = read_json(folder / "engines.json")
    for key in SAID:
        if not isinstance(record, dict) or key not in record:
            raise BadCheckpoint(f"{folder}/engines.json: says no {key}. Build again: {rebuild_line(folder)}")
    for name in PARTS:
        path = folder / f"{name}.engine"
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != record["parts"].get(name):
            raise BadCheckpoint(
                f"{path}: missing, or not the file that was built here. Build again: {rebuild_line(folder, record)}"
            )
    return record


def check_origin(folder: Path, record: dict[str, Any], here: dict[str, Any] | None = None) -> Any:
    """Refuse engines that were built elsewhere; returns the library that runs them.

    Args:
        here: library, version, GPU and compute capability of this machine; found out when None.
    """
    from sam3.export.build_tensorrt import library, origin

    trt = None
    if here is None:
        trt = library(record["library"])
        here = origin(trt)
    for key, name in (("library", "library"), ("version", "version"), ("compute_capability", "compute capability")):
        if record[key] != here[key]:
            raise BadCheckpoint(
                f"{folder}: built for {name} {record[key]}, this is {here[key]}. Build again: {rebuild_line(folder, record)}"
            )
    # one compute capability, several chips: timings and memory differ, and TensorRT warns that answers may
    if record["gpu"] is not None and record["gpu"] != here["gpu"]:
        raise BadCheckpoint(
            f"{folder}: built on {record['gpu']}, this is {here['gpu']}. Build again: {rebuild_line(folder, record)}"
        )
    return trt


class BuiltPart:
    """One engine with the two methods of an ONNX Runtime session that the engine calls."""

    def __init__(self, trt: Any, path: Path) -> None:
        self.trt = trt
        self.engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise BadCheckpoint(f"{path}: this TensorRT cannot load it. Build again: {rebuild_line(path.parent)}")
        self.context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(at) for at in range(self.engine.num_io_tensors)]
        self.inputs = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.outputs = [n for n in names if n not in self.inputs]

    def get_inputs(self) -> list[Any]:
        """Objects with a `name`, as ONNX Runtime's."""
        from types import SimpleNamespace

        return [SimpleNamespace(name=name) for name in self.inputs]

    def run(self, outputs: Sequence[str] | None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """numpy in, numpy out; a shape outside the profile is an error and not a wrong answer."""
        import torch

        held: dict[str, Any] = {}
        for name in self.inputs:
            held[name] = torch.from_numpy(np.ascontiguousarray(feed[name])).cuda()
            if not self.context.set_input_shape(name, tuple(held[name].shape)):
                raise BadCheckpoint(
                    f"{name}: shape {tuple(held[name].shape)} is outside what the engine was built for. "
                    "Widen RANGES in sam3/export/build_tensorrt.py and build again."
                )
        for name in self.outputs:
            kind = getattr(torch, np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name))).name)
            held[name] = torch.empty(tuple(self.context.get_tensor_shape(name)), dtype=kind, device="cuda")
        for name, tensor in held.items():
            self.context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream()
        if not self.context.execute_async_v3(stream.cuda_stream):
            raise Unavailable("TensorRT could not run the engine; the GPU may be out of memory.")
        stream.synchronize()
        return [held[name].cpu().numpy() for name in (outputs or self.outputs)]
