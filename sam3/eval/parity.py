"""Do two engines say the same? Features, boxes, masks and presence of the same images and phrases, and cgF1.

    parity = compare(load_engine("torch"), load_engine("jax"), asked)
    reasons = judge(parity, exact=True)

Where both engines show all their queries (`answer`), these are compared number by number; what callers see
(`ground`) is compared for any two. `sam3-agent verify` is the command line; `sam3-agent deploy` asks a served model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from sam3.errors import BadInput
from sam3.eval.cgf1 import evaluated_pairs, overlaps, score_overlaps
from sam3.eval.grounding import ground_pairs
from sam3.eval.predictions import parse_predictions
from sam3.eval.rounding import own_movement, unexplained
from sam3.eval.saco import GroundTruth
from sam3.images import read_image, resolve_inside
from sam3.types import Detections, Engine, Prompt, UInt8Array

MARGIN = 0.05  # an instance this near the threshold may be listed by one engine only
DRAWN = 4  # pairs of which the masks of all queries are compared
Asked = tuple[UInt8Array, Sequence[Prompt]]


@dataclass(frozen=True)
class Limits:
    """What still counts as the same.

    Attributes:
        difference: float32 engines: largest difference of a logit, box coordinate (share of the image) or presence
            logit; of a mask logit, as a share of the largest one where that is above 1. A number that moves by more
            than that in the reference itself when its features are rounded otherwise (`sam3.eval.rounding`) may differ
            by as much.
        cosine: of features; half-precision attention gone wrong has been seen at 0.06 to 0.09.
        mask_iou: mean. cgf1: absolute difference.
        presence: of probabilities, also where not exact; None: not judged.
    """

    difference: float = 1e-4
    cosine: float = 0.99
    mask_iou: float = 0.99
    cgf1: float = 0.005
    presence: float | None = None


@dataclass
class Parity:
    """How far apart two engines are.

    Attributes:
        pairs: compared. instances: found by either, of which `unmatched` only by one.
        cosine: per image, of the level that the DETR sees; empty where an engine does not show it.
        difference: largest absolute difference by output, as in `Limits`. Where an engine does not show its queries, of
            what callers see: presence and scores as probabilities, boxes as a share of the longer side.
        beyond_rounding: as `difference`, without numbers that rounding alone moves as far in the reference.
        box_px: per matched instance, largest coordinate difference in pixels.
        mask_iou: per matched instance; 0 for unmatched ones.
        presence: per pair, absolute difference of probabilities.
        cgf1: of the reference and of the other on a validation file; None when none was given.
    """

    pairs: int = 0
    unmatched: int = 0
    cosine: list[float] = field(default_factory=list)
    difference: dict[str, float] = field(default_factory=dict)
    beyond_rounding: dict[str, float] = field(default_factory=dict)
    box_px: list[float] = field(default_factory=list)
    mask_iou: list[float] = field(default_factory=list)
    presence: list[float] = field(default_factory=list)
    cgf1: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Means, worst cases and counts."""
        return {
            "pairs": self.pairs,
            "instances": len(self.mask_iou),
            "unmatched": self.unmatched,
            "features_cosine": _spread(self.cosine, min),
            "max_difference": _plain(self.difference) or None,
            "beyond_rounding": _plain(self.beyond_rounding) or None,
            "box_error_px": _spread(self.box_px, max),
            "mask_iou": _spread(self.mask_iou, min),
            "presence_difference": _spread(self.presence, max),
            "cgF1": None if self.cgf1 is None else dict(zip(("reference", "engine"), self.cgf1, strict=True)),
        }


def _spread(values: Sequence[float], worst: Any) -> dict[str, Any] | None:
    return _plain({"mean": float(np.mean(values)), "worst": float(worst(values))}) if len(values) else None


def _plain(figures: Mapping[str, float]) -> dict[str, Any]:
    """Figures as JSON has them, which has no infinity and no NaN: those as words."""
    return {name: value if np.isfinite(value) else str(value) for name, value in figures.items()}


