"""Which of the smoke pictures the parts of a version are asked about."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam3.types import Detections, Prompt
from sam3_agent.serving.gate import most_told


class Draws:
    """An engine that draws as many masks as the picture is bright; empty ones below that."""

    threshold = 0.5

    def encode(self, images: Any) -> list[Any]:
        return list(images)

    def ground(self, embeddings: Any, prompts: Any) -> list[Detections]:
        assert self.threshold == 0.0, "every query is looked at"
        masks = np.zeros((5, 4, 4), bool)
        masks[: int(embeddings[0].max())] = True
        one = Detections(np.zeros((5, 4), np.float32), np.zeros(5, np.float32), masks, 0.1)
        return [one for _ in prompts]


def test_a_model_that_draws_nothing_on_noise_is_asked_about_another_picture() -> None:
    asked = [(np.full((4, 4, 3), bright, np.uint8), [Prompt("hen")]) for bright in (1, 3, 0)]
    engine = Draws()
    assert most_told(engine, asked) is asked[1] and engine.threshold == 0.5
