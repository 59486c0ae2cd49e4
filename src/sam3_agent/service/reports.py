"""A whole answer about a clip in one document: the reply, and every frame that shows something with its masks."""

from __future__ import annotations

from typing import Any

from sam3_agent.reply import Reply
from sam3_agent.service.answers import medium_of, to_api
from sam3_agent.service.clip_answers import pieces_of
from sam3_agent.service.forms import Masks


def track_report(reply: Reply, number: str, masks: Masks) -> dict[str, Any]:
    """The reply as `to_api` has it, with the masks of every frame in place of bare boxes."""
    report = to_api(reply, number, masks)
    if masks == "none":
        return report
    for written, result in zip(report["results"], reply.results, strict=True):
        if result.frames is not None:
            pieces = pieces_of(result, medium_of(reply, result), masks)
            written["frames"] = [frame for piece in pieces for frame in piece]
    return report
