"""The agent: ask about pictures and clips in plain words, get masks, counts and answers.

    >>> from sam3_agent import Agent
    >>> session = Agent(checkpoint="sam3-lite").session()
    >>> reply = session.ask("how many chickens are left of the tractor?", media=["farm.jpg"])
    >>> reply.answer, reply.text, reply.plan, reply.timings
    >>> session.ask("only the brown ones").plot().save("brown.png")

A turn is: words -> plan (`understanding`) -> references resolved -> executed (`execution`) -> `Reply`. A `Planner` can be
given for words that the grammar does not understand; without one the agent asks back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sam3.types import Engine
from sam3_agent.execution.answers import Executor
from sam3_agent.execution.media import Medium, media_of
from sam3_agent.execution.outcome import Answer, Outcome, Result, Status
from sam3_agent.execution.seeing import Eyes
from sam3_agent.understanding.grammar import Draft, Reading, read
from sam3_agent.understanding.plan import Plan, Scope, Segment
from sam3_agent.understanding.references import Memory, Question, filled, resolve, topic
from sam3_agent.understanding.refusal import ABILITIES

_ASK_BACK = {
    "nothing named": 'What should I look for? Please name it, for example "the dogs" or "the red car".',
    "open question": 'I find things that you name. What should I look for, for example "the dogs" or "the red car"?',
    "unclear": "I did not understand that. What should I find, count, measure or compare in the picture?",
}


class Planner(Protocol):
    """Whatever else can turn words into a plan (a language model held to `Plan.model_json_schema()`)."""

    def plan(self, query: str) -> Plan | None:
        """The plan, or None where it does not understand either."""
        ...


@dataclass
class Reply:
    """What comes back from a turn.

    Attributes:
        status: "ok" found or answered, "empty" understood but nothing matches, "clarify" asks back, "unsupported".
        text: what a person reads; never empty.
        answer: bool, int, float (a share is 0..1), str (a compared thing), index of a picture, or None.
        results: the things found, one entry per medium touched.
        plan: what was understood; None when nothing was.
        timings: milliseconds by stage: load (media and, once, the engine), understand, encode, ground, answer, total.
        uncertain: the engine's presence was between 0.4 and 0.6 for something asked for.
    """

    status: Status
    text: str
    answer: Answer = None
    results: list[Result] = field(default_factory=list)
    plan: Plan | None = None
    timings: dict[str, float] = field(default_factory=dict)
    uncertain: bool = False
    media: list[Medium] = field(default_factory=list, repr=False)

    def plot(self) -> Any:
        """The pictures with masks, labels and scores: a PIL image, or a list of them for several media."""
        from sam3_agent.overlay import draw_result

        drawn = [draw_result(self.media[result.media], result) for result in self.results]
        return drawn[0] if len(drawn) == 1 else drawn

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON: masks as COCO RLE, boxes xywh pixels."""
        return {
            "status": self.status,
            "text": self.text,
            "answer": self.answer,
            "uncertain": self.uncertain,
            "plan": self.plan.model_dump(mode="json") if self.plan else None,
            "plan_words": str(self.plan) if self.plan else None,
            "timings_ms": {stage: round(value, 3) for stage, value in self.timings.items()},
            "results": [{"media": result.media, "annotations": result.to_coco()} for result in self.results],
        }


