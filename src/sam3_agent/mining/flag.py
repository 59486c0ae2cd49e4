"""What makes a picture worth a person's time: the signals of doubt of one look at it.

    looker = Looker(engine, "chicken", second=other_engine)
    [row] = looker([image])          # JSON-ready: presence, instances with masks, stability, vector ...
    why = reasons(row, settings)     # ["presence", "mask", ...]; empty: the model seems sure and consistent

Signals: presence near one half; masks that change when the picture is mirrored or the mask threshold moves (the
stability score of SAM, Kirillov et al. 2023, section 3: IoU of the mask at two thresholds); masks that do not fill the
box the model itself predicts; another version of the model that sees something else; a thumb down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.pixels import sigmoid
from sam3.types import Detections, Engine, Prompt, UInt8Array
from sam3_agent.etl.likeness import difference_hash
from sam3_agent.mining.settings import MineSettings
from sam3_agent.mining.vectors import describe

SHIFT = 1.0  # logits above and below zero at which a mask is cut for its stability
MATCH = 0.5  # IoU from which two instances are one


@dataclass
class Looker:
    """Looks at pictures and says how far the model is to be believed.

    Attributes:
        engine: the model in use. concept: what to look for. second: another version of it.
    """

    engine: Engine
    concept: str
    second: Engine | None = None

    def __call__(self, images: Sequence[UInt8Array]) -> list[dict[str, Any]]:
        """Rows for uint8 RGB pictures (H, W, 3), in their order."""
        flipped = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        embeddings = self.engine.encode([*images, *flipped])
        found, cuts = _ground(self.engine, embeddings, [Prompt(self.concept)] * len(embeddings))
        others: Sequence[Detections | None] = [None] * len(images)
        if self.second is not None:
            others = self.second.ground(self.second.encode(list(images)), [Prompt(self.concept)] * len(images))
        count, rows = len(images), []
        for at, image in enumerate(images):
            mirror, seen = found[count + at], found[at]
            instances = _instances(seen, mirror, cuts[at])
            rows.append(
                {
                    "presence": _short(seen.presence),
                    "mirrored": _short(mirror.presence),
                    "mirror_agreement": _short(agreement(seen.masks, mirror.masks[:, :, ::-1])),
                    "instances": instances,
                    "versions": None if others[at] is None else _short(_disagreement(seen, others[at])),
                    "dhash": _dhash(image),
                    "vector": [round(float(value), 4) for value in describe(embeddings[at], image)],
                }
            )
        return rows


def _ground(
    engine: Engine, embeddings: Sequence[Any], prompts: Sequence[Prompt]
) -> tuple[list[Detections], list[list[float | None]]]:
    """Detections, and for each instance the IoU of its mask at two thresholds (None where an engine keeps logits)."""
    if not hasattr(engine, "answer"):
        found = engine.ground(embeddings, prompts)
        return found, [[None] * len(one) for one in found]
    answer = engine.answer(embeddings, prompts)
    found = answer.detections(engine.threshold)  # type: ignore[attr-defined]
    scores = sigmoid(answer.logits.astype(np.float64)) * sigmoid(answer.presence.astype(np.float64))[:, None]
    pairs = [at for at, one in enumerate(found) if len(one)]
    queries = [np.array([np.abs(scores[at] - score).argmin() for score in found[at].scores]) for at in pairs]
    cuts: list[list[float | None]] = [[] for _ in found]
    if pairs:
        for at, drawn in zip(pairs, answer.draw(pairs, [np.sort(query) for query in queries]), strict=True):
            order = np.argsort(np.argsort(queries[pairs.index(at)]))  # drawn in the order of queries, not of scores
            cuts[at] = [_stability(drawn[place]) for place in order]
    return found, cuts


def _stability(logits: NDArray[Any]) -> float:
    """IoU of the mask `SHIFT` above and `SHIFT` below the threshold; one contains the other."""
    below = np.count_nonzero(logits > -SHIFT)
    return float(np.count_nonzero(logits > SHIFT) / below) if below else 0.0


def _instances(seen: Detections, mirror: Detections, cuts: Sequence[float | None]) -> list[dict[str, Any]]:
    back = mask_iou(seen.masks, mirror.masks[:, :, ::-1])
    rows = []
    for at, rle in enumerate(seen.to_rle()):
        cut = cuts[at]
        rows.append(
            {
                "score": _short(seen.scores[at]),
                "box": [round(float(edge), 1) for edge in seen.boxes[at]],
                "mask": rle,
                "flip": _short(back[at].max(initial=0.0)),
                "cut": None if cut is None else _short(cut),
                "box_iou": _short(_box_agreement(seen.masks[at], seen.boxes[at])),
            }
        )
    return rows


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, M) IoU of every mask in (N, H, W) with every one in (M, H, W)."""
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    left, right = a.reshape(len(a), -1).astype(np.float32), b.reshape(len(b), -1).astype(np.float32)
    shared = (left @ right.T).astype(np.float64)
    union = left.sum(1)[:, None] + right.sum(1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def agreement(a: NDArray[np.bool_], b: NDArray[np.bool_], match: float = MATCH) -> float:
    """F1 of two sets of masks matched one to one at `match`, times the mean IoU of the matches (panoptic quality,
    Kirillov et al. 2019); 1 where both are empty, 0 where one is.
    """
    if not len(a) and not len(b):
        return 1.0
    from scipy.optimize import linear_sum_assignment

    iou = mask_iou(a, b)
    left, right = linear_sum_assignment(-iou)
    matched = iou[left, right]
    return float(matched[matched >= match].sum() / ((len(a) + len(b)) / 2))


def _disagreement(seen: Detections, other: Detections | None) -> float:
    """0 where two versions see the same, 1 where they share nothing or one is sure of what the other denies."""
    assert other is not None
    return max(1.0 - agreement(seen.masks, other.masks), abs(float(seen.presence) - float(other.presence)))


def _box_agreement(mask: NDArray[np.bool_], box: NDArray[Any]) -> float:
    """IoU of a predicted box with the box around the predicted mask, xyxy pixels."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return 0.0
    tight = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], float)
    top, bottom = np.maximum(tight[:2], box[:2]), np.minimum(tight[2:], box[2:])
    shared = float(np.clip(bottom - top, 0, None).prod())
    union = float((tight[2:] - tight[:2]).prod() + np.clip(box[2:] - box[:2], 0, None).prod()) - shared
    return shared / union if union > 0 else 0.0


def quality(row: dict[str, Any]) -> float:
    """The mask quality of the worst believed instance, in 0..1; 1 where there is none."""
    return min(map(stability, row["instances"]), default=1.0)


def stability(instance: dict[str, Any]) -> float:
    """Of one instance's mask under a flip and, where an engine tells, two thresholds, in 0..1."""
    return min(float(instance["flip"]), 1.0 if instance["cut"] is None else float(instance["cut"]))


def box_quality(row: dict[str, Any]) -> float:
    """Agreement of mask and box, of the instance where it is worst."""
    return min((one["box_iou"] for one in row["instances"]), default=1.0)


def reasons(row: dict[str, Any], settings: MineSettings) -> list[str]:
    """Which signals flag a picture: presence, mask, box, versions, thumbs-down."""
    low, high = settings.uncertain
    found = {
        "presence": low <= row["presence"] <= high,
        "mask": quality(row) < settings.stable,
        "box": box_quality(row) < settings.box_agreement,
        "versions": (row["versions"] or 0.0) > settings.versions,
        "thumbs-down": bool(row.get("feedback")),
    }
    return [name for name, flagged in found.items() if flagged]


def _dhash(image: UInt8Array) -> int | None:
    import cv2

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return difference_hash(grey.astype(np.int16))


def _short(value: Any) -> float:
    return round(float(value), 4)
