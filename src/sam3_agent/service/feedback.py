"""`POST /v1/feedback`: thumbs and "this is wrong", kept with query, plan, picture hashes and version of the answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from sam3.errors import BadInput
from sam3_agent.service.errors import RESPONSES, Refused
from sam3_agent.service.forms import FeedbackRequest, sound
from sam3_agent.service.state import Documented, Owner, TheService

router = APIRouter(tags=["feedback"], dependencies=[Documented], responses=RESPONSES)


@router.post("/v1/feedback", status_code=201)
async def feedback(form: FeedbackRequest, service: TheService, owner: Owner) -> dict[str, Any]:
    """Say what you think of a reply that you were given."""
    if form.verdict == "wrong" and not (form.note or form.box or form.instance is not None):
        raise BadInput("note: say what is wrong, or which instance.", field="note")

    def work() -> int:
        if not service.talks.gave(owner, form.reply):
            raise Refused(404, "not_found", "reply: no such reply was given to you.", field="reply")
        content = form.model_dump(exclude={"reply", "verdict"}, exclude_defaults=True)
        if form.note:
            content["note"] = sound(form.note)
        answered = service.talks.answers.about(form.reply) or service.store.answered(owner, form.reply)
        if answered is not None:
            content["answered"] = answered.to_json()
        return service.store.note(owner, form.reply, form.verdict, content)

    number = await service.run(work)
    service.metrics.feedback.labels(form.verdict).inc()
    return {"id": number, "reply": form.reply, "verdict": form.verdict}
