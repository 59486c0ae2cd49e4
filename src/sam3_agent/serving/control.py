"""The model-control API of a running server, over gRPC: load, unload, what is loaded.

`Control("127.0.0.1:8001").load("sam3")`. Where the server guards these calls with a key, it comes from
SAM3_TRITON_CONTROL_KEY.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from sam3.errors import BadCheckpoint, Unavailable
from sam3_agent.serving.server import KEY_HEADER

DEFAULT = "127.0.0.1:8001"
LOADING = 600.0  # seconds a large model may take


def server_address() -> str:
    """host:port of the gRPC endpoint: SAM3_TRITON_URL, or this machine's."""
    return (os.environ.get("SAM3_TRITON_URL") or DEFAULT).removeprefix("grpc://")


class Control:
    """Model control of one server.

    Args:
        address: gRPC host:port; `server_address()` when None.
        key: the control key; SAM3_TRITON_CONTROL_KEY when None.
    """

    def __init__(self, address: str | None = None, key: str | None = None) -> None:
        import tritonclient.grpc as grpc

        self.address = address or server_address()
        secret = key or os.environ.get("SAM3_TRITON_CONTROL_KEY")
        self.headers = {f"triton-grpc-protocol-{KEY_HEADER}": secret} if secret else None
        self.client = grpc.InferenceServerClient(self.address)

    def check(self) -> None:
        """Raise `Unavailable` unless the server answers and lets us control it."""
        self._call("get_model_repository_index")

    def load(self, model: str) -> None:
        """Load a model, or load it anew; the version that served goes on until the new one is ready.

        Raises:
            BadCheckpoint: the server refused it; what was loaded before stays. Unavailable: no answer.
        """
        self._call("load_model", model, client_timeout=LOADING)

    def unload(self, model: str) -> None:
        """Unload a model; running requests finish."""
        self._call("unload_model", model)

    def versions(self) -> dict[str, dict[int, str]]:
        """Model -> version -> state ("READY", "UNAVAILABLE", ...), as far as the server has them."""
        index = self._call("get_model_repository_index", as_json=True)
        out: dict[str, dict[int, str]] = {}
        for row in index.get("models", []):
            out.setdefault(row["name"], {})
            if row.get("version"):
                out[row["name"]][int(row["version"])] = row.get("state", "")
        return out

    def serving(self, model: str) -> list[int]:
        """Versions of a model that are ready."""
        return sorted(number for number, state in self.versions().get(model, {}).items() if state == "READY")

    def asks(self, model: str, mark: str) -> bool:
        """Whether a loaded model's composing models have `mark` in their names."""
        if not self.serving(model):
            return False
        config = self._call("get_model_config", model, as_json=True)["config"]
        return any(mark in item.get("string_value", "") for item in config.get("parameters", {}).values())

    def wait_only(self, model: str, version: int, timeout: float = 60.0) -> None:
        """Until nothing but `version` of a model is there: the one before has finished its last request."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            states = self.versions().get(model, {})
            if [n for n, state in states.items() if state in ("READY", "UNLOADING")] == [version]:
                return
            time.sleep(0.05)
        raise Unavailable(f"{model}: versions {self.serving(model)} after {timeout:.0f} s; expected {version} alone.")

    def wait_quiet(self, models: Sequence[str], timeout: float = 120.0) -> None:
        """Until nobody has asked any of `models` for a second and five times as long as they usually take.

        A model that was loaded anew under the same version number finishes its requests unseen; while it does, it
        asks its parts.
        """
        end = time.monotonic() + timeout
        last, since = None, time.monotonic()
        while time.monotonic() < end:
            counts, usual = self._use(models)
            if counts != last:
                last, since = counts, time.monotonic()
            if time.monotonic() - since > 1.0 + 5 * usual:
                return
            time.sleep(0.1)

    def _use(self, models: Sequence[str]) -> tuple[list[int], float]:
        """Requests answered so far by each model, and the longest of their mean times (seconds)."""
        counts, usual = [], 0.0
        for model in models:
            for row in self._call("get_inference_statistics", model, as_json=True).get("model_stats", []):
                done = row.get("inference_stats", {}).get("success", {})
                counts.append(int(done.get("count", 0)))
                usual = max(usual, int(done.get("ns", 0)) / 1e9 / max(counts[-1], 1))
        return counts, usual

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return getattr(self.client, name)(*args, headers=self.headers, **options)
        except InferenceServerException as error:
            what = " ".join(str(error.message()).split())[-400:]
            if "restricted" in what:
                raise Unavailable(f"Triton at {self.address}: model control needs SAM3_TRITON_CONTROL_KEY.") from error
            if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED") and name != "load_model":
                raise Unavailable(f"Triton at {self.address}: {what}. Start it: sam3-agent triton up") from error
            if "failed to connect" in what.lower() or "Connection refused" in what:
                raise Unavailable(f"Triton at {self.address}: no answer. Start it: sam3-agent triton up") from error
            raise BadCheckpoint(f"Triton at {self.address}: {what}") from error
