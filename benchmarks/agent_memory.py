"""Whether the agent's memory stays flat: many thousand questions, four of five about a known picture.

    python benchmarks/agent_memory.py --queries 20000

The engine is a stand-in that finds a few rectangles, so that what is measured is the agent's own memory: caches,
conversations, plans. Prints resident megabytes along the way.
"""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from sam3.eval.provenance import hardware_line
from sam3.files import write_json
from sam3.types import Detections, Prompt
from sam3_agent import Agent
from sam3_agent.cache.caches import Caches, CacheSettings
from sam3_agent.service.live import Asked, Conversations
from sam3_agent.service.pictures import Pictures
from sam3_agent.sessions.store import SessionStore

NAMES = ("dog", "cat", "car", "bird", "tree", "cup", "chair", "horse")
FORMS = ("how many {}s are there?", "find the {}s", "is there a {}?", "find the largest {}", "where are the {}s?")


@dataclass
class Embedding:
    """A megabyte, as of a small model."""

    pixels: np.ndarray[Any, Any]
    nbytes: int = 1_000_000


class Rectangles:
    """Finds three rectangles, wherever a phrase says."""

    name, sha256, threshold = "rectangles", "0", 0.5

    def encode(self, images: Sequence[np.ndarray[Any, Any]]) -> list[Embedding]:
        """A real megabyte each."""
        return [Embedding(np.resize(image, 1_000_000)) for image in images]

    def ground(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> list[Detections]:
        """Masks of 480 x 360."""
        masks = np.zeros((3, 360, 480), bool)
        for at in range(3):
            masks[at, 50 * at : 50 * at + 40, 100:160] = True
        boxes = np.array([[100, 50 * at, 160, 50 * at + 40] for at in range(3)], np.float32)
        return [Detections(boxes, np.full(3, 0.9, np.float32), masks.copy(), 0.95) for _ in prompts]


def main(
    queries: Annotated[int, typer.Option(help="Questions asked.")] = 20_000,
    out: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Ask, and watch."""
    import tempfile

    import cv2

    settings = CacheSettings(url="", embedding_bytes=64_000_000, result_bytes=8_000_000, media_bytes=32_000_000)
    agent = Agent(Rectangles(), caches=Caches.of(settings), mirror="never")
    chance, process, seen = random.Random(3), psutil.Process(), []
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(settings.media_bytes, limit=10_000_000, max_pixels=10_000_000, urls=False)
        talks = Conversations(agent, SessionStore(f"sqlite:///{folder}/s.db"), pictures, 64_000_000)
        base = np.random.default_rng(1).integers(0, 255, (360, 480, 3), np.uint8)
        known = [_url(cv2, np.roll(base, shift, axis=1)) for shift in range(10)]
        for number in range(queries):
            repeat = chance.random() < 0.8
            source = chance.choice(known) if repeat else _url(cv2, base, number)
            words = chance.choice(FORMS).format(chance.choice(NAMES))
            talks.ask(Asked("local", words, (source,)))
            if number % max(1, queries // 10) == queries // 10 - 1:
                gc.collect()
                seen.append(round(process.memory_info().rss / 1e6, 1))
                print(f"{number + 1:6d} questions: {seen[-1]:.1f} MB", flush=True)
    half = seen[len(seen) // 2 - 1]
    report: dict[str, Any] = {
        "queries": queries,
        "resident_mb": seen,
        "growth_second_half": round(seen[-1] / half - 1, 4),
    }
    print(json.dumps(report))
    if out is not None:
        command = f"python benchmarks/agent_memory.py --queries {queries}"
        write_json(out, {**report, "hardware": hardware_line(), "command": command})


def _url(cv2: Any, pixels: np.ndarray[Any, Any], number: int = -1) -> str:
    import base64

    if number >= 0:  # another picture each time
        pixels = pixels.copy()
        for bit in range(16):
            pixels[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 70])
    assert done
    number_bytes = number.to_bytes(4, "big", signed=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes() + number_bytes).decode()


if __name__ == "__main__":
    typer.run(main)