def compare(reference: Engine, other: Engine, asked: Sequence[Asked], *, threshold: float = 0.5) -> Parity:
    """Ask both engines the same.

    Args:
        asked: images with their prompts; all prompts of an image go in one batch.
        threshold: of what callers see. Both engines are set to it, less a margin, while this runs.
    """
    parity = Parity()
    before = [engine.threshold for engine in (reference, other)]  # type: ignore[attr-defined]
    shown = all(hasattr(engine, name) for engine in (reference, other) for name in ("answer", "features"))
    try:
        reference.threshold = other.threshold = max(threshold - MARGIN, 0.0)  # type: ignore[attr-defined]
        for image, prompts in asked:
            one, two = reference.encode([image])[0], other.encode([image])[0]
            if shown:
                parity.cosine.append(_cosine(reference.features(one), other.features(two)))  # type: ignore[attr-defined]
                _queries(parity, reference, other, (one, two), prompts)
            pairs = zip(
                reference.ground([one] * len(prompts), prompts),
                other.ground([two] * len(prompts), prompts),
                strict=True,
            )
            for left, right in pairs:
                _detections(parity, left, right, threshold, alone=not shown)
            parity.pairs += len(prompts)
    finally:
        reference.threshold, other.threshold = before  # type: ignore[attr-defined]
    return parity


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return float(a @ b / max(float(np.linalg.norm(a)) * float(np.linalg.norm(b)), 1e-12))


def _queries(parity: Parity, reference: Any, other: Any, encoded: tuple[Any, Any], prompts: Sequence[Prompt]) -> None:
    """Raw outputs, query by query; the masks of all queries only of the first pairs, for they are large."""
    one, two = [e.answer([x] * len(prompts), prompts) for e, x in zip((reference, other), encoded, strict=True)]
    scale = max(1.0, float(np.abs(one.masks()).max())) if parity.pairs < DRAWN else None

    def read(answer: Any) -> dict[str, np.ndarray]:
        numbers = {name: getattr(answer, name) for name in ("logits", "boxes", "presence")}
        return numbers if scale is None else {**numbers, "masks": answer.masks() / scale}

    left, right = read(one), read(two)
    apart = {name: np.abs(left[name] - right[name]) for name in left}
    far = [name for name, values in apart.items() if not values.max() <= Limits().difference]
    explains = far and hasattr(reference, "shaken")
    movement = own_movement(reference, encoded[0], prompts, read) if explains else {}
    for name, values in apart.items():
        _note(parity.difference, name, values)
        _note(parity.beyond_rounding, name, unexplained(values, movement[name]) if name in movement else values)


def _note(kept: dict[str, float], name: str, differences: Any) -> None:
    """Keep the largest difference of an output; a NaN anywhere must not pass as small."""
    worst = float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
    kept[name] = max(kept.get(name, 0.0), worst)


def _detections(parity: Parity, one: Detections, two: Detections, threshold: float, *, alone: bool) -> None:
    """What callers see of one pair; `alone`: nothing else of it is compared, so its numbers are."""
    parity.presence.append(abs(one.presence - two.presence))
    if alone:
        _note(parity.difference, "presence", one.presence - two.presence)
    pixels = int(np.prod(one.masks.shape[1:]))
    a, b = (found.masks.reshape(len(found), pixels).astype(np.float32) for found in (one, two))
    both = a @ b.T
    iou = both / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - both, 1)
    rows, columns = linear_sum_assignment(-iou)
    paired = [(i, j) for i, j in zip(rows, columns, strict=True) if iou[i, j] > 0]
    for i, j in paired:
        if max(one.scores[i], two.scores[j]) >= threshold:
            parity.mask_iou.append(float(iou[i, j]))
            parity.box_px.append(float(np.abs(one.boxes[i] - two.boxes[j]).max()))
            if alone:
                _note(parity.difference, "scores", one.scores[i] - two.scores[j])
                longer = max(one.masks.shape[1], one.masks.shape[2])
                _note(parity.difference, "boxes", (one.boxes[i] - two.boxes[j]) / longer)
    for found, held in ((one, {i for i, _ in paired}), (two, {j for _, j in paired})):
        lonely = sum(float(score) >= threshold and at not in held for at, score in enumerate(found.scores))
        parity.unmatched += lonely
        parity.mask_iou += [0.0] * lonely


