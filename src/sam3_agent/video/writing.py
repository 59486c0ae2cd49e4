"""An MP4 out of frames (H.264, plays in a browser), written beside its place and moved there when it is whole."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sam3.errors import BadInput, Unavailable
from sam3.types import UInt8Array

TICK = Fraction(1, 60_000)  # second; MPEG-4 knows no finer one, and the usual rates are whole numbers of it
ENCODERS = ("libx264", "libopenh264", "mpeg4")  # what builds of FFmpeg have, best first


class VideoWriter:
    """Frames in, a file out. Use it as a context; the file appears when the block ends without an error.

    Args:
        target: an .mp4. rate: frames a second. size: (width, height); odd ones lose a row or column.

    Raises:
        BadInput: the folder cannot be written. Unavailable: FFmpeg has no encoder.
    """

    def __init__(self, target: Path, rate: float, size: tuple[int, int]) -> None:
        import av

        self.target, self._size = target, (size[0] // 2 * 2, size[1] // 2 * 2)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, self._temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".mp4")
            os.close(handle)
        except OSError as error:
            raise BadInput(
                f"{target}: cannot be written ({error.strerror}). Give another --out.", field="out"
            ) from error
        encoder = next((name for name in ENCODERS if name in av.codec.codecs_available), None)
        if encoder is None:
            os.unlink(self._temporary)
            raise Unavailable("this FFmpeg has no video encoder. Install the package av from its wheel.")
        self._container = av.open(self._temporary, "w", options={"movflags": "faststart"})
        stream: Any = self._container.add_stream(encoder, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *self._size, "yuv420p"
        stream.codec_context.time_base = TICK
        if encoder == "libx264":
            stream.options = {"preset": "veryfast", "crf": "23"}
        self._stream, self._rate = stream, rate
        self._first: float | None = None
        self._count, self._at = 0, -1

    def add(self, pixels: UInt8Array, time: float | None = None) -> None:
        """The next frame.

        Args:
            pixels: uint8 RGB (H, W, 3); another size is scaled.
            time: when it is shown, seconds; the first frame's is the start. By the rate when None.
        """
        import av
        import cv2

        width, height = self._size
        if abs(pixels.shape[0] - height) > 1 or abs(pixels.shape[1] - width) > 1:
            pixels = np.asarray(cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        seconds = self._count / self._rate if time is None else time
        self._first = seconds if self._first is None else self._first
        self._at = max(self._at + 1, round((seconds - self._first) / TICK))  # players want time to go on
        self._count += 1
        picture.pts, picture.time_base = self._at, TICK
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                os.chmod(self._temporary, 0o644)
                os.replace(self._temporary, self.target)
        finally:
            if os.path.exists(self._temporary):
                os.unlink(self._temporary)
