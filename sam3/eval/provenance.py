"""Where a figure comes from: which weights, which data, which machine, which versions.

Goes into every metrics file, so that a number in a report can be traced and produced again.
"""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sam3.checkpoint import checkpoint_folder, weights_sha256
from sam3.files import file_sha256

REPORTED = ("torch", "transformers", "onnxruntime", "numpy", "pycocotools", "scipy")


def checkpoint_line(name: str) -> dict[str, str]:
    """Name and SHA-256 of a checkpoint's weights (of its graphs, for a folder of ONNX files).

    Raises:
        BadCheckpoint: there is no such checkpoint.
    """
    folder = Path(name)
    if not (folder / "decoder.onnx").is_file():
        return {"name": name, "sha256": weights_sha256(checkpoint_folder(name))}
    digests = "".join(file_sha256(graph) for graph in sorted(folder.glob("*.onnx")))
    return {"name": name, "sha256": hashlib.sha256(digests.encode()).hexdigest()}


def hardware_line() -> str:
    """The machine in one line: "2 x Xeon ..., 24 GB RAM, no GPU"."""
    import psutil

    parts = [f"{os.cpu_count()} x {_cpu()}", f"{psutil.virtual_memory().total / 2**30:.0f} GB RAM"]
    try:
        import torch

        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    except ImportError:  # an ONNX-only installation
        gpu = "GPU unknown (no torch)"
    return ", ".join([*parts, gpu])


def versions() -> dict[str, str]:
    """Python and the libraries that figures depend on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
