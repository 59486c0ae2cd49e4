"""A conversation <-> plain data: what was asked (plans), what "them" means, what is still open. No pictures in it.

The plans are checked against their schema when they come back, so a damaged row is an error and never a surprise.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from sam3.errors import BadInput
from sam3_agent.conversation import Agent, Session
from sam3_agent.execution.exemplars import Exemplar
from sam3_agent.execution.media import Medium
from sam3_agent.understanding.grammar import Draft
from sam3_agent.understanding.plan import Concept, Plan
from sam3_agent.understanding.references import Memory, Moment

KEPT_MOMENTS = 50  # plans that "undo" can reach after a restart
_concept: TypeAdapter[Any] = TypeAdapter(Concept)


def saved(session: Session) -> dict[str, Any]:
    """The conversation as JSON-ready data."""
    memory = session._memory
    return {
        "moments": [
            {"plan": m.plan.model_dump(mode="json"), "concept": m.concept.model_dump(mode="json"), "fresh": m.fresh}
            for m in memory.moments[-KEPT_MOMENTS:]
        ],
        "focus": memory.focus.model_dump(mode="json") if memory.focus is not None else None,
        "waiting": {"plan": memory.waiting.plan.model_dump(mode="json"), "bare": memory.waiting.bare}
        if memory.waiting is not None
        else None,
        "lacks": session._lacks,
        "given": session.given,
        "threshold": session.threshold,
        "exemplars": [{"media": e.media, "box": list(e.box), "phrase": e.phrase} for e in session.exemplars],
    }


def restored(agent: Agent, state: dict[str, Any], media: list[Medium]) -> Session:
    """The conversation behind `saved` data.

    Raises:
        BadInput: the data is damaged or of another version.
    """
    session = Session(agent)
    try:
        moments = [
            Moment(Plan.model_validate(m["plan"]), _concept.validate_python(m["concept"]), bool(m["fresh"]))
            for m in state["moments"]
        ]
        waiting = state["waiting"]
        session._memory = Memory(
            moments,
            _concept.validate_python(state["focus"]) if state["focus"] is not None else None,
            Draft(Plan.model_validate(waiting["plan"]), bool(waiting["bare"])) if waiting is not None else None,
        )
        session._lacks = str(state["lacks"])
        session.given = [int(number) for number in state.get("given", [])]
        session.threshold = float(state["threshold"])
        session.exemplars = [
            Exemplar(int(e["media"]), tuple(map(float, e["box"])), str(e["phrase"]))  # type: ignore[arg-type]
            for e in state["exemplars"]
        ]
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise BadInput("session: what was kept of it cannot be read. Start a new one.", field="session") from error
    session._media = list(media)
    return session
