"""The Triton engine: the same two calls on a server, here or far away.

    engine = load_engine("triton", checkpoint="127.0.0.1:8001")     # or SAM3_TRITON_URL
    await engine.aencode(images)                                     # the same, for callers that are async

`encode` sends each picture once and keeps what the server calls it; `ground` sends that key and the phrases, and the
picture again only if the server has forgotten it. All phrases of a picture go in one request, all pictures at once,
and the server forms batches. Retries, deadlines and connection: `sam3.triton.client`. While a version is tried with a
share of the traffic (`sam3.triton.canary`), each picture has its side, and what the canary fails at the other one does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sam3.engines.prompts import phrase_of
from sam3.errors import BadInput, Sam3AgentError
from sam3.pixels import check_image
from sam3.triton.answer import unpack_masks
from sam3.triton.canary import WHOLE, Routes, unit_of
from sam3.triton.client import Connection, NotRemembered, Refused, ServerAway, texts
from sam3.triton.query import MAX_PHRASES
from sam3.triton.regions import CudaRegions, SystemRegions
from sam3.triton.shared_pictures import WORTH_IT, SharedPictures
from sam3.types import Detections, Prompt, UInt8Array

T = TypeVar("T")
DEFAULT = "127.0.0.1:8001"
OUTPUTS = ("boxes", "scores", "phrase_index", "presence", "masks", "warnings")
ADDRESS = re.compile(r"^(grpc://)?(?P<address>(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.\-]+):\d{1,5})$")
LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(eq=False)
class Embedding:
    """A picture that the server has encoded; opaque to callers."""

    pixels: UInt8Array
    key: str
    model: str = WHOLE  # which encoded it: while a version is tried, pictures differ

    @property
    def nbytes(self) -> int:
        """Memory it holds here, for caches that count."""
        return int(self.pixels.nbytes)


class TritonEngine:
    """`encode` and `ground` on a Triton server.

    Args:
        address: gRPC host:port.
        deadline: seconds for one call of a picture, all attempts together.
        share_memory: pass pictures through shared memory; None: when the server is on this host. "cuda": through a GPU's.
        priority: 1 is served before 2.
        model: the name under which the whole model is served.
    """

    name = "triton"

    def __init__(
        self,
        address: str = DEFAULT,
        *,
        threshold: float = 0.5,
        deadline: float = 60.0,
        share_memory: bool | Literal["cuda"] | None = None,
        priority: int = 2,
        at_once: int = 32,
        model: str = WHOLE,
    ) -> None:
        self.address, self.threshold, self.deadline, self.model = address, threshold, deadline, model
        self.connection = Connection(address, at_once=at_once, priority=priority)
        self.routes = Routes(self.connection)
        local = address.rsplit(":", 1)[0] in LOCAL if share_memory is None else share_memory
        regions = CudaRegions() if share_memory == "cuda" else None
        self._shared = self.connection.run(self._share(regions)) if local else None
        self._closing = weakref.finalize(self, _close, self.connection, self._shared)

    @classmethod
    def load(cls, checkpoint: str | Path, *, device: str | None = None, threshold: float = 0.5) -> TritonEngine:
        """The server at `checkpoint` if that is host:port, else at SAM3_TRITON_URL or on this host.

        Raises:
            ServerAway: no server there, or it has no model `sam3`.
        """
        given = ADDRESS.match(str(checkpoint))
        address = given["address"] if given else (os.environ.get("SAM3_TRITON_URL") or DEFAULT)
        engine = cls(address.removeprefix("grpc://"), threshold=threshold)
        if not engine.connection.run(engine.connection.ready("sam3")):
            engine.close()
            raise ServerAway(f"no model sam3 at {address}. Start the server: sam3-agent triton up", field="engine")
        return engine

    @property
    def sha256(self) -> str:
        """What serves, in words ("version 3 (0123456789ab)"), a canary included; empty while the server does not say."""
        return self.connection.run(self.routes.now()).name

    def version_for(self, pixels: UInt8Array) -> str:
        """Which version answers about this picture; empty while the server does not say."""
        sides = self.connection.run(self.routes.now())
        side = sides.of(unit_of(pixels)) if sides.canary else sides.stable
        return side.name if side else ""

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """uint8 RGB (H, W, 3) -> one embedding each; encoded on the server now, in batches."""
        return self.connection.run(self._encode(images))

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        return self.connection.run(self._ground(embeddings, prompts))

    async def aencode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        """`encode` for async callers."""
        return await self.connection.here(self._encode(images))

    async def aground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """`ground` for async callers."""
        return await self.connection.here(self._ground(embeddings, prompts))

    def close(self) -> None:
        """Close the connection and give the shared memory back."""
        self._closing()

    async def _encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:
        arrays = [check_image(image) for image in images]
        return list(await asyncio.gather(*map(self._encoded, arrays)))

    async def _encoded(self, image: UInt8Array) -> Embedding:
        async def work(model: str) -> Embedding:
            out = await self._with_picture(image, {}, ("image_key",), model)
            return Embedding(image, out["image_key"].item().decode(), model)

        return await self._either(await self._side(image), work)

    async def _side(self, image: UInt8Array) -> str:
        """The model that this picture belongs to."""
        sides = await self.routes.now() if self.model == WHOLE else None
        side = sides.of(unit_of(image)) if sides and sides.canary else None
        return side.model if side else self.model

    async def _either(self, model: str, work: Callable[[str], Awaitable[T]]) -> T:
        """`work(model)`; what a canary fails at, the model that serves does. A bad request is bad for both."""
        if model == self.model:
            return await work(model)
        try:
            return await work(model)
        except Refused:
            raise
        except Sam3AgentError as error:
            logging.getLogger(__name__).warning("%s: %s; asking %s", model, error, self.model)
            if isinstance(error, ServerAway):
                self.routes.forget_canary()
            return await work(self.model)

    async def _ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        if len(embeddings) != len(prompts):
            raise BadInput(
                f"{len(embeddings)} embeddings for {len(prompts)} prompts: they go in pairs.", field="prompts"
            )
        rows: dict[str, list[int]] = {}
        for at, item in enumerate(embeddings):
            rows.setdefault(item.key, []).append(at)
        groups = [
            indexes[start : start + MAX_PHRASES]
            for indexes in rows.values()
            for start in range(0, len(indexes), MAX_PHRASES)
        ]
        answers = await asyncio.gather(
            *(self._one_picture(embeddings[group[0]], [prompts[at] for at in group]) for group in groups)
        )
        found = {
            at: item
            for group, items in zip(groups, answers, strict=True)
            for at, item in zip(group, items, strict=True)
        }
        return [found[at] for at in range(len(prompts))]

    async def _one_picture(self, item: Embedding, prompts: Sequence[Prompt]) -> list[Detections]:
        inputs = _inputs(prompts) | {"threshold": np.array([[self.threshold]], np.float32)}

        async def work(model: str) -> dict[str, np.ndarray[Any, Any]]:
            try:
                named = inputs | {"image_key": texts([item.key])}
                return await self._infer(model, named, OUTPUTS)
            except NotRemembered:
                return await self._with_picture(item.pixels, inputs, OUTPUTS, model)

        model = self.model if item.model == WHOLE else item.model
        return detections_of(await self._either(model, work), item.pixels.shape[:2])

    async def _infer(
        self, model: str, inputs: Mapping[str, Any], outputs: Sequence[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """A canary that is not there (any more) is not waited for."""
        patient = model == self.model
        return await self.connection.infer(model, inputs, outputs, deadline=self.deadline, patient=patient)

    async def _with_picture(
        self, image: UInt8Array, inputs: Mapping[str, Any], outputs: Sequence[str], model: str
    ) -> dict[str, np.ndarray[Any, Any]]:
        if self._shared is not None and self._shared.free and image.nbytes >= WORTH_IT:
            try:
                async with self._shared.hold(image) as tensor:
                    return await self._infer(model, {"image": tensor, **inputs}, outputs)
            except Exception as error:
                if not _about_memory(error):
                    raise
                logging.getLogger(__name__).info("shared memory: %s; sending on the wire", error)
                if "restricted" in str(error):
                    self._shared = None  # the server shares with holders of its key only
                    return await self._with_picture(image, inputs, outputs, model)
                await self._shared.forget()  # a restarted server knows no region; the next picture registers anew
        return await self._infer(model, {"image": image[None], **inputs}, outputs)

    async def _share(self, regions: SystemRegions | None) -> SharedPictures:
        key = os.environ.get("SAM3_TRITON_CONTROL_KEY")
        headers = {"triton-grpc-protocol-sam3-control-key": key} if key else None
        return SharedPictures(self.connection.client, headers, regions)


def detections_of(out: Mapping[str, np.ndarray[Any, Any]], size: tuple[int, int]) -> list[Detections]:
    """The output tensors of one request -> one `Detections` per phrase.

    Args:
        out: `OUTPUTS` with the batch axis of 1.
        size: (H, W) of the picture in pixels.
    """
    boxes, scores, owner, masks = (out[name][0] for name in ("boxes", "scores", "phrase_index", "masks"))
    found = []
    for at, presence in enumerate(out["presence"][0]):
        mine = np.flatnonzero(owner == at)
        said = tuple(json.loads(out["warnings"][0, at]))
        solid = unpack_masks(masks[mine], *size)
        found.append(Detections(boxes[mine], scores[mine], solid, float(presence), warnings=said))
    return found


def _inputs(prompts: Sequence[Prompt]) -> dict[str, np.ndarray[Any, Any]]:
    inputs: dict[str, np.ndarray[Any, Any]] = {"phrases": texts([phrase_of(prompt) for prompt in prompts])}
    boxed = [(at, item) for at, item in enumerate(prompts) if item.boxes is not None and len(item.boxes)]
    if not boxed:
        return inputs
    boxes = [np.asarray(item.boxes, np.float32) for _, item in boxed]
    if any(item.ndim != 2 or item.shape[1] != 4 for item in boxes):
        raise BadInput("boxes: expected (K, 4) xyxy pixels.", field="boxes")
    labels = [
        np.ones(len(rows)) if item.box_labels is None else np.asarray(item.box_labels)
        for rows, (_, item) in zip(boxes, boxed, strict=True)
    ]
    for rows, marks in zip(boxes, labels, strict=True):
        if marks.shape != (len(rows),):
            raise BadInput(f"{len(marks)} box labels for {len(rows)} boxes.", field="box_labels")
    owners = [np.full(len(rows), at) for rows, (at, _) in zip(boxes, boxed, strict=True)]
    return inputs | {
        "exemplar_boxes": np.concatenate(boxes)[None],
        "exemplar_labels": np.concatenate(labels).astype(np.int32)[None],
        "exemplar_phrases": np.concatenate(owners).astype(np.int32)[None],
    }


def _about_memory(error: Exception) -> bool:
    """Whether a request failed for its shared memory: the host has none, or the server does not know the region."""
    from tritonclient.utils import InferenceServerException
    from tritonclient.utils.shared_memory import SharedMemoryException

    if isinstance(error, (SharedMemoryException, OSError, InferenceServerException)):
        return True  # raised while a region was made or registered: requests raise our own errors
    if type(error).__name__ == "CudaSharedMemoryException":  # of a module that only imports where there is CUDA
        return True
    return isinstance(error, (Refused, NotRemembered)) and "shared memory" in str(error).lower()


def _close(connection: Connection, shared: SharedPictures | None) -> None:
    if shared is not None:
        connection.run(shared.forget(everything=True))
    connection.close()
