"""cgF1: THE metric. Nothing else in the project computes an F1, an MCC or an IoU.

Definition (SA-Co's published evaluator, reproduced to 1e-9):
  pairs      exhaustively annotated in every ground-truth file; crowds are no instances
  detections score >= 0.5 and of a category of the ground-truth file; no NMS, no cap
  matching   one Hungarian assignment a pair on -IoU; TP(t): matched with IoU >= t, t = .50, .55, ... .95
  F1         P = tp/(tp+fp+1e-4), R = tp/(tp+fn+1e-4), F1 = 2PR/(P+R+1e-4)
  pmF1(t)    F1 of the sums over positive pairs (detections on negative pairs do not count; misses do)
  IL_MCC     Matthews correlation of "the phrase is in the picture" with "something was detected", over pairs
  cgF1       mean over t of pmF1(t) * IL_MCC, from -1 to 1; papers print it x100
  annotators several files: a pair uses the one with the highest mean F1, the first on ties; a true
             negative always wins
Two consequences: without negatives cgF1 is 0, and a perfect score is slightly below 1.

Try it: `sam3-agent score gt.json --pred pred.json`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.eval.figures import KINDS, Figures, Floats, Sums, f1
from sam3.eval.matching import SCORE_THRESHOLD, THRESHOLDS, PairOverlap, PairScore, match, pair_overlap
from sam3.eval.predictions import Predictions, check_same_unit, read_predictions
from sam3.eval.saco import GroundTruth, IouKind, Pair, read_ground_truth


@dataclass(frozen=True)
class CgF1:
    """The metric over a set of pairs, with the pairs it was computed from."""

    iou: IouKind
    pairs: tuple[PairScore, ...]
    warnings: tuple[str, ...] = field(default=())

    @cached_property
    def rows(self) -> Sums:
        """One row a pair."""
        return Sums.of_pairs(self.pairs)

    @cached_property
    def sums(self) -> Sums:
        """Over all pairs."""
        return self.rows.total()

    @cached_property
    def figures(self) -> Figures:
        """Over all pairs."""
        return self.sums.figures()

    @property
    def cgf1(self) -> float:
        """Mean over thresholds of pmF1 * IL_MCC."""
        return float(self.figures.cgf1)

    @property
    def pmf1(self) -> float:
        """Mean over thresholds of the positive micro F1."""
        return float(self.figures.pmf1)

    @property
    def il_mcc(self) -> float:
        """Image-level Matthews correlation."""
        return float(self.figures.il_mcc)

    def counts(self) -> dict[str, int]:
        """Pairs of each kind, by the published names."""
        return {f"IL_{kind}": int(n) for kind, n in zip(KINDS, self.sums.kinds, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """The published evaluator's figures under its names; `warnings` is there only when there are any."""
        sums, figures = self.sums, self.figures
        per_threshold = {
            "TPs": [int(v) for v in sums.tp],
            "FPs": [int(v) for v in sums.fp],
            "positive_micro_FPs": [int(v) for v in sums.positive_fp],
            "FNs": [int(v) for v in sums.fn],
            "positive_micro_F1": figures.positive_micro_f1.tolist(),
            "cgF1": figures.cgf1_per_threshold.tolist(),
        }
        result: dict[str, Any] = {
            "evaluated_pairs": len(self.pairs),
            "image_level_counts": self.counts(),
            "per_threshold": per_threshold,
            "summary": self._summary(),
        }
        if self.warnings:
            result["warnings"] = list(self.warnings)
        return result

    def _summary(self) -> dict[str, float]:
        figures, prefix = self.figures, f"cgF1_eval_{self.iou}_"
        curves = {
            "cgF1": figures.cgf1_per_threshold,
            "precision": figures.precision,
            "recall": figures.recall,
            "F1": figures.f1,
            "positive_macro_F1": figures.positive_macro_f1,
            "positive_micro_F1": figures.positive_micro_f1,
            "positive_micro_precision": figures.positive_micro_precision,
        }
        summary = {prefix + name: _mean(curve) for name, curve in curves.items()}
        for name in ("precision", "recall", "f1", "fpr", "mcc"):
            shown = name if name in ("precision", "recall") else name.upper()
            summary[f"{prefix}IL_{shown}"] = float(getattr(figures, f"il_{name}"))
        for threshold in (0.5, 0.75):
            at = threshold == THRESHOLDS
            summary |= {f"{prefix}{name}@{threshold}": _mean(curve[at]) for name, curve in curves.items()}
        return summary


