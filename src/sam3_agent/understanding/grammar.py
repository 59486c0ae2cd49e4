"""The parser: a query in ordinary words -> drafts of plans, or the reason why not. No model, no network.

What somebody takes back is dropped, times and "at once" are set aside, the rest is cut into clauses (`normalise.py`), each is
read (`clause.py`), and what they say is put together: the agent asks back, or says that this is not a question about a
picture, where nothing was understood. Try it: `sam3-agent ask --explain "..."`.
"""

from __future__ import annotations

from dataclasses import replace

from sam3_agent.understanding.at_once import AtOnce, at_once
from sam3_agent.understanding.claims import description
from sam3_agent.understanding.clause import Draft, Reading, Trouble, read_clause
from sam3_agent.understanding.concepts import mentions
from sam3_agent.understanding.corrections import mended, taken_back
from sam3_agent.understanding.normalise import clauses, opened
from sam3_agent.understanding.plan import Action, Count, Exists, Plan, Scope, Segment
from sam3_agent.understanding.times import Timed, timed

__all__ = ["Draft", "Reading", "read"]


def read(text: str, images: int = 1) -> Reading:
    """Parse a query.

    Args:
        text: what the person wrote.
        images: how many pictures the conversation has; "which one has more" means pictures where there are several.
    """
    back = taken_back(text)
    if back is not None and (reading := _corrected(*back, images)) is not None:
        return reading
    when = timed(text)
    if when is not None:
        return _in_time(when, images)
    together = at_once(text)
    if together is not None and (reading := _together(together, images)) is not None:
        return reading
    sentences = clauses(text)
    found = description(sentences)
    if found is not None:
        return Reading((Draft(Plan(action=found[0], scope=found[1])),))
    drafts: list[Draft] = []
    troubles: list[Trouble] = []
    delivers, scope = False, Scope()
    for sentence in sentences:
        one = read_clause(opened(sentence), images)
        drafts += one.drafts
        scope = one.scope if one.scope != Scope() and not drafts else scope
        delivers = delivers or one.delivers
        if one.trouble:
            troubles.append(one.trouble)
    drafts = _weighty(drafts)
    if drafts:
        serious = bool({"unsupported", "judgement"} & set(troubles)) and not any(not draft.bare for draft in drafts)
        return (
            Reading((), "unsupported", delivers)
            if serious
            else Reading(tuple(_shared_scope(drafts, scope)), "", delivers)
        )
    trouble: str | None = next(
        (t for t in ("judgement", "unsupported", "open question", "nothing named") if t in troubles), None
    )
    if trouble is None and not troubles:
        trouble = "nothing named" if delivers or not sentences else "silent"
    return Reading((), trouble or "unclear", delivers)  # type: ignore[arg-type]


def _corrected(said: str, now: str, images: int) -> Reading | None:
    """What is said last, in the place of what was said first; None where it is no request and no thing."""
    reading = read(now, images)
    if len(reading.drafts) != 1:
        return reading if reading.drafts else None
    [draft] = reading.drafts
    before = read(said, images).drafts
    if _points_back(draft.plan.action):  # "the bikes, I mean the red ones"
        return replace(reading, drafts=(*before, draft))
    plan = mended(before[-1].plan if before else None, draft.plan, draft.bare)
    return replace(reading, drafts=(Draft(plan, draft.bare and all(one.bare for one in before)),))


def _in_time(when: Timed, images: int) -> Reading:
    """The rest of the question, about a part of the clip, or turned into a question of when."""
    reading = read(when.rest, images)
    drafts = []
    for draft in reading.drafts:
        plan = draft.plan
        if (asked := when.asked(plan.action)) is not None:
            plan = plan.model_copy(update={"action": asked})
        scope = plan.scope.model_copy(update={"between": when.between})
        drafts.append(replace(draft, plan=plan.model_copy(update={"scope": scope}), bare=False))
    return replace(reading, drafts=tuple(drafts))


def _together(asked: AtOnce, images: int) -> Reading | None:
    """The rest of the question with its counts at one moment; None where its words meant something else."""
    reading = read(asked.rest, images)
    drafts = []
    for draft in reading.drafts:
        action = draft.plan.action
        if isinstance(action, Count):
            action = action.model_copy(update={"at_once": asked.extreme})
        elif isinstance(action, Exists) and asked.extreme == "most":
            claims = tuple(asked.loosened(claim) for claim in action.claims)
            action = action.model_copy(update={"at_once": True, "claims": claims})
        elif asked.sure:
            return None
        drafts.append(replace(draft, plan=draft.plan.model_copy(update={"action": action})))
    return replace(reading, drafts=tuple(drafts)) if drafts else None


def _weighty(drafts: list[Draft]) -> list[Draft]:
    """Beside a full request, a mere thing in another sentence ("My son loves trucks.") is talk."""
    if all(draft.bare for draft in drafts):
        return drafts
    kept = []
    for draft, following in zip(drafts, [*drafts[1:], None], strict=True):
        action = draft.plan.action
        pointed_at = following is not None and not following.bare and _points_back(following.plan.action)
        if not draft.bare or pointed_at or (isinstance(action, Segment) and mentions(action.target)):
            kept.append(draft)
    return kept


def _points_back(action: Action) -> bool:
    target = getattr(action, "target", None)
    return target is not None and bool(mentions(target))


def _shared_scope(drafts: list[Draft], scope: Scope) -> list[Draft]:
    """ "Look at the second picture. Count the dogs.": a clause without scope keeps the one before."""
    shared = []
    for draft in drafts:
        scope = draft.plan.scope if draft.plan.scope != Scope() else scope
        shared.append(replace(draft, plan=draft.plan.model_copy(update={"scope": scope})))
    return shared
