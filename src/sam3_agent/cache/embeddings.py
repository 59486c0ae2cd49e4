"""Pictures that were encoded: one encode per distinct picture, whoever sends it, while the budget of bytes lasts.

Held as the engine's own objects in this process. For engines in `FORMS` they also go to Redis as safetensors, so that
a second process or a restart need not encode again. Called by `sam3_agent.execution.seeing`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sam3_agent.cache.budget import Budget
from sam3_agent.cache.keys import fingerprint
from sam3_agent.cache.redis_store import RedisStore

GROWING = 64  # newest embeddings that are counted again: an engine may add finer levels when one is first used
UNKNOWN_SIZE = 4_000_000  # bytes counted for an embedding that does not say how large it is
Arrays = dict[str, np.ndarray[Any, Any]]


class EmbeddingCache:
    """Embeddings by weights and picture.

    Args:
        max_bytes: held in this process.
        redis: shared between processes; may be None.
    """

    def __init__(self, max_bytes: int, *, redis: RedisStore | None = None) -> None:
        self.held: Budget[str, Any] = Budget(max_bytes)
        self.redis = redis
        self._under_way: dict[str, threading.Event] = {}
        self._growing: deque[str] = deque(maxlen=GROWING)
        self._lock = threading.Lock()

    def fetch(
        self,
        engine_name: str,
        version: str,
        keys: Sequence[bytes],
        encode: Callable[[list[int]], Sequence[Any]],
    ) -> list[Any]:
        """One embedding a key; only what nobody has and nobody else is encoding right now is encoded.

        Args:
            engine_name: decides the form in Redis. version: of the weights.
            keys: content hashes, each once.
            encode: from positions in `keys` to embeddings.
        """
        names = [fingerprint("embedding", engine=engine_name, version=version, picture=key) for key in keys]
        out = [self._known(name, engine_name) for name in names]
        while missing := [at for at, embedding in enumerate(out) if embedding is None]:
            mine, theirs = self._claim([(at, names[at]) for at in missing])
            try:
                if mine:
                    for at, embedding in zip(mine, encode(mine), strict=True):
                        out[at] = embedding
                        self._keep(names[at], engine_name, embedding)
            finally:
                self._release([names[at] for at in mine])
            for at, event in theirs:  # own work is done first, so two that wait for each other cannot be
                event.wait(timeout=60)
                out[at] = self.held.get(names[at])
        return out

    def _known(self, name: str, engine_name: str) -> Any:
        embedding = self.held.get(name)
        if embedding is None and self.redis is not None and engine_name in FORMS:
            data = self.redis.get(name)
            if data is not None:
                embedding = unpacked(engine_name, data)
                if embedding is None:
                    self.redis.forget(name)
                else:
                    self.held.put(name, embedding, size_of(embedding))
        return embedding

    def _keep(self, name: str, engine_name: str, embedding: Any) -> None:
        for earlier in list(self._growing):
            self.held.resize(earlier, size_of)
        self.held.put(name, embedding, size_of(embedding))
        self._growing.append(name)
        if self.redis is not None and engine_name in FORMS:
            self.redis.put(name, packed(engine_name, embedding))

    def _claim(self, wanted: list[tuple[int, str]]) -> tuple[list[int], list[tuple[int, threading.Event]]]:
        mine, theirs = [], []
        with self._lock:
            for at, name in wanted:
                event = self._under_way.get(name)
                if event is None:
                    self._under_way[name] = threading.Event()
                    mine.append(at)
                else:
                    theirs.append((at, event))
        return mine, theirs

    def _release(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._under_way.pop(name).set()


def size_of(embedding: Any) -> int:
    """Bytes that an embedding holds, as it says itself."""
    return int(getattr(embedding, "nbytes", UNKNOWN_SIZE))


def packed(engine_name: str, embedding: Any) -> bytes:
    """An embedding as safetensors."""
    from safetensors.numpy import save

    return bytes(save(FORMS[engine_name][0](embedding)))


def unpacked(engine_name: str, data: bytes) -> Any | None:
    """The embedding in safetensors bytes; None when they are something else."""
    from safetensors.numpy import load

    try:
        return FORMS[engine_name][1](load(data))
    except Exception:  # the file reader raises its own private kinds; whatever it is, it is no embedding
        return None


def _onnx_arrays(embedding: Any) -> Arrays:
    """Every field by its name: arrays, tuples of arrays ("fine.0"), the size; what is None is left out."""
    arrays: Arrays = {}
    for field in dataclasses.fields(embedding):
        value = getattr(embedding, field.name)
        if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
            arrays |= {f"{field.name}.{at}": np.ascontiguousarray(one) for at, one in enumerate(value)}
        elif value is not None:
            arrays[field.name] = np.ascontiguousarray(value)
    return arrays


def _onnx_embedding(arrays: Arrays) -> Any:
    from sam3.engines.onnx_engine import Embedding

    values: dict[str, Any] = {name: array for name, array in arrays.items() if "." not in name}
    for name in {name.partition(".")[0] for name in arrays if "." in name}:
        values[name] = tuple(arrays[f"{name}.{at}"] for at in range(sum(key.startswith(f"{name}.") for key in arrays)))
    height, width = values.pop("size").tolist()
    return Embedding(**values, size=(height, width))


def _torch_arrays(embedding: Any) -> Arrays:
    vision = embedding.vision
    arrays = {f"level{at}": level.float().cpu().numpy() for at, level in enumerate(vision.levels)}
    arrays |= {f"position{at}": np.ascontiguousarray(p.float().cpu().numpy()) for at, p in enumerate(vision.positions)}
    return {**arrays, "size": np.array(embedding.size, np.int64)}


def _torch_embedding(arrays: Arrays) -> Any:
    import torch

    from sam3.detector import Vision
    from sam3.engines.torch_engine import Embedding

    def all_of(word: str) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(arrays[f"{word}{at}"]) for at in range(sum(n.startswith(word) for n in arrays)))

    height, width = arrays["size"].tolist()
    return Embedding(Vision(all_of("level"), all_of("position")), (height, width))


# engine name -> (embedding -> arrays, arrays -> embedding); the torch form is for the CPU
FORMS: dict[str, tuple[Callable[[Any], Arrays], Callable[[Arrays], Any]]] = {
    "onnx": (_onnx_arrays, _onnx_embedding),
    "torch": (_torch_arrays, _torch_embedding),
}
