"""What viewers see: the newest picture and result. Those who are slow miss some and never wait in a queue.

The loop of the stream posts from its thread; every viewer asks for "whatever is newer than what I had". The JPEG is made
once a picture, and only if somebody looks.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from sam3.types import UInt8Array
from sam3_agent.video.drawing import draw_tracks
from sam3_agent.video.frames import Frame, FrameResult

QUALITY = 80


@dataclass(frozen=True, eq=False)
class Post:
    """One shown frame; `row` is its result as JSON."""

    number: int
    frame: Frame
    result: FrameResult
    row: dict[str, Any]
    caption: str


class Board:
    """The newest post, for any number of viewers on an event loop."""

    def __init__(self) -> None:
        self._post: Post | None = None
        self._jpeg: tuple[int, bytes] | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self.closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that viewers wait on."""
        self._loop = loop

    @property
    def watched(self) -> bool:
        """Whether anybody waits for the next post."""
        return bool(self._waiting)

    def put(self, frame: Frame, result: FrameResult, row: dict[str, Any], caption: str = "") -> None:
        """A new frame; called from the stream's thread."""
        with self._lock:
            number = self._post.number + 1 if self._post else 0
            self._post = Post(number, frame, result, row, caption)
        self._wake()

    def close(self) -> None:
        """No more posts: viewers may go."""
        self.closed = True
        self._wake()

    async def newer(self, than: int, timeout: float = 10.0) -> Post | None:
        """The newest post after number `than`; None when nothing comes in time or the stream is over."""
        while not self.closed:
            post = self._post
            if post is not None and post.number > than:
                return post
            event = asyncio.Event()
            self._waiting.add(event)
            try:
                await asyncio.wait_for(event.wait(), timeout)
            except TimeoutError:
                return None
            finally:
                self._waiting.discard(event)
        return None

    def jpeg(self, post: Post) -> bytes:
        """The picture of a post with its tracks drawn in."""
        with self._lock:
            if self._jpeg is not None and self._jpeg[0] == post.number:
                return self._jpeg[1]
        made = encoded(draw_tracks(post.frame.pixels, post.result.seen, post.caption))
        with self._lock:
            self._jpeg = (post.number, made)
        return made

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        for event in list(self._waiting):
            event.set()


def encoded(pixels: UInt8Array) -> bytes:
    """JPEG bytes of uint8 RGB (H, W, 3)."""
    import cv2

    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(data)
