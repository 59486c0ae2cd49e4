"""What the engine is not sure of is said, marked, and never guessed; large pictures are answered in their own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.types import Detections, Prompt
from sam3_agent import Agent
from sam3_agent.cache.caches import Caches, CacheSettings
from sam3_agent.execution.doubt import Mirror, disagreeing
from sam3_agent.execution.media import medium
from sam3_agent.execution.outcome import Result
from sam3_agent.execution.seeing import Eyes


class Squares:
    """Finds bright squares; `shy` of them only where the picture is not mirrored (its left edge is grey)."""

    def __init__(self, score: float = 0.9, presence: float = 0.9, shy: bool = False) -> None:
        self.score, self.presence, self.shy = score, presence, shy
        self.sizes: list[tuple[int, ...]] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[Any]:
        self.sizes += [image.shape[:2] for image in images]
        return list(images)

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        return [self._found(image) for image in embeddings]

    def _found(self, image: np.ndarray) -> Detections:
        import cv2

        bright = (image[..., 0] > 200).astype(np.uint8)
        number, labels = cv2.connectedComponents(bright)
        mirrored = image[0, 0, 1] < 50
        masks = [labels == n for n in range(1, number) if not (self.shy and mirrored and n == 1)]
        if not masks:
            return Detections.empty(*image.shape[:2], self.presence)
        boxes = [(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) for ys, xs in map(np.nonzero, masks)]
        scores = np.full(len(masks), self.score, np.float32)
        return Detections(np.array(boxes, np.float32), scores, np.stack(masks), self.presence)


def picture(height: int = 120, width: int = 200) -> np.ndarray:
    """Two squares of different size; the top left pixel tells a picture from its mirror image."""
    image = np.zeros((height, width, 3), np.uint8)
    image[0, : width // 2, 1] = 90
    image[height // 6 : height // 3, width // 10 : width // 5] = 255
    image[height // 2 : height * 5 // 6, width * 6 // 10 : width * 9 // 10] = 255
    return image


def agent(engine: Squares, mirror: Mirror = "weak") -> Agent:
    return Agent(engine, mirror=mirror, caches=Caches.of(CacheSettings(url="")))


@pytest.mark.parametrize(("presence", "unsure"), [(0.39, False), (0.4, True), (0.6, True), (0.61, False)])
def test_a_presence_in_the_middle_is_not_sure(presence: float, unsure: bool) -> None:
    reply = agent(Squares(presence=presence)).process("find the boxes", [picture()])
    assert reply.uncertain == unsure and ("not sure" in reply.text) == unsure
    assert [row["sure"] for row in reply.results[0].to_coco()] == [not unsure] * 2


@pytest.mark.parametrize(
    ("mirror", "score", "doubtful", "encodes"),
    [("never", 0.55, (), 1), ("weak", 0.9, (), 1), ("weak", 0.55, (1,), 2), ("always", 0.9, (1,), 2)],
)
def test_what_a_mirror_changes_is_not_sure(
    mirror: Mirror, score: float, doubtful: tuple[int, ...], encodes: int
) -> None:
    engine = Squares(score=score, shy=True)
    reply = agent(engine, mirror).process("find the boxes", [picture()])
    marked = reply.results[0].doubtful
    assert len(marked) == len(doubtful) and len(engine.sizes) == encodes
    assert reply.uncertain == bool(doubtful)
    if marked:
        assert "mirror" in reply.text and reply.results[0].detections.boxes[marked[0]][0] < 100 + 100 * (marked[0] == 1)


def test_what_a_mirror_shows_alike_is_sure() -> None:
    reply = agent(Squares(score=0.55), "always").process("find the boxes", [picture()])
    assert not reply.uncertain and reply.results[0].doubtful == ()


@pytest.mark.parametrize(("label", "doubtful"), [("shoe", 1), ("left shoe", 0)])
def test_words_with_a_side_are_not_held_against_a_mirror(label: str, doubtful: int) -> None:
    eyes, shown = Eyes(Squares(score=0.55, shy=True)), medium(picture()).frames[0]
    eyes.look([shown], [label])
    result = Result(0, eyes.pool(shown).detections([0, 1], 0.9, {}))
    assert len(disagreeing(eyes, shown, result, "always")) == doubtful


def test_a_large_picture_is_looked_at_smaller_and_answered_in_its_own_pixels() -> None:
    engine, image = Squares(), picture(2400, 4000)
    reply = agent(engine).process("how large are the boxes in pixels?", [image])
    assert max(engine.sizes[0]) == 2048
    session = agent(engine).session()
    result = session.ask("find the boxes", [image]).results[0]
    found = result.detections
    assert found.masks.shape[1:] == (2400, 4000)
    truth = image[..., 0] > 200
    union = found.masks.any(0)
    assert (union & truth).sum() / (union | truth).sum() > 0.99
    assert np.allclose(sorted(found.boxes[:, 0]), [400, 2400], atol=3)
    assert result.to_coco()[0]["segmentation"]["size"] == [2400, 4000]
    if isinstance(reply.answer, float):
        assert reply.answer == pytest.approx(truth.sum(), rel=0.01)


def test_pixel_sizes_in_a_question_are_pixels_of_the_original() -> None:
    image = picture(2400, 4000)  # widths 400 and 1200 there, half of that as looked at
    reply = agent(Squares()).process("find the boxes wider than 1000 pixels", [image])
    if reply.plan is not None and "1000 pixels" in str(reply.plan):
        assert len(reply.results[0].detections) == 1


def test_plot_draws_a_large_picture_as_it_was_looked_at() -> None:
    drawn = agent(Squares()).process("find the boxes", [picture(1500, 3000)]).plot()
    assert drawn.size == (2048, 1024)


def test_where_there_is_nothing_there_is_no_largest_of_it() -> None:
    empty = np.zeros((60, 80, 3), np.uint8)
    assert agent(Squares()).process("which chicken is the largest?", [empty]).text == "I found no chickens here."
    assert agent(Squares()).process("find the second largest chicken", [picture()]).status == "ok"
    assert agent(Squares()).process("which box is the largest?", [picture()]).text.startswith("Found the largest box.")


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [1, 2, 3], [float("nan")] * 4, [500, 500, 600, 600]])
def test_an_exemplar_that_is_no_box_is_one_line(box: list[float]) -> None:
    session = agent(Squares()).session()
    session.ask("find the boxes", [picture()])
    with pytest.raises(BadInput, match="box"):
        session.point_out(0, box)


def test_conversions_of_a_whole_reply() -> None:
    reply = agent(Squares()).process("find the boxes", [picture()])
    assert len(reply.to_supervision()[0]) == len(reply.to_coco()) == len(reply.to_pandas()) == 2


def test_embeddings_outlive_a_conversation_and_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Squares()
    one = agent(engine)
    for query in ("find the boxes", "how many squares?", "where are the boxes?"):
        one.process(query, [picture()])
    assert len(engine.sizes) == 1


def test_what_conversations_hold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam3_agent.execution.seeing.POOL_BYTES", 100_000)
    session = agent(Squares()).session()
    for shift in range(12):
        session.ask("find the boxes", [np.roll(picture(), shift, axis=0)])
    assert sum(eyes.nbytes for eyes in session._eyes.values()) <= 100_000
