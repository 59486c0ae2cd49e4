"""Pairs of a run as pictures: ground truth, baseline and candidate side by side.

Reads the validation pictures and the masks that `baseline` and `evaluate` wrote; used by the page and the
notebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sam3.eval.predictions import Prediction, Predictions, read_predictions
from sam3.eval.saco import GroundTruth, read_ground_truth
from sam3.images import read_image, resolve_inside
from sam3.types import UInt8Array
from sam3_agent.finished_run import FinishedRun, needs_stage
from sam3_agent.report.outlines import AFTER, BEFORE, TRUTH, draw_masks


@dataclass(frozen=True)
class Album:
    """The pictures of a run; files are read when first needed.

    Raises (from every method): BadInput, when a picture or a file of masks is missing or cannot be read.
    """

    run: FinishedRun

    @cached_property
    def truth(self) -> GroundTruth:
        """The validation pairs with their masks."""
        path = self.run.places.splits / "val.json"
        if not path.is_file():
            raise needs_stage(path, "split")
        return read_ground_truth(path)

    @cached_property
    def before(self) -> Predictions:
        """The baseline's masks."""
        return self._predictions("baseline")

    @cached_property
    def after(self) -> Predictions:
        """The candidate's masks."""
        return self._predictions("evaluate")

    def picture(self, image_id: int) -> UInt8Array:
        """The picture of a pair as it is."""
        return read_image(resolve_inside(self.run.places.images, self.truth.pairs[image_id].file_name))

    def ground_truth(self, image_id: int) -> UInt8Array:
        """The picture with what is really there."""
        masks = [_mask(annotation.rle) for annotation in self.truth.instances(image_id)]
        return draw_masks(self.picture(image_id), masks, TRUTH)

    def baseline(self, image_id: int) -> UInt8Array:
        """The picture with what the baseline found."""
        rows = self._counted(self.before, image_id, self.run.baseline.score_threshold)
        return draw_masks(self.picture(image_id), [_mask(r.rle) for r in rows], BEFORE, labels=_scores(rows))

    def candidate(self, image_id: int) -> UInt8Array:
        """The picture with what the candidate found."""
        rows = self._counted(self.after, image_id, self.run.candidate.score_threshold)
        return draw_masks(self.picture(image_id), [_mask(r.rle) for r in rows], AFTER, labels=_scores(rows))

    def _predictions(self, stage: str) -> Predictions:
        path = self.run.places.reports / f"{stage}_predictions.json"
        if not path.is_file():
            raise needs_stage(path, stage)
        return read_predictions(path, self.truth.pairs)

    def _counted(self, predictions: Predictions, image_id: int, threshold: float) -> list[Prediction]:
        rows = [row for row in predictions.of(image_id) if row.score >= threshold]
        return sorted(rows, key=lambda row: row.score)  # the surest is painted last


def _mask(rle: object) -> NDArray[np.bool_]:
    from pycocotools import mask as coco_mask

    return np.asarray(coco_mask.decode(rle)).astype(bool)


def _scores(rows: list[Prediction]) -> list[str]:
    return [f"{row.score:.2f}" for row in rows]
