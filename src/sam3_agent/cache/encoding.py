"""Outcomes <-> bytes: msgpack of plain numbers and texts, masks as COCO RLE. Nothing that is read can run.

Whatever does not have exactly the expected form (a pickle, a cut value, another version's) is refused with
`ValueError`, which the caches take for "not there".
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

from sam3.types import Detections
from sam3_agent.execution.outcome import Outcome, Result

FORM = "outcome/1"
STATUSES = ("ok", "empty", "clarify", "unsupported")


def pack_outcome(outcome: Outcome) -> bytes:
    """An outcome about pictures (not clips) as bytes."""
    results = [
        {
            "media": one.media,
            "original": list(one.original) if one.original else None,
            "doubtful": list(one.doubtful),
            **_plain(one.seen),
        }
        for one in outcome.results
    ]
    return bytes(
        msgpack.packb(
            {
                "form": FORM,
                "status": outcome.status,
                "text": outcome.text,
                "answer": outcome.answer,
                "uncertain": outcome.uncertain,
                "results": results,
            }
        )
    )


def unpack_outcome(data: bytes) -> Outcome:
    """The outcome in bytes written by `pack_outcome`.

    Raises:
        ValueError: anything else.
    """
    try:
        content = msgpack.unpackb(data, raw=False, strict_map_key=True)
        if not isinstance(content, dict) or content["form"] != FORM or content["status"] not in STATUSES:
            raise ValueError("another form")
        answer = content["answer"]
        if answer is not None and not isinstance(answer, bool | int | float | str):
            raise ValueError("an answer of another type")
        results = [_result(one) for one in content["results"]]
        return Outcome(content["status"], str(content["text"]), answer, results, bool(content["uncertain"]))
    except Exception as error:  # msgpack, pycocotools and numpy raise whatever damaged bytes lead them to
        raise ValueError(f"not an outcome: {error}") from error


def _plain(found: Detections) -> dict[str, Any]:
    height, width = found.masks.shape[1:]
    return {
        "size": [int(height), int(width)],
        "boxes": np.ascontiguousarray(found.boxes, "<f4").tobytes(),
        "scores": np.ascontiguousarray(found.scores, "<f4").tobytes(),
        "masks": [rle["counts"] for rle in found.to_rle()],
        "presence": float(found.presence),
        "labels": list(found.labels),
        "warnings": list(found.warnings),
    }


def _result(one: dict[str, Any]) -> Result:
    from pycocotools import mask as coco_mask

    height, width = (int(side) for side in one["size"])
    scores = np.frombuffer(one["scores"], "<f4").astype(np.float32)
    boxes = np.frombuffer(one["boxes"], "<f4").astype(np.float32).reshape(len(scores), 4)
    if not 0 < height * width <= 1 << 26 or len(one["masks"]) != len(scores):
        raise ValueError("sizes that do not fit")
    masks = np.zeros((0, height, width), bool)
    if len(scores):
        if any(not isinstance(counts, str) or len(counts) > 2 * height * width for counts in one["masks"]):
            raise ValueError("a mask that does not fit")
        rles = [{"size": [height, width], "counts": counts.encode("ascii")} for counts in one["masks"]]
        masks = coco_mask.decode(rles).transpose(2, 0, 1).view(bool)  # zeros and ones: no copy is needed
    labels = [str(label) for label in one["labels"]]
    found = Detections(boxes, scores, masks, float(one["presence"]), labels, tuple(map(str, one["warnings"])))
    original = tuple(int(side) for side in one["original"]) if one["original"] else None
    doubtful = tuple(int(at) for at in one["doubtful"] if 0 <= int(at) < len(scores))
    return Result(int(one["media"]), found, original=original, doubtful=doubtful)  # type: ignore[arg-type]