class Agent:
    """Answers questions about pictures and clips.

    Args:
        engine: anything with the `sam3.types.Engine` methods; None loads `checkpoint` on first use.
        checkpoint: name or folder of weights, for `sam3.engines.load_engine`.
        engine_name: "auto", "torch", "onnx", ... when the engine is loaded here.
        threshold: detections with a lower score are not believed.
        planner: asked for a plan when the grammar does not understand.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        checkpoint: str = "sam3-lite",
        *,
        engine_name: str = "auto",
        threshold: float = 0.5,
        planner: Planner | None = None,
    ) -> None:
        self._engine = engine
        self._checkpoint = checkpoint
        self._engine_name = engine_name
        self.threshold = threshold
        self.planner = planner

    @property
    def engine(self) -> Engine:
        """The engine, loaded when first needed."""
        if self._engine is None:
            from sam3.engines import load_engine

            self._engine = load_engine(self._engine_name, checkpoint=self._checkpoint)
        return self._engine

    def session(self) -> Session:
        """A new conversation."""
        return Session(self)

    def process(self, query: str, media: Sequence[Any] = ()) -> Reply:
        """One question, one answer, no memory."""
        return self.session().ask(query, media=media)


class Session:
    """One conversation: its media, what was seen of them, and what was asked."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._eyes: Eyes | None = None
        self._media: list[Medium] = []
        self._memory = Memory()

    @property
    def media(self) -> list[Medium]:
        """Everything given so far, in order of arrival."""
        return list(self._media)

    def ask(self, query: str, media: Sequence[Any] = ()) -> Reply:
        """A turn of the conversation.

        Args:
            query: a question or request in plain words; may refer to earlier turns.
            media: pictures that arrive now: uint8 RGB arrays (H, W, 3), clips (T, H, W, 3), PIL images or paths.

        Raises:
            sam3.errors.BadInput: a medium cannot be used.
        """
        start = time.perf_counter()
        arrived = media_of(media)
        timings = {"load": 1000 * (time.perf_counter() - start)}
        numbers = tuple(range(len(self._media), len(self._media) + len(arrived)))
        self._media += arrived
        drafts, trouble = self._understood(query, numbers)
        timings["understand"] = 1000 * (time.perf_counter() - start) - timings["load"]
        reply = self._answered(drafts, numbers, timings) if drafts else self._asked_back(trouble)
        timings["total"] = 1000 * (time.perf_counter() - start)
        reply.timings, reply.media = timings, self._media
        return reply

    # --- understanding ----------------------------------------------------------------------------------------------------

    def _understood(self, query: str, arrived: Sequence[int]) -> tuple[tuple[Draft, ...], str]:
        """The drafts to carry out: of these words, or of the question that they answer."""
        reading = read(query, images=len(self._media))
        waiting = self._memory.waiting
        if waiting is not None:
            answered = self._completed(waiting, reading, arrived)
            if answered is not None:
                return (answered,), ""
        if (
            not reading.drafts
            and arrived
            and self._memory.last is not None
            and reading.trouble in ("nothing named", "unclear", "silent")
        ):
            return (Draft(self._memory.last.plan.model_copy(update={"scope": Scope(at="this")})),), ""
        lost = not reading.drafts and reading.trouble != "silent"
        if lost and self._agent.planner is not None:
            plan = self._agent.planner.plan(query)
            if plan is not None:
                return (Draft(plan),), ""
        return reading.drafts, reading.trouble

    def _completed(self, waiting: Draft, reading: Reading, arrived: Sequence[int]) -> Draft | None:
        """The open request, if this turn brings what it lacked: a picture, or the name of a thing."""
        named = [draft for draft in reading.drafts if isinstance(draft.plan.action, Segment) and draft.bare]
        lacks_thing = self._lacks == "thing"
        if lacks_thing and named and len(reading.drafts) == 1:
            return filled(waiting, topic(named[0].plan.action))
        if (
            not lacks_thing
            and arrived
            and not reading.drafts
            and (reading.delivers or reading.trouble != "unsupported")
        ):
            return waiting
        return None

    _lacks = "thing"

    # --- answering --------------------------------------------------------------------------------------------------------

    def _answered(self, drafts: Sequence[Draft], arrived: Sequence[int], timings: dict[str, float]) -> Reply:
        """Carry out the drafts of one query; what later ones build on is not shown twice."""
        outcomes: list[tuple[Plan, Outcome]] = []
        for draft in drafts:
            resolved = resolve(draft, self._memory, arrived, len(self._media))
            if isinstance(resolved, Question) and (outcomes or draft is not drafts[-1]) and resolved.wants != "media":
                continue
            if isinstance(resolved, Question):
                self._memory.waiting, self._lacks = draft, resolved.wants
                return Reply("clarify", resolved.text, plan=None)
            plan, fresh = resolved
            outcome = self._carried_out(plan, timings)
            found = any(len(result.detections) for result in outcome.results)
            self._memory.remember(plan, found=found, fresh=fresh)
            if not fresh or _builds_on(draft):
                outcomes.clear()
            outcomes.append((plan, outcome))
        self._memory.waiting = None
        return _joined(outcomes)

    def _carried_out(self, plan: Plan, timings: dict[str, float]) -> Outcome:
        if self._eyes is None:
            start = time.perf_counter()
            self._eyes = Eyes(self._agent.engine, self._agent.threshold)
            timings["load"] += 1000 * (time.perf_counter() - start)
        before, start = dict(self._eyes.seconds), time.perf_counter()
        outcome = Executor(self._eyes, self._media).carry_out(plan)
        spent = time.perf_counter() - start
        for stage in ("encode", "ground"):
            passed = self._eyes.seconds[stage] - before[stage]
            timings[stage] = timings.get(stage, 0.0) + 1000 * passed
            spent -= passed
        timings["answer"] = timings.get("answer", 0.0) + 1000 * spent
        return outcome

    def _asked_back(self, trouble: str) -> Reply:
        if trouble in ("unsupported", "silent"):
            return Reply("unsupported", f"That is not something I can see in a picture. {ABILITIES}")
        return Reply("clarify", _ASK_BACK.get(trouble, _ASK_BACK["unclear"]))


def _builds_on(draft: Draft) -> bool:
    return draft.plan.action.verb == "revise"


def _joined(outcomes: list[tuple[Plan, Outcome]]) -> Reply:
    """One reply for the plans of a query: the last answer, everything found, nothing twice."""
    plan, last = outcomes[-1]
    if len(outcomes) == 1:
        return Reply(last.status, last.text, last.answer, last.results, plan, uncertain=last.uncertain)
    texts = " ".join(outcome.text for _, outcome in outcomes)
    answer = next((outcome.answer for _, outcome in reversed(outcomes) if outcome.answer is not None), None)
    status: Status = "ok" if any(outcome.status == "ok" for _, outcome in outcomes) else last.status
    results = _merged([result for _, outcome in outcomes for result in outcome.results])
    return Reply(status, texts, answer, results, plan, uncertain=any(outcome.uncertain for _, outcome in outcomes))


def _merged(results: Sequence[Result]) -> list[Result]:
    """One result per medium; a thing found by two plans appears once."""
    import numpy as np

    merged: dict[int, Result] = {}
    for result in results:
        known = merged.get(result.media)
        if known is None or result.frames is not None:
            merged[result.media] = result
            continue
        old, new = known.detections, result.detections
        keep = [i for i in range(len(new)) if not any(np.array_equal(new.masks[i], mask) for mask in old.masks)]
        extra = new.select(keep)
        known.detections = type(old)(
            np.concatenate([old.boxes, extra.boxes]), np.concatenate([old.scores, extra.scores]),
            np.concatenate([old.masks, extra.masks]), max(old.presence, new.presence), [*old.labels, *extra.labels],
        )  # fmt: skip
    return list(merged.values())
