"""HOTA, IDF1 and MOTA of tracks against exact truth, by TrackEval, on masks.

    scores = Scores(); scores.add(truth, found) for every frame; scores.result()

`truth` and `found` map a thing's or track's number to its mask. Similarity is mask IoU; HOTA is the mean over the
thresholds 0.05 to 0.95 (Luiten et al., IJCV 2021), IDF1 and MOTA are taken at 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Scores:
    """Collects one clip frame by frame."""

    def __init__(self) -> None:
        self.truth: list[list[int]] = []
        self.found: list[list[int]] = []
        self.similarity: list[np.ndarray] = []

    def add(self, truth: Mapping[int, np.ndarray], found: Mapping[int, np.ndarray]) -> None:
        """One frame: number -> bool mask (H, W)."""
        self.truth.append(list(truth))
        self.found.append(list(found))
        self.similarity.append(mask_iou(list(truth.values()), list(found.values())))

    def result(self) -> dict[str, float]:
        """HOTA, DetA, AssA, IDF1, MOTA in 0..1 and identity switches."""
        return evaluate([self])


def evaluate(clips: list[Scores]) -> dict[str, float]:
    """The scores of several clips together, pooled as TrackEval pools sequences."""
    import trackeval

    metrics: dict[str, Any] = {
        "hota": trackeval.metrics.HOTA(),
        "clear": trackeval.metrics.CLEAR({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
        "identity": trackeval.metrics.Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
    }
    out = {}
    for name, metric in metrics.items():
        rows = {str(at): metric.eval_sequence(_data(clip)) for at, clip in enumerate(clips)}
        out[name] = metric.combine_sequences(rows)
    mean = {key: float(np.mean(out["hota"][key])) for key in ("HOTA", "DetA", "AssA")}
    return {
        **mean,
        "IDF1": float(out["identity"]["IDF1"]),
        "MOTA": float(out["clear"]["MOTA"]),
        "switches": float(out["clear"]["IDSW"]),
    }


def mask_iou(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """(N, M) intersection over union of masks."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    from pycocotools import mask as coco

    def encoded(masks: list[np.ndarray]) -> Any:
        return coco.encode(np.asfortranarray(np.stack(masks, -1).astype(np.uint8)))

    return np.asarray(coco.iou(encoded(first), encoded(second), [0] * len(second))).reshape(len(first), len(second))


def _data(clip: Scores) -> dict[str, Any]:
    """A clip in the form that TrackEval's metrics take: ids renumbered from 0."""

    def renumbered(frames: list[list[int]]) -> tuple[list[np.ndarray], int]:
        known = {number: at for at, number in enumerate(sorted({n for frame in frames for n in frame}))}
        return [np.array([known[n] for n in frame], int) for frame in frames], len(known)

    (gt, gt_ids), (found, found_ids) = renumbered(clip.truth), renumbered(clip.found)
    return {
        "num_timesteps": len(gt),
        "gt_ids": gt,
        "tracker_ids": found,
        "similarity_scores": clip.similarity,
        "num_gt_ids": gt_ids,
        "num_tracker_ids": found_ids,
        "num_gt_dets": sum(map(len, gt)),
        "num_tracker_dets": sum(map(len, found)),
    }
