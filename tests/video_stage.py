"""Small clips with known content, written in every container, and the engine that knows what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from sam3.scenes.truth import EXACT, Noise, TruthEngine
from sam3_agent.video.frames import Frame

SIZE = (96, 128)  # height, width
ENCODERS = {".mp4": "libx264", ".mov": "mpeg4", ".avi": "mjpeg", ".mkv": "libx264"}


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth random picture that optical flow can hold on to."""
    import cv2

    noise = np.random.default_rng(seed).integers(0, 255, (height // 4 + 2, width // 4 + 2, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


class Stage:
    """Textured tiles that move over a textured ground; later ones in front.

    Args:
        paths: name -> (frame -> (left, top) or None when away).
    """

    def __init__(self, paths: dict[str, Callable[[int], tuple[float, float] | None]], side: int = 24) -> None:
        self.paths, self.side = paths, side
        self.ground = texture(*SIZE, seed=99)
        self.tiles = {name: texture(side, side, seed=at) for at, name in enumerate(paths)}

    def frame(self, number: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        picture, owner = self.ground.copy(), np.zeros(SIZE, np.uint8)
        for thing, (name, path) in enumerate(self.paths.items(), start=1):
            place = path(number)
            if place is None:
                continue
            x, y = (round(v) for v in place)
            x0, y0 = max(x, 0), max(y, 0)
            x1, y1 = min(x + self.side, SIZE[1]), min(y + self.side, SIZE[0])
            if x1 > x0 and y1 > y0:
                picture[y0:y1, x0:x1] = self.tiles[name][y0 - y : y1 - y, x0 - x : x1 - x]
                owner[y0:y1, x0:x1] = thing
        masks = {thing: owner == thing for thing in range(1, len(self.paths) + 1)}
        return picture, {thing: mask for thing, mask in masks.items() if mask.sum() > 20}

    def play(self, frames: int, noise: Noise = EXACT, rate: float = 25.0) -> Iterator[tuple[Frame, dict, TruthEngine]]:
        """Frames with truth; the engine has been shown each."""
        engine = TruthEngine(noise)
        names = {thing: (name.split()[0],) for thing, name in enumerate(self.paths, start=1)}
        for number in range(frames):
            picture, masks = self.frame(number)
            engine.show(picture, masks, names)
            yield Frame(number, number / rate, picture), masks, engine


def write_clip(path: Path, pictures: list[np.ndarray], rate: int = 10, encoder: str | None = None) -> Path:
    """A video file of pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder or ENCODERS[path.suffix], rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if stream.codec_context.name == "mjpeg" else "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks, 0..1."""
    return float((one & other).sum() / max((one | other).sum(), 1))
