"""Where a client and a server on the same host share memory: the system's, or a GPU's.

`SystemRegions` and `CudaRegions` make, fill, register and free one region; `sam3.triton.shared_pictures` decides when. CUDA
regions are for a server whose GPU reads them without a copy through the host. They need tritonclient[cuda] and a GPU: here
they have been tried with a stand-in for NVIDIA's library only, and against a server that refuses them.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from sam3.errors import Unavailable
from sam3.types import UInt8Array


class SystemRegions:
    """POSIX shared memory."""

    def __init__(self) -> None:
        self.library = importlib.import_module("tritonclient.utils.shared_memory")

    def make(self, name: str, size: int) -> Any:
        """A region of `size` bytes; returns its handle."""
        return self.library.create_shared_memory_region(name, f"/{name}", size)

    def write(self, handle: Any, image: UInt8Array) -> None:
        """Put a picture at the beginning of a region."""
        self.library.set_shared_memory_region(handle, [np.ascontiguousarray(image)])

    def free(self, handle: Any) -> None:
        """Give a region back."""
        self.library.destroy_shared_memory_region(handle)

    async def register(self, client: Any, name: str, handle: Any, size: int, headers: dict[str, str] | None) -> None:
        """Tell the server of a region."""
        await client.register_system_shared_memory(name, f"/{name}", size, headers=headers)

    async def unregister(self, client: Any, name: str, headers: dict[str, str] | None) -> None:
        """Have the server forget it."""
        await client.unregister_system_shared_memory(name, headers=headers)


class CudaRegions(SystemRegions):
    """Memory of a GPU of this host, which the server opens by its handle.

    Args:
        device: number of the GPU, the same for client and server.

    Raises:
        Unavailable: tritonclient's CUDA part is not installed.
    """

    def __init__(self, device: int = 0) -> None:
        self.device = device
        try:
            self.library = importlib.import_module("tritonclient.utils.cuda_shared_memory")
        except (ImportError, OSError) as error:
            raise Unavailable(
                f"CUDA shared memory: {error}. Install tritonclient[cuda] on a GPU host, or use share_memory=True.",
                field="share_memory",
            ) from error

    def make(self, name: str, size: int) -> Any:
        """A region of `size` bytes; returns its handle."""
        return self.library.create_shared_memory_region(name, size, self.device)

    async def register(self, client: Any, name: str, handle: Any, size: int, headers: dict[str, str] | None) -> None:
        """Tell the server of a region."""
        raw = self.library.get_raw_handle(handle)
        await client.register_cuda_shared_memory(name, raw, self.device, size, headers=headers)

    async def unregister(self, client: Any, name: str, headers: dict[str, str] | None) -> None:
        """Have the server forget it."""
        await client.unregister_cuda_shared_memory(name, headers=headers)