def cgf1_of(engine: Engine, truth: GroundTruth, images: Path, *, threshold: float = 0.5) -> float:
    """cgF1 of an engine on a validation file."""
    found = ground_pairs(
        engine, evaluated_pairs([truth]), images, min_score=threshold, normalised=truth.normalised_boxes
    )
    content = {"predictions": found.rows, "presence": {str(key): value for key, value in found.presence.items()}}
    predictions = parse_predictions(content, truth.pairs, "segm", Path("predictions"))
    by_pair = overlaps([truth], predictions, "segm", min_score=threshold)
    return score_overlaps(by_pair, "segm", threshold=threshold).cgf1


def judge(parity: Parity, *, exact: bool, limits: Limits | None = None) -> list[str]:
    """Why the engines are not the same; empty when they are.

    Args:
        exact: both compute in float32, so that numbers and not only answers must agree.
    """
    allowed = limits or Limits()
    return [reason for reason in _reasons(parity, exact, allowed) if reason]


def _reasons(parity: Parity, exact: bool, allowed: Limits) -> Iterator[str]:
    # raw numbers are judged of exact engines only: the others must have found something
    if not parity.mask_iou and not (exact and "logits" in parity.difference):
        yield "nothing was compared: neither engine found anything. Use pictures that show the phrases."
    if parity.cosine and not min(parity.cosine) >= allowed.cosine:
        yield f"features: cosine {min(parity.cosine):.4f}, at least {allowed.cosine} wanted"
    worst = max(parity.presence, default=0.0)
    if allowed.presence is not None and not worst <= allowed.presence:
        yield f"presence: differs by {worst:.2g}, at most {allowed.presence:g} allowed"
    if exact:
        for name, raw in parity.difference.items():
            value = parity.beyond_rounding.get(name, raw)
            if not value <= allowed.difference:
                yield f"{name}: largest difference {value:.2g}, at most {allowed.difference:g} allowed"
    if parity.mask_iou and not np.mean(parity.mask_iou) >= allowed.mask_iou:
        yield (
            f"masks: mean IoU {np.mean(parity.mask_iou):.4f} ({parity.unmatched} instances found by one engine only), "
            f"at least {allowed.mask_iou} wanted"
        )
    if parity.cgf1 is not None and not abs(parity.cgf1[0] - parity.cgf1[1]) <= allowed.cgf1:
        yield f"cgF1: {parity.cgf1[1]:.4f} against {parity.cgf1[0]:.4f}, at most {allowed.cgf1} apart allowed"


def prompts_of(truth: GroundTruth, images: Path, limit: int) -> Iterator[Asked]:
    """Pictures of a file with what to ask of each, spread evenly over the file.

    Raises:
        BadInput: no pair can be used.
    """
    by_file: dict[str, list[Any]] = {}
    for pair in truth.pairs.values():
        by_file.setdefault(pair.file_name, []).append(pair)
    names = list(by_file)[:: max(1, len(by_file) // limit)][:limit]
    if not names:
        raise BadInput(f"{truth.path}: no pictures in it. Give a validation file that has some.", field="pairs")
    for name in names:
        image, prompts = read_image(resolve_inside(images, name)), []
        for pair in by_file[name]:
            prompts.append(Prompt(pair.text_input))
            box = next((a.bbox for a in truth.instances(pair.image_id) if a.bbox), None)
            if box is not None:
                prompts.append(Prompt(pair.text_input, _corners(box, image.shape, truth.normalised_boxes)))
        yield image, prompts


def _corners(box: Any, shape: tuple[int, ...], normalised: bool) -> Any:
    x, y, w, h = box
    wide, high = (shape[1], shape[0]) if normalised else (1, 1)
    return np.array([[x * wide, y * high, (x + w) * wide, (y + h) * high]], np.float32)


def limits_json() -> dict[str, float | None]:
    """The limits, for reports."""
    return asdict(Limits())
