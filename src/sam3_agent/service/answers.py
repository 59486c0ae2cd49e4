"""Replies as the API sends them: boxes xyxy in pixels, masks as COCO RLE and, for drawing, as polygons."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam3.types import BoolArray, Detections
from sam3_agent.execution.outcome import Outcome, Result, enlarged
from sam3_agent.reply import Reply
from sam3_agent.service.forms import Masks
from sam3_agent.understanding.plan import Plan

DETAIL = 0.6  # pixels that a polygon may be off the mask's edge


def to_api(reply: Reply, number: str, masks: Masks = "rle") -> dict[str, Any]:
    """A whole reply.

    Args:
        number: of the reply, for feedback. masks: the form of the masks.
    """
    return {
        "id": number,
        "status": reply.status,
        "text": reply.text,
        "answer": reply.answer,
        "uncertain": reply.uncertain,
        "plan": reply.plan.model_dump(mode="json") if reply.plan else None,
        "plan_words": str(reply.plan) if reply.plan else None,
        "explain": reply.explain(),
        "results": [result_of(result, masks) for result in reply.results],
    }


def found_of(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """What is known before the masks: the plan, counts and boxes."""
    return {
        "plan_words": str(plan),
        "status": outcome.status,
        "text": outcome.text,
        "answer": outcome.answer,
        "results": [result_of(result, "none") for result in outcome.results],
    }


def result_of(result: Result, masks: Masks) -> dict[str, Any]:
    """What was found in one picture (of a clip: in the frame that shows most)."""
    seen = result.seen
    height, width = seen.masks.shape[1:]
    original = result.original or (height, width)
    scale = original[1] / width if width else 1.0
    return {
        "media": result.media,
        "size": [int(original[0]), int(original[1])],
        "presence": round(float(seen.presence), 4),
        "count": len(seen),
        "instances": [_instance(result, at, original, scale, masks) for at in range(len(seen))],
    }


def _instance(result: Result, at: int, original: tuple[int, int], scale: float, masks: Masks) -> dict[str, Any]:
    one = result.seen.select([at])
    row: dict[str, Any] = {
        "label": one.labels[0] if one.labels else "",
        "score": round(float(one.scores[0]), 4),
        "box": [round(float(value) * scale, 2) for value in one.boxes[0]],
        "area": round(int(np.count_nonzero(one.masks[0])) * scale * scale),
        "sure": at not in result.doubtful,
    }
    if masks in ("rle", "both"):
        row["mask"] = _at_original(one, result, original).to_rle()[0]
    if masks in ("polygons", "both"):
        row["polygons"] = polygons(one.masks[0], scale)
    return row


def _at_original(one: Detections, result: Result, original: tuple[int, int]) -> Detections:
    return one if result.original is None else enlarged(one, original)


def polygons(mask: BoolArray, scale: float = 1.0) -> list[list[float]]:
    """The outline of a mask: rings of x0, y0, x1, y1, ... in pixels, outer ones and holes (fill them even-odd)."""
    import cv2

    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    out = []
    for ring in rings:
        simple = cv2.approxPolyDP(ring, DETAIL, True).reshape(-1, 2)
        if len(simple) >= 3:
            out.append([round((float(value) + 0.5) * scale, 2) for value in simple.ravel()])
    return out
