"""What the tests of Triton ask a server, and how they compare its answers."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.triton.client import texts
from sam3.types import Detections
from sam3_agent.serving.live import Live
from sam3_agent.serving.server import TritonServer

Array = np.ndarray[Any, Any]
BOX = np.array([[5, 5, 40, 30]], np.float32)


@dataclass
class Served:
    """A server and what it serves."""

    server: TritonServer
    graphs: Path
    live: Live
    packages: Path

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a Prometheus metric over the rows that carry `labels`; what the models count comes a little later."""
        if name.startswith("sam3_"):
            time.sleep(1.0)
        page = urllib.request.urlopen(self.server.addresses.metrics, timeout=10).read().decode()
        rows = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", page, re.M)
        return sum(float(v) for row, v in rows if all(f'{key}="{value}"' in row for key, value in labels.items()))


def ask(
    kind: Any, client: Any, model: str, inputs: Mapping[str, Array], outputs: Sequence[str], **options: Any
) -> dict[str, Array]:
    """One request with one of NVIDIA's clients."""
    from tritonclient.utils import np_to_triton_dtype

    sent = []
    for name, value in inputs.items():
        sent.append(kind.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        sent[-1].set_data_from_numpy(value)
    result = client.infer(model, sent, outputs=[kind.InferRequestedOutput(name) for name in outputs], **options)
    return {name: result.as_numpy(name) for name in outputs}


def picture(seed: int, height: int = 48, width: int = 80) -> Array:
    """Random pixels, so that every picture is new to every cache."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def question(*phrases: str, threshold: float = 0.0, **more: Array) -> dict[str, Array]:
    """Inputs of `sam3` but the picture."""
    return {"phrases": texts(phrases), "threshold": np.array([[threshold]], np.float32), **more}


def assert_same(one: Detections, other: Detections) -> None:
    """Two engines' answers about the same pair."""
    assert one.presence == pytest.approx(other.presence, abs=1e-5)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
    assert (one.masks != other.masks).mean() < 1e-4
    assert one.warnings == other.warnings
