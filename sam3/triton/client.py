"""One connection to a Triton server: async gRPC with deadlines, and retries with jitter on "unavailable" only.

    connection = Connection("127.0.0.1:8001")
    out = connection.run(connection.infer("sam3", {"image": ..., "phrases": ...}, ["boxes"], deadline=30.0))

The channel is opened once and reused; calls from any thread share it through one event loop. Used by
`sam3.engines.triton_engine` and by video streams (`stream_client.py`).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sam3.errors import BadInput, Sam3AgentError, Unavailable

Array = np.ndarray[Any, Any]
T = TypeVar("T")
KINDS = {"u1": "UINT8", "i4": "INT32", "i8": "INT64", "f4": "FP32", "b1": "BOOL"}
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0  # seconds between attempts, doubled each time, each drawn from half to all of it
FULL = ("Exceeds maximum queue size", "Request timeout expired")  # Triton's words: a full queue, and too long in it
CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
)


class ServerAway(Unavailable):
    """The server does not answer. Nothing is wrong with the request: try again later."""

    code = "server_unavailable"
    retryable = True


class ServerFull(ServerAway):
    """The server refused the request at once because too many wait: HTTP's 429. Those it has accepted stay quick.

    Attributes:
        retry_after: seconds after which it may work.
    """

    code = "too_many_requests"
    status = 429
    retry_after = 1.0


class DeadlineMissed(Unavailable):
    """The answer did not come in the time the caller gave."""

    code = "deadline_exceeded"
    retryable = True


class NotRemembered(BadInput):
    """The server does not hold what a key names (any more): send the thing itself."""

    code = "not_found"


class Refused(BadInput):
    """The server refused the request, which will not get better by trying again."""

    code = "bad_request"


class Connection:
    """A client of one server.

    Args:
        address: gRPC host:port.
        at_once: requests under way at a time; stay below the server's queue limit.
        priority: 1 is served before 2.
    """

    def __init__(self, address: str, *, at_once: int = 32, priority: int = 2) -> None:
        self.address, self.at_once, self.priority = address, at_once, priority
        self.retries = 0  # attempts beyond the first, so far
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="triton-client", daemon=True)
        self._thread.start()
        self.client: Any = self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine on the connection's own loop; for synchronous callers."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def here(self, work: Coroutine[Any, Any, T]) -> T:
        """The same from another event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """Close the channel and end the loop; twice is once."""
        if not self._loop.is_running():
            return
        self.run(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array | Any],
        outputs: Sequence[str],
        *,
        deadline: float,
        patient: bool = True,
        **sequence: Any,
    ) -> dict[str, Array]:
        """One request, tried again while the server is unavailable and there is time.

        Args:
            inputs: arrays by name, batch axis included, or a ready `InferInput` (shared memory).
            deadline: seconds for all attempts together; the server drops the request from its queue when it is over.
            patient: try again while the server is unavailable; else say so at once.

        Raises:
            ServerAway, ServerFull, DeadlineMissed, NotRemembered, Refused: each says what to do.
        """
        import tritonclient.grpc.aio as grpc

        sent = [_input(name, value) for name, value in inputs.items()]
        wanted = [grpc.InferRequestedOutput(name) for name in outputs]
        end, wait = time.monotonic() + deadline, FIRST_WAIT
        away: ServerAway | None = None
        async with self._gate:
            while True:
                left = end - time.monotonic()
                if away is not None and left < FIRST_WAIT:  # a pause that took longer than it should
                    raise away
                try:
                    if left <= 0:
                        raise DeadlineMissed(f"Triton at {self.address}: no answer within {deadline:g} s. Try again.")
                    options = sequence or {"timeout": int(left * 1e6), "priority": self.priority}
                    result = await self.client.infer(model, sent, outputs=wanted, client_timeout=left, **options)
                    return {name: result.as_numpy(name) for name in outputs}
                except Exception as error:
                    told = self._translate(error, deadline)
                    pause = random.uniform(wait / 2, wait)
                    if not patient or not isinstance(told, ServerAway) or time.monotonic() + pause >= end:
                        raise told from error
                    away = told
                self.retries += 1
                wait = min(2 * wait, LONGEST_WAIT)
                await asyncio.sleep(pause)

    async def ready(self, model: str) -> bool:
        """Whether the server is there and the model answers requests."""
        from tritonclient.utils import InferenceServerException

        try:
            return bool(await self.client.is_model_ready(model, client_timeout=5.0))
        except InferenceServerException:
            return False

    async def _open(self) -> Any:
        import tritonclient.grpc.aio as grpc

        self._gate = asyncio.Semaphore(self.at_once)
        return grpc.InferenceServerClient(self.address, channel_args=list(CHANNEL))

    def _translate(self, error: Exception, deadline: float) -> Exception:
        from tritonclient.utils import InferenceServerException

        if isinstance(error, Sam3AgentError) or not isinstance(error, InferenceServerException):
            return error
        told: Any = error  # tritonclient has no types
        status, what = str(told.status()).removeprefix("StatusCode."), " ".join(str(told.message()).split())[-300:]
        if status == "UNAVAILABLE" and any(mark in what for mark in FULL):
            return ServerFull(f"Triton at {self.address} has too many requests ({what}). Try again later.")
        if (
            status == "UNAVAILABLE" or "unknown model" in what or "is not ready" in what
        ):  # the latter two while it starts
            return ServerAway(f"Triton at {self.address} cannot take the request now ({what}). Try again later.")
        if status in ("DEADLINE_EXCEEDED", "CANCELLED"):
            return DeadlineMissed(f"Triton at {self.address}: no answer within {deadline:g} s. Try again later.")
        if status == "NOT_FOUND":
            return NotRemembered(what)
        if status == "INVALID_ARGUMENT":
            return Refused(what)
        return Unavailable(f"Triton at {self.address}: {status}: {what}. The server's log says more.")


def texts(values: Sequence[str | bytes]) -> Array:
    """Strings or bytes as one BYTES tensor (1, N)."""
    return np.array([[value.encode() if isinstance(value, str) else value for value in values]], np.object_)


def _input(name: str, value: Any) -> Any:
    import tritonclient.grpc.aio as grpc

    if not isinstance(value, np.ndarray):
        return value
    kind = "BYTES" if value.dtype == object else KINDS[value.dtype.str[1:]]
    tensor = grpc.InferInput(name, list(value.shape), kind)
    tensor.set_data_from_numpy(np.ascontiguousarray(value) if kind != "BYTES" else value)
    return tensor
