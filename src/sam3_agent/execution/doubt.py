"""What the engine is not sure of: a presence between 0.4 and 0.6, or a mask that changes when the picture is mirrored.

A person's eye finds the same dog in a mirror. Where the engine does not, its mask is marked "not sure" and offered for
feedback. The second look costs one more encode, so by default only things with a score below `WEAK` get one. Called
by `answers.Executor` after the boxes are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sam3.types import BoolArray
from sam3_agent.execution.media import Picture
from sam3_agent.execution.outcome import Result
from sam3_agent.execution.pool import box_iou
from sam3_agent.execution.seeing import Eyes, mirrored

Mirror = Literal["never", "weak", "always"]
WEAK = 0.65  # scores below this are looked at twice
AGREE = 0.5  # intersection over union of a mask and its mirror image's mask
SIDED = frozenset(["left", "right", "leftmost", "rightmost"])  # words that mean something else in a mirror


def disagreeing(eyes: Eyes, picture: Picture, result: Result, mode: Mirror) -> tuple[int, ...]:
    """Positions in `result.seen` of the things that the mirrored picture does not show alike.

    Args:
        eyes: what the conversation has seen.
        picture: the picture of `result`, which is not a clip.
        mode: "weak" looks again only at things with a score below `WEAK`.
    """
    found = result.seen
    asked = [
        at
        for at in range(len(found))
        if (mode == "always" or (mode == "weak" and found.scores[at] < WEAK))
        and not SIDED & set(found.labels[at].split())
    ]
    if not asked:
        return ()
    other = mirrored(picture)
    eyes.look([other], list(dict.fromkeys(found.labels[at] for at in asked)))
    pool, width = eyes.pool(other), found.masks.shape[2]
    out = []
    for at in asked:
        x0, y0, x1, y1 = found.boxes[at]
        box, mask = (width - x1, y0, width - x0, y1), found.masks[at][:, ::-1]
        near = [thing.mask for thing in pool.things if box_iou(thing.box, box) > 0.3]
        if not any(_overlap(mask, one) >= AGREE for one in near):
            out.append(at)
    return tuple(out)


def of_unsure_phrases(result: Result, unsure: Sequence[str]) -> tuple[int, ...]:
    """Positions of the things whose phrase the engine was of two minds about."""
    return tuple(at for at, label in enumerate(result.seen.labels) if label in unsure)


def _overlap(first: BoolArray, second: BoolArray) -> float:
    return float(np.count_nonzero(first & second)) / max(float(np.count_nonzero(first | second)), 1.0)
