"""The kind of mistake in a pair, in the words of the report.

  missed         an annotation that no detection covers
  false alarm    a detection on nothing that was annotated
  bleeding       the right object, but the mask spills out of it
  fragmentation  only parts of the object, in one detection or several, or a mask in pieces
  ghosting       a second detection on an object that has one

Worked out from masks after matching; the metric does not depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sam3.eval.masks import Rle, mask_iou, share_inside
from sam3.eval.matching import PairScore
from sam3.eval.predictions import Prediction
from sam3.eval.saco import Annotation

Mistake = Literal["missed", "false alarm", "bleeding", "fragmentation", "ghosting"]
ORDER: tuple[Mistake, ...] = ("missed", "false alarm", "bleeding", "fragmentation", "ghosting")

HIT = 0.5  # IoU from which a detection is on the object
SPILL = 0.75  # share of the mask that must lie in the object, or it bleeds
ONE_PIECE = 0.8  # share of a mask's pixels in its largest piece, or it is in pieces


def mistakes(
    score: PairScore, annotations: Sequence[Annotation], predictions: Sequence[Prediction]
) -> Counter[Mistake]:
    """Count the mistakes of one pair.

    Args:
        score: the pair, matched.
        annotations: the ones it was matched against, masks read.
        predictions: all detections of the pair; those without a part in `score` (too low a score) must be
            left out by the caller.
    """
    found: Counter[Mistake] = Counter()
    if not annotations or not predictions:
        found["missed"] += len(annotations)
        found["false alarm"] += len(predictions)
        return +found
    detected, annotated = [p.rle for p in predictions], [a.rle for a in annotations]
    ious, inside = mask_iou(detected, annotated), share_inside(detected, annotated)
    covered = share_inside(annotated, detected).T

    row_of = {p.row: i for i, p in enumerate(predictions)}
    match_of = {m.annotation_id: row_of[m.row] for m in score.matches}
    explained: set[int] = set()
    for column, annotation in enumerate(annotations):
        matched = match_of.get(annotation.id)
        mine = {int(i) for i in np.flatnonzero(inside[:, column] >= HIT)} - explained
        kind = _of_object(matched, mine, ious[:, column], inside[:, column], covered[:, column])
        if kind is None and matched is not None and _in_pieces(predictions[matched].rle, annotation.rle):
            kind = "fragmentation"
        if kind is not None:
            found[kind] += 1
        if matched is not None and (ious[matched, column] >= HIT or kind == "bleeding"):
            explained.add(matched)
        if kind == "fragmentation":
            explained |= mine
    for extra in set(range(len(predictions))) - explained:
        on_object = inside[extra].max() >= HIT or ious[extra].max() >= HIT
        hit_before = _hit(int(inside[extra].argmax()), annotations, match_of, ious)
        found["ghosting" if on_object and hit_before else "false alarm"] += 1
    return +found


def headline(found: Counter[Any]) -> str:
    """The most frequent mistake, the graver of equals; "ok" when there is none."""
    return max(ORDER, key=lambda kind: (found[kind], -ORDER.index(kind))) if found else "ok"


def _of_object(
    matched: int | None, mine: set[int], iou: NDArray[Any], inside: NDArray[Any], covered: NDArray[Any]
) -> Mistake | None:
    """What happened to one annotated object; None when it was found well enough."""
    if matched is not None and iou[matched] >= HIT:
        return "bleeding" if inside[matched] < SPILL else None
    if matched is not None and inside[matched] < SPILL and covered[matched] >= HIT:
        return "bleeding"
    return "fragmentation" if mine else "missed"


def _hit(column: int, annotations: Sequence[Annotation], match_of: dict[int, int], ious: NDArray[Any]) -> bool:
    matched = match_of.get(annotations[column].id)
    return matched is not None and bool(ious[matched, column] >= HIT)


def _in_pieces(detected: Rle | None, annotated: Rle | None) -> bool:
    """Whether a mask falls apart where its object does not."""
    assert detected is not None and annotated is not None  # masks are read before mistakes are looked for
    return _largest_share(detected) < ONE_PIECE <= _largest_share(annotated)


def _largest_share(rle: Rle) -> float:
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(coco_mask.decode(rle), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if len(areas) else 1.0
