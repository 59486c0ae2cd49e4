"""Pictures in the memory that a client and a server on the same host share, instead of on the wire.

A few regions are made, registered with the server once and used again and again, each by one request at a time. A
region grows when a larger picture comes. What a server that was restarted has forgotten is registered anew.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sam3.triton.client import NotRemembered, Refused
from sam3.triton.regions import SystemRegions
from sam3.types import UInt8Array

SLOTS = 8
SMALLEST = 1 << 20  # bytes of a new region
WORTH_IT = 1 << 16  # bytes; smaller pictures are as quick on the wire
QUARANTINE = 60.0  # seconds before a region is used again whose request was given up


@dataclass
class Slot:
    """One region; `handle` is None before its first use."""

    name: str
    size: int = 0
    handle: Any = None


class SharedPictures:
    """Regions registered with one server. Made and used on the connection's loop.

    Args:
        client: `tritonclient.grpc.aio.InferenceServerClient`.
        headers: the control key, where the server wants one.
        regions: the kind of memory; the system's when None.
    """

    def __init__(
        self, client: Any, headers: dict[str, str] | None = None, regions: SystemRegions | None = None
    ) -> None:
        self.client, self.headers, self.regions = client, headers, regions or SystemRegions()
        mark = f"sam3_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self.slots: asyncio.Queue[Slot] = asyncio.Queue()
        self.all = [Slot(f"{mark}_{at}") for at in range(SLOTS)]
        for slot in self.all:
            self.slots.put_nowait(slot)

    @asynccontextmanager
    async def hold(self, image: UInt8Array) -> AsyncIterator[Any]:
        """The picture as the request input `image`, (1, H, W, 3), valid inside the block."""
        import tritonclient.grpc.aio as grpc

        slot = await self.slots.get()
        rest = QUARANTINE
        try:
            await self._fit(slot, image.nbytes)
            self.regions.write(slot.handle, image)
            tensor = grpc.InferInput("image", [1, *image.shape], "UINT8")
            tensor.set_shared_memory(slot.name, image.nbytes)
            yield tensor
            rest = 0.0
        except (Refused, NotRemembered):
            rest = 0.0  # answered: the server has read it
            raise
        finally:
            if rest:  # given up, but perhaps still in the server's queue: do not write over what it may read yet
                asyncio.get_running_loop().call_later(rest, self.slots.put_nowait, slot)
            else:
                self.slots.put_nowait(slot)

    @property
    def free(self) -> bool:
        """Whether a region is to be had now."""
        return not self.slots.empty()

    async def forget(self, everything: bool = False) -> None:
        """Let go of the regions that nobody uses, or of all; they are made anew at their next use."""
        slots = self.all if everything else [self.slots.get_nowait() for _ in range(self.slots.qsize())]
        for slot in slots:
            await self._drop(slot)
            if not everything:
                self.slots.put_nowait(slot)

    async def _fit(self, slot: Slot, size: int) -> None:
        if slot.size >= size:
            return
        await self._drop(slot)
        room = max(SMALLEST, 1 << (size - 1).bit_length())
        handle = self.regions.make(slot.name, room)
        try:
            await self.regions.register(self.client, slot.name, handle, room, self.headers)
        except BaseException:
            self.regions.free(handle)
            raise
        slot.handle, slot.size = handle, room

    async def _drop(self, slot: Slot) -> None:
        if slot.handle is None:
            return
        handle, slot.handle, slot.size = slot.handle, None, 0
        with suppress(Exception):  # a server that is gone has nothing registered
            await self.regions.unregister(self.client, slot.name, self.headers)
        with suppress(Exception):
            self.regions.free(handle)
