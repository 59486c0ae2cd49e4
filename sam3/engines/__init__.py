"""Runtimes for the same detector: one call shape, so that nobody asks which one they hold.

engine = load_engine("auto", checkpoint="sam3-lite")
[embedding] = engine.encode([image])
[detections] = engine.ground([embedding], [Prompt("chicken")])
"""

from __future__ import annotations

from pathlib import Path

from sam3.errors import BadConfig, Unavailable
from sam3.types import Engine

NAMES = ("auto", "torch", "onnx", "jax", "tensorrt", "triton")


def load_engine(
    name: str = "auto",
    *,
    checkpoint: str | Path = "sam3-lite",
    device: str | None = None,
    threshold: float = 0.5,
) -> Engine:
    """An engine by name.

    Args:
        name: "torch", "onnx", or "auto": ONNX Runtime for a folder of exported graphs, else PyTorch.
        checkpoint: "sam3-lite", "facebook/sam3", a checkpoint folder, or (onnx) a folder of exported graphs.
        device: "cpu", "cuda", ...; what the machine has when None.
        threshold: instances below this score are left out.

    Raises:
        BadConfig: no engine of that name. BadCheckpoint, Unavailable: what it needs is not there.
    """
    if name not in NAMES:
        raise BadConfig(f"engine {name!r}: expected one of {', '.join(NAMES)}.", field="engine")
    if name == "auto":
        name = "onnx" if (Path(checkpoint) / "decoder.onnx").is_file() else "torch"
    if name == "onnx":
        from sam3.engines.onnx_engine import OnnxEngine

        return OnnxEngine.load(checkpoint, device=device, threshold=threshold)
    if name == "torch":
        from sam3.engines.torch_engine import TorchEngine

        return TorchEngine.load(str(checkpoint), device=device, threshold=threshold)
    raise Unavailable(f"engine {name!r} is not part of this version. Use torch or onnx.", field="engine")