def _mean(curve: Floats) -> float:
    """The mean over thresholds; -1, as published, when the figure does not exist (NaN)."""
    defined = curve[curve > -1]
    return float(defined.mean()) if len(defined) else -1.0


def evaluated_pairs(ground_truths: Sequence[GroundTruth]) -> list[Pair]:
    """The pairs that count: exhaustive in every file, in the order of the first.

    Raises:
        BadInput: no pair is left, or a file lacks a pair of the first one.
    """
    first, *others = ground_truths
    pairs = []
    for image_id in first.evaluable:
        for other in others:
            if image_id not in other.pairs:
                raise BadInput(f"{other.path}: pair {image_id} of {first.path} is missing; add it.")
        if all(other.pairs[image_id].exhaustive for other in others):
            pairs.append(first.pairs[image_id])
    if not pairs:
        names = ", ".join(str(truth.path) for truth in ground_truths)
        raise BadInput(
            f"{names}: no pair can be evaluated; images needs rows with is_instance_exhaustive 1"
            f"{' in every file' if others else ''}.",
            field="is_instance_exhaustive",
        )
    return pairs


def overlaps(
    ground_truths: Sequence[GroundTruth],
    predictions: Predictions,
    iou: IouKind,
    *,
    min_score: float = SCORE_THRESHOLD,
) -> list[list[PairOverlap]]:
    """For every evaluated pair, one overlap an annotator; detections below `min_score` are left out."""
    result = []
    for pair in evaluated_pairs(ground_truths):
        detections = [p for p in predictions.of(pair.image_id) if p.score >= min_score]
        detections.sort(key=lambda p: p.category_id)  # stable: the published order, which breaks ties
        result.append(
            [
                pair_overlap(
                    pair.image_id,
                    [p for p in detections if p.category_id in truth.categories],
                    truth.instances(pair.image_id),
                    iou,
                )
                for truth in ground_truths
            ]
        )
    return result


def score_overlaps(
    by_pair: Sequence[Sequence[PairOverlap]], iou: IouKind, *, threshold: float = SCORE_THRESHOLD
) -> CgF1:
    """Match every pair at a score threshold and sum up."""
    pairs = tuple(_kindest([match(overlap, threshold) for overlap in annotators]) for annotators in by_pair)
    return CgF1(iou, pairs, _warnings(pairs))


def score_files(
    ground_truth: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    predictions: str | os.PathLike[str],
    iou: IouKind = "segm",
) -> CgF1:
    """Read, check and score; several ground-truth files are several annotators.

    Raises:
        BadInput: naming file and row; see `read_ground_truth` and `read_predictions`.
    """
    paths = [ground_truth] if isinstance(ground_truth, str | os.PathLike) else list(ground_truth)
    truths = [read_ground_truth(path, iou) for path in paths]
    known = {image_id: pair for truth in reversed(truths) for image_id, pair in truth.pairs.items()}
    _check_sizes(truths)
    predicted = read_predictions(Path(predictions), known, iou)
    if iou == "bbox":
        for truth in truths:
            check_same_unit(truth, predicted)
    return score_overlaps(overlaps(truths, predicted, iou), iou)


def _check_sizes(truths: Sequence[GroundTruth]) -> None:
    for other in truths[1:]:
        for image_id, pair in other.pairs.items():
            same = truths[0].pairs.get(image_id, pair)
            if (pair.height, pair.width) != (same.height, same.width):
                raise BadInput(
                    f"{other.path}: pair {image_id} is {pair.height} x {pair.width} pixels, "
                    f"but {same.height} x {same.width} in {truths[0].path}. Annotators must share pictures.",
                )


def _kindest(scores: Sequence[PairScore]) -> PairScore:
    """The annotator who agrees most with the detections."""
    best = scores[0]
    for score in scores[1:]:
        if score.kind == "TN" or (best.kind != "TN" and mean_f1(score) > mean_f1(best)):
            best = score
    return best


def mean_f1(score: PairScore) -> float:
    """F1 of one pair, averaged over thresholds; what annotators are compared by."""
    return float(f1(score.tp, score.fp, score.fn).mean())


def _warnings(pairs: Sequence[PairScore]) -> tuple[str, ...]:
    positives = sum(pair.annotations > 0 for pair in pairs)
    if positives == len(pairs):
        return (
            "no negative pairs: nobody can tell whether the model knows when the phrase is absent, so "
            "IL_MCC and cgF1 are 0 whatever the masks look like. Add pairs that do not show the phrase.",
        )
    if positives == 0:
        return ("no positive pairs: IL_MCC and with it cgF1 are 0. Add pairs that show the phrase.",)
    return ()
