"""One part of the exported graphs as a Triton model of the Python backend, where there is no ONNX Runtime or TensorRT backend.

Same name, inputs, outputs and batching as on a GPU host. The server hands over the requests it has batched; they
run through ONNX Runtime as one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sam3.errors import BadCheckpoint, BadInput
from sam3.triton.bls import error_response
from sam3.triton.manifest import verify
from sam3.triton.meters import server

LIMITS = {
    "ids": 32,
    "mask": 32,
    "text": 32,
    "text_mask": 32,
    "boxes": 64,
    "box_labels": 64,
    "queries": 200,
}  # of axis 1
TOGETHER = (("ids", "mask"), ("text", "text_mask"), ("boxes", "box_labels"))


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Check the version's files and open the session; the parameters come from config.pbtxt."""
        folder = Path(args["model_repository"]) / args["model_version"]
        verify(folder)
        config = json.loads(args["model_config"])
        parameters = {name: item["string_value"] for name, item in config.get("parameters", {}).items()}
        self.backend = server()
        self.session = open_session(folder / "model.onnx", int(parameters.get("threads", "0")))
        self.inputs = [item["name"] for item in config["input"]]
        self.outputs = [item["name"] for item in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run a batch; the answer of each request has its own share of the rows."""
        try:
            feeds = [self._feed(request) for request in requests]
            joined = feeds[0] if len(feeds) == 1 else {k: np.concatenate([f[k] for f in feeds]) for k in self.inputs}
            values = dict(zip(self.outputs, self.session.run(self.outputs, joined), strict=True))
        except Exception as error:  # one bad request must not answer for its neighbours
            if len(requests) == 1:
                return [error_response(_readable(error))]
            return [answer for request in requests for answer in self.execute([request])]
        out, start = [], 0
        for request, feed in zip(requests, feeds, strict=True):
            asked = [name for name in self.outputs if name in request.requested_output_names()]
            end = start + len(feed[self.inputs[0]])
            tensors = [self.backend.Tensor(k, np.ascontiguousarray(values[k][start:end])) for k in asked]
            out.append(self.backend.InferenceResponse(output_tensors=tensors))
            start = end
        return out

    def _feed(self, request: Any) -> dict[str, Any]:
        feed = {name: self.backend.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        for name, limit in LIMITS.items():
            if name in feed and feed[name].shape[1] > limit:
                raise BadInput(f"{name}: {feed[name].shape[1]} in axis 1; expected at most {limit}.", field=name)
        for one, other in TOGETHER:  # the graph itself would answer nonsense
            if one in feed and other in feed and feed[one].shape[:2] != feed[other].shape[:2]:
                raise BadInput(
                    f"{one} {feed[one].shape} and {other} {feed[other].shape}: axes 0 and 1 differ.", field=other
                )
        return feed


def open_session(path: Path, threads: int) -> Any:
    """A CPU session whose idle threads sleep: several models share the cores, and spinning would take them.

    Raises:
        BadCheckpoint: not a graph that ONNX Runtime can load.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exception types are private
        raise BadCheckpoint(f"{path}: ONNX Runtime cannot load it ({str(error)[:160]}). Package it again.") from error


def _readable(error: Exception) -> Exception:
    """ONNX Runtime's complaints about a request are the caller's: dimensions that disagree, ids out of range."""
    if "onnxruntime" in type(error).__module__:
        return BadInput(f"the graph refused the tensors: {str(error).splitlines()[0][:200]}")
    return error
