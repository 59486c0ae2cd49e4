"""An engine that knows drawn scenes and counts what it is asked, and how a client speaks to the service about them."""

from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "unit" / "understanding"))
from stage import SCENES, StageEngine, masks_of

from sam3.types import Detections, Prompt


class SceneEngine(StageEngine):
    """Finds the things of drawn scenes, nothing in other pictures, and what an exemplar box shows."""

    name = "scenes"

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.encodes = self.grounds = 0
        self.delay = delay
        self.hold = threading.Event()
        self.hold.set()

    def encode(self, images: Sequence[np.ndarray]) -> list[Any]:
        self.hold.wait(10)
        time.sleep(self.delay)
        self.encodes += len(images)
        return super().encode(images)

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        self.grounds += len(prompts)
        return [
            self._shown(e, p) if p.boxes is not None else self._answer(e, p.text or "")
            for e, p in zip(embeddings, prompts, strict=True)
        ]

    def _answer(self, embedding: Any, text: str) -> Detections:
        if embedding[0] not in self.scenes:
            return Detections.empty(*embedding[1], 0.02)
        return super()._answer(embedding, text)

    def _shown(self, embedding: Any, prompt: Prompt) -> Detections:
        """The thing under the exemplar's centre."""
        key, (height, width) = embedding
        x0, y0, x1, y1 = prompt.boxes[0]
        for mask in masks_of(self.scenes.get(key, []), height, width):
            if mask[min(int((y0 + y1) / 2), height - 1), min(int((x0 + x1) / 2), width - 1)]:
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                return Detections(np.array([box], np.float32), np.array([0.8], np.float32), mask[None], 0.9)
        return Detections.empty(height, width, 0.1)


def data_url(engine: StageEngine, scene: str) -> str:
    """A drawn scene as a data URL."""
    done, data = cv2.imencode(".png", engine.draw(SCENES[scene])[..., ::-1])
    assert done
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def message(text: str, *pictures: str) -> dict[str, Any]:
    """A message of the user, as OpenAI's clients write it."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    return {"role": "user", "content": parts + images}


def said(text: str) -> dict[str, Any]:
    """A message of the assistant."""
    return {"role": "assistant", "content": text}


def chat(client: Any, *messages: dict[str, Any], key: str | None = None, **more: Any) -> Any:
    """Ask over HTTP."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return client.post("/v1/chat/completions", json={"messages": list(messages), **more}, headers=headers)


def events(response: Any) -> list[dict[str, Any]]:
    """The house's events in a streamed answer."""
    import json

    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    chunks = [json.loads(line) for line in lines]
    return [chunk["sam3"] for chunk in chunks if "sam3" in chunk]
