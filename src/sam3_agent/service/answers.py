"""Replies as the API sends them: boxes xyxy in pixels, masks as COCO RLE and, for drawing, as polygons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sam3.types import BoolArray
from sam3_agent.execution.media import Medium
from sam3_agent.execution.outcome import Outcome, Result, TrackedDetections, enlarged
from sam3_agent.reply import Reply
from sam3_agent.service.clip_answers import clip_of
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
        "results": [result_of(result, masks, medium_of(reply, result)) for result in reply.results],
    }


def medium_of(reply: Reply, result: Result) -> Medium | None:
    """The picture or clip that a result is about."""
    return reply.media[result.media] if result.media < len(reply.media) else None


def found_of(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """What is known before the masks: the plan, counts and boxes."""
    return {
        "plan_words": str(plan),
        "status": outcome.status,
        "text": outcome.text,
        "answer": outcome.answer,
        "results": [result_of(replace(result, frames=None), "none") for result in outcome.results],
    }


def result_of(result: Result, masks: Masks, medium: Medium | None = None) -> dict[str, Any]:
    """What was found in one picture; of a clip the frame that shows most, each track, and boxes frame by frame."""
    seen = result.seen
    height, width = seen.masks.shape[1:]
    original = result.original or (height, width)
    scale = original[1] / width if width else 1.0
    rows = [_instance(result, at, scale) for at in range(len(seen))]
    if masks in ("rle", "both"):
        for row, rle in zip(rows, _rles(result), strict=True):
            row["mask"] = rle
    if masks in ("polygons", "both"):
        for row, mask in zip(rows, seen.masks, strict=True):
            row["polygons"] = polygons(mask, scale)
    if isinstance(seen, TrackedDetections):
        for row, number in zip(rows, seen.track_ids, strict=True):
            row["id"] = int(number)
    return {
        "media": result.media,
        "size": [int(original[0]), int(original[1])],
        "presence": round(float(seen.presence), 4),
        "count": len(seen),
        "instances": rows,
        **(clip_of(result, medium) if result.frames is not None else {}),
    }


def _instance(result: Result, at: int, scale: float) -> dict[str, Any]:
    seen = result.seen
    return {
        "label": seen.labels[at] if seen.labels else "",
        "score": round(float(seen.scores[at]), 4),
        "box": [round(float(value) * scale, 2) for value in seen.boxes[at]],
        "area": round(int(np.count_nonzero(seen.masks[at])) * scale * scale),
        "sure": at not in result.doubtful,
    }


def _rles(result: Result) -> list[dict[str, Any]]:
    """At the original's size; of a large picture one at a time, so that its masks are never all in memory."""
    if result.original is None:
        return result.seen.to_rle()
    return [enlarged(result.seen.select([at]), result.original).to_rle()[0] for at in range(len(result.seen))]


def polygons(mask: BoolArray, scale: float = 1.0) -> list[list[float]]:
    """The outline of a mask: rings of x0, y0, x1, y1, ... in pixels, outer ones and holes (fill them even-odd)."""
    import cv2

    rings, _ = cv2.findContours(np.ascontiguousarray(mask, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    out = []
    for ring in rings:
        simple = cv2.approxPolyDP(ring, DETAIL, True).reshape(-1, 2)
        if len(simple) >= 3:
            out.append([round((float(value) + 0.5) * scale, 2) for value in simple.ravel()])
    return out
