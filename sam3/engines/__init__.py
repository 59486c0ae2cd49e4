"""Runtimes for the same detector: one call shape, so that nobody asks which one they hold.

engine = load_engine("auto", checkpoint="sam3-lite")
[embedding] = engine.encode([image])
[detections] = engine.ground([embedding], [Prompt("chicken")])
"""

from __future__ import annotations

import importlib
import inspect
import logging
from pathlib import Path
from typing import Any

from sam3.errors import BadConfig, Unavailable
from sam3.types import Engine

# name -> module:class; a class has `load(checkpoint, *, device, threshold)`, `encode` and `ground`
ENGINES = {
    "torch": "sam3.engines.torch_engine:TorchEngine",
    "onnx": "sam3.engines.onnx_engine:OnnxEngine",
    "jax": "sam3.engines.jax_engine:JaxEngine",
    "tensorrt": "sam3.engines.tensorrt_engine:TensorrtEngine",
    "triton": "sam3.engines.triton_engine:TritonEngine",
}
NAMES = ("auto", "torch", "onnx", "jax", "tensorrt", "triton")


def load_engine(
    name: str = "auto",
    *,
    checkpoint: str | Path = "sam3-lite",
    device: str | None = None,
    threshold: float = 0.5,
    **options: Any,
) -> Engine:
    """An engine by name.

    Args:
        name: one of `NAMES`; "auto" picks the fastest that this machine can run and logs which and why.
        checkpoint: "sam3-lite", "facebook/sam3", a checkpoint folder, or a folder of exported graphs or built engines.
        device: "cpu", "cuda", ...; what the machine has when None.
        threshold: instances below this score are left out.
        options: what only some engines know, e.g. `dtype="bfloat16"` (torch, jax).

    Raises:
        BadConfig: no engine of that name, or an option that it does not know. BadCheckpoint, Unavailable: what it needs is not there.
    """
    if name not in NAMES:
        raise BadConfig(f"engine {name!r}: expected one of {', '.join(NAMES)}.", field="engine")
    if name == "auto":
        from sam3.engines.auto import choose

        choice = choose(checkpoint, device)
        logging.getLogger(__name__).info("engine %s: %s", choice.name, choice.why)
        name, checkpoint, device = choice.name, choice.checkpoint, choice.device
        options = choice.options | options
    if name not in ENGINES:
        raise Unavailable(f"engine {name!r} is not part of this version. Use {', '.join(ENGINES)}.", field="engine")
    module, kind = ENGINES[name].split(":")
    load = getattr(importlib.import_module(module), kind).load
    if unknown := [option for option in options if option not in inspect.signature(load).parameters]:
        raise BadConfig(f"the {name} engine has no option {unknown[0]!r}. Leave it out.", field=unknown[0])
    return load(checkpoint, device=device, threshold=threshold, **options)
