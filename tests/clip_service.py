"""A small farm clip, the engine that knows its frames, and the clip as clients send it."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from video_stage import Stage, write_clip

from sam3.scenes.truth import TruthEngine
from sam3_agent.video.reading import read_frames
from sam3_agent.video.sources import source_of

# 60 frames at 10 a second: a hen throughout, one duck from 2.0 s on, another from 3.5 to 5.0 s
FARM = Stage({
    "hen": lambda t: (10, 60),
    "duck a": lambda t: (2 * (t - 20), 10) if t >= 20 else None,
    "duck b": lambda t: (100 - (t - 35), 64) if 35 <= t < 50 else None,
})  # fmt: skip
NAMES = {1: ("hen",), 2: ("duck",), 3: ("duck",)}


class FarmEngine(TruthEngine):
    """Knows the clip. `hold` is cleared to make it wait, `delay` is what a look takes, seconds."""

    def __init__(self, clip: Path) -> None:
        super().__init__()
        self.delay, self.hold = 0.0, threading.Event()
        self.hold.set()
        for frame in read_frames(source_of(clip)):
            self.show(frame.pixels, FARM.frame(frame.number)[1], NAMES)

    def encode(self, images: Sequence[np.ndarray]) -> list[Any]:
        self.hold.wait(10)
        time.sleep(self.delay)
        return super().encode(images)


def write_farm(folder: Path, suffix: str = ".mp4") -> Path:
    """The clip as a file."""
    return write_clip(folder / f"farm{suffix}", [FARM.frame(t)[0] for t in range(60)])


def clip_url(path: Path) -> str:
    """The clip as a data URL."""
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
