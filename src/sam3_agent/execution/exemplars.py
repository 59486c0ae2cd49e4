"""A thing that was missed, pointed out with a box: "this is one, too". The engine looks for what looks like it.

An exemplar belongs to a picture and to a phrase; from then on the phrase means what the words and the box find
together, in every later turn. Called by `Session.point_out` and before each plan about such a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam3.errors import BadInput
from sam3.types import Detections, Prompt
from sam3_agent.execution.media import Medium, Picture
from sam3_agent.execution.outcome import Result
from sam3_agent.execution.pool import box_iou
from sam3_agent.execution.seeing import Eyes
from sam3_agent.understanding.concepts import positive_phrases
from sam3_agent.understanding.plan import Concept, Plan

SHOWN = 0.3  # a detection whose box agrees at least so much with the exemplar's shows it


@dataclass(frozen=True)
class Exemplar:
    """A box that shows what a phrase means.

    Attributes:
        media: number of the picture in the conversation.
        box: xyxy, pixels of the picture as it is looked at.
        phrase: what it shows.
    """

    media: int
    box: tuple[float, float, float, float]
    phrase: str

    @classmethod
    def of(cls, number: int, box: Sequence[float], concept: Concept, picture: Picture) -> Exemplar:
        """An exemplar from a box in pixels of the picture as it was handed in.

        Raises:
            BadInput: four finite numbers that make a box inside the picture are expected.
        """
        values = np.asarray(list(box), float) / picture.scale
        height, width = picture.pixels.shape[:2]
        if values.shape != (4,) or not np.isfinite(values).all():
            raise BadInput("box: expected four numbers, x0 y0 x1 y1 in pixels.", field="box")
        x0, y0, x1, y1 = (float(value) for value in np.clip(values, 0, [width, height, width, height]))
        if x1 - x0 < 2 or y1 - y0 < 2:
            raise BadInput(f"box: empty, or outside the picture of {width} x {height} pixels.", field="box")
        phrases = positive_phrases(concept)
        return cls(number, (x0, y0, x1, y1), phrases[0].text if phrases else "object")

    @property
    def part(self) -> tuple[int | float | str, ...]:
        """For cache keys."""
        return (self.media, *self.box, self.phrase)

    def shown_in(self, results: Sequence[Result]) -> bool:
        """Whether something that was found is what the box shows."""
        return any(_shows(result.seen, self.box) for result in results if result.media == self.media)


def with_exemplars(eyes: Eyes, media: Sequence[Medium], plan: Plan, exemplars: Sequence[Exemplar]) -> None:
    """Look for what the exemplars of a plan's pictures show, once each."""
    for one in exemplars:
        if one.media not in plan.scope.numbers:
            continue
        picture = media[one.media].frames[0]
        key = f"{one.phrase} like {one.box}"
        eyes.look([picture], [one.phrase])
        pool = eyes.pool(picture)
        if key in pool.found:
            continue
        boxes, labels = np.array([one.box], np.float32), np.ones(1, np.int64)
        [found] = eyes.ground([picture], [Prompt(one.phrase, boxes, labels)])
        if not _shows(found, one.box):  # the words may be what stands in the way
            [found] = eyes.ground([picture], [Prompt(None, boxes, labels)])
        pool.extend(one.phrase, key, found, eyes.threshold)


def _shows(found: Detections, box: tuple[float, ...]) -> bool:
    return any(box_iou(tuple(map(float, one)), box) >= SHOWN for one in found.boxes)
