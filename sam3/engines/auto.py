"""`load_engine("auto")`: the fastest engine that this machine can run, and the reason.

    python -c "from sam3.engines.auto import choose; print(choose('sam3-lite'))"

The order, fastest first: TensorRT engines built for this GPU; PyTorch's fast path on a GPU; JAX on a TPU; ONNX Runtime
on a CPU (2 to 3 times PyTorch there, `benchmarks/engines.py`); PyTorch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.errors import Sam3AgentError
from sam3.files import read_json

EXPORTS = (Path("models/export"),)  # where the pipeline leaves its graphs
BUILDS = (Path("models/engines"),)  # where the README has engines built


@dataclass(frozen=True)
class Choice:
    """What `auto` took.

    Attributes:
        name: of the engine. why: one sentence.
        checkpoint: what to load, which may be a folder of graphs made from the checkpoint asked for.
        device: where to run.
        options: further arguments of the engine's `load`.
    """

    name: str
    why: str
    checkpoint: str | Path
    device: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def choose(checkpoint: str | Path, device: str | None = None) -> Choice:
    """The fastest engine for a checkpoint, a folder of graphs or a folder of built engines."""
    folder = Path(checkpoint)
    if (folder / "engines.json").is_file():
        return Choice("tensorrt", "the folder holds TensorRT engines", checkpoint, device)
    if (folder / "decoder.onnx").is_file():
        where = device or ("cuda" if _onnx_has_cuda() else "cpu")
        return Choice("onnx", f"the folder holds exported graphs; ONNX Runtime on {where}", checkpoint, where)
    on_gpu = _has_cuda() and (device is None or device.startswith("cuda"))
    for engines in _builds_of(checkpoint) if on_gpu else ():
        return Choice("tensorrt", f"{engines} was built from these weights for this GPU", engines, device or "cuda")
    if on_gpu:
        # not gated here: that takes labelled pictures of the concept
        why = "a CUDA GPU: PyTorch's fast path in bfloat16; `sam3-agent verify --with fast=best` says how near float32"
        return Choice("torch", why, checkpoint, device or "cuda", {"fast": "best"})
    if device in (None, "tpu") and importlib.util.find_spec("libtpu"):
        return Choice("jax", "a TPU", checkpoint, "tpu")
    for graphs in _exports_of(checkpoint):
        return Choice("onnx", f"no GPU, and {graphs} was exported from these weights", graphs, "cpu")
    why = (
        "no GPU, and no graphs exported from these weights; they would be faster: "
        f"python sam3/export/export_onnx.py --checkpoint {checkpoint} --output models/export"
    )
    return Choice("torch", why, checkpoint, device, {"fast": "exact"})


def _exports_of(checkpoint: str | Path) -> Iterator[Path]:
    """Folders of graphs made from exactly these weights."""
    from sam3.checkpoint import checkpoint_folder, weights_sha256

    try:
        source = checkpoint_folder(checkpoint)
    except Sam3AgentError:  # the engine that loads it says what is wrong
        return
    for folder in (source / "onnx", *EXPORTS):
        record = folder / "export.json"
        if not ((folder / "decoder.onnx").is_file() and record.is_file()):
            continue
        said = read_json(record)
        if "cuts" in said and said.get("sha256") == weights_sha256(source):
            yield folder


def _builds_of(checkpoint: str | Path) -> Iterator[Path]:
    """Folders of TensorRT engines built from exactly these weights, for this GPU and version."""
    from sam3.checkpoint import checkpoint_folder, weights_sha256
    from sam3.engines.tensorrt_engine import check_origin, read_record

    for folder in BUILDS:
        try:
            record = read_record(folder)
            if record["sha256"] == weights_sha256(checkpoint_folder(checkpoint)):
                check_origin(folder, record)
                yield folder
        except Sam3AgentError:  # none there, or built for another machine: there are other engines
            continue


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _onnx_has_cuda() -> bool:
    import onnxruntime as ort

    return _has_cuda() and "CUDAExecutionProvider" in ort.get_available_providers()
