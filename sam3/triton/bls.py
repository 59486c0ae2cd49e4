"""Asking the composing models from inside the server (Triton's business logic scripting).

A version of `sam3` asks the same version of its parts, whatever else is loaded, so a switch never mixes two models.
What a part refuses keeps its status code: a full queue stays "unavailable", which clients may try again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam3.errors import Sam3AgentError
from sam3.triton.meters import server

Array = np.ndarray[Any, Any]


class PartFailed(Exception):
    """A composing model answered with an error; `code` is Triton's."""

    def __init__(self, message: str, code: Any) -> None:
        super().__init__(message)
        self.code = code


class Parts:
    """The composing models as a `sam3.triton.grounding.Call`.

    Args:
        names: graph -> model name in the repository.
        version: of all of them.
    """

    def __init__(self, names: Mapping[str, str], version: int) -> None:
        self.names, self.version, self.backend = dict(names), version, server()

    def __call__(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run one graph on a batch.

        Raises:
            PartFailed: it answered with an error.
        """
        backend = self.backend
        request = backend.InferenceRequest(
            model_name=self.names[graph],
            model_version=self.version,
            inputs=[backend.Tensor(name, np.ascontiguousarray(value)) for name, value in inputs.items()],
            requested_output_names=list(outputs),
            preferred_memory=backend.PreferredMemory(backend.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            error = response.error()
            raise PartFailed(f"{self.names[graph]}: {error.message()}", error.code())
        return {name: backend.get_output_tensor_by_name(response, name).as_numpy() for name in outputs}


def error_response(error: Exception) -> Any:
    """An exception as Triton's error response: the caller's fault, the part's code, or internal."""
    backend = server()
    kinds = backend.TritonError
    if isinstance(error, PartFailed):
        return backend.InferenceResponse(error=kinds(str(error), error.code))
    if isinstance(error, Sam3AgentError):
        code = kinds.NOT_FOUND if error.field == "image_key" else kinds.INVALID_ARG
        return backend.InferenceResponse(error=kinds(str(error), code))
    backend.Logger.log_error(f"{type(error).__name__}: {error}")
    return backend.InferenceResponse(error=kinds(f"{type(error).__name__}: {str(error)[:200]}", kinds.INTERNAL))
