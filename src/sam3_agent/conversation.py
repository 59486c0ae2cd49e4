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

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sam3.errors import BadInput
from sam3.types import Engine
from sam3_agent.cache.caches import Caches
from sam3_agent.execution.answers import Executor
from sam3_agent.execution.doubt import Mirror
from sam3_agent.execution.exemplars import Exemplar, with_exemplars
from sam3_agent.execution.media import Medium, media_of
from sam3_agent.execution.outcome import Outcome
from sam3_agent.execution.seeing import Eyes, version_for, version_of
from sam3_agent.reply import Making, Reply, joined
from sam3_agent.understanding.effort import understood
from sam3_agent.understanding.grammar import Draft, Reading
from sam3_agent.understanding.plan import Plan, Scope, Segment
from sam3_agent.understanding.references import Memory, Question, filled, resolve, topic
from sam3_agent.understanding.refusal import refused, sentence

__all__ = ["Agent", "Planner", "Reply", "Session"]

_SETTLED = ("silent", "impossible", "judgement")  # understood well enough: a planner could only make an answer up
Found = Callable[[Plan, Outcome], None]


class Planner(Protocol):
    """Whatever else can turn words into a plan (a language model held to `Plan.model_json_schema()`)."""

    def plan(self, query: str) -> Plan | None:
        """The plan, or None where it does not understand either."""
        ...


class Agent:
    """Answers questions about pictures and clips. One agent serves many conversations, in any number of threads.

    Args:
        engine: anything with the `sam3.types.Engine` methods; None loads `checkpoint` on first use.
        checkpoint: name or folder of weights, for `sam3.engines.load_engine`.
        engine_name: "auto", "torch", "onnx", ... when the engine is loaded here.
        threshold: detections with a lower score are not believed.
        floor: score below which the engine itself says nothing; conversations may go down to it.
        planner: asked for a plan when the grammar does not understand.
        caches: of results and embeddings; from the environment when None.
        mirror: which things are looked at again in the mirrored picture before they are called sure.
        price_per_gpu_hour: for `Reply.explain()`.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        checkpoint: str = "sam3-lite",
        *,
        engine_name: str = "auto",
        threshold: float = 0.5,
        floor: float | None = None,
        planner: Planner | None = None,
        caches: Caches | None = None,
        mirror: Mirror = "weak",
        price_per_gpu_hour: float | None = None,
    ) -> None:
        self._engine = engine
        self._checkpoint = checkpoint
        self._engine_name = engine_name
        self._loading = threading.Lock()
        self.threshold = threshold
        self.floor = min(threshold, 0.5) if floor is None else floor
        self.planner = planner
        self.caches = caches or Caches.of()
        self.mirror: Mirror = mirror
        self.price_per_gpu_hour = price_per_gpu_hour

    @property
    def engine(self) -> Engine:
        """The engine, loaded when first needed."""
        with self._loading:
            if self._engine is None:
                from sam3.engines import load_engine

                self._engine = load_engine(self._engine_name, checkpoint=self._checkpoint, threshold=self.floor)
                self.caches.lend_text(self._engine, version_of(self._engine))
            return self._engine

    @property
    def loaded(self) -> bool:
        """Whether the engine is there already."""
        return self._engine is not None

    def session(self) -> Session:
        """A new conversation."""
        return Session(self)

    def process(self, query: str, media: Sequence[Any] = ()) -> Reply:
        """One question, one answer, no memory."""
        return self.session().ask(query, media=media)


class Session:
    """One conversation: its media, what was seen of them, and what was asked. One turn at a time."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._eyes: dict[float, Eyes] = {}
        self._media: list[Medium] = []
        self._memory = Memory()
        self._lacks = "thing"
        self._turn = threading.Lock()
        self.exemplars: list[Exemplar] = []
        self.threshold = agent.threshold
        self.mirror: Mirror = agent.mirror
        self.watching: Any = None  # told of each frame of a clip while it is looked at
        self.given: list[int] = []  # media that arrived ahead of the question about them

    @property
    def media(self) -> list[Medium]:
        """Everything given so far, in order of arrival."""
        return list(self._media)

    @property
    def nbytes(self) -> int:
        """Memory that the conversation holds."""
        return sum(one.nbytes for one in self._media) + sum(eyes.nbytes for eyes in self._eyes.values())

    def give(self, media: Sequence[Any]) -> list[int]:
        """Media for the next question; their numbers.

        Raises:
            sam3.errors.BadInput: a medium cannot be used.
        """
        with self._turn:
            arrived = media_of(media)
            numbers = list(range(len(self._media), len(self._media) + len(arrived)))
            self._media += arrived
            self.given += numbers
        return numbers

    def ask(self, query: str, media: Sequence[Any] = (), *, found: Found | None = None) -> Reply:
        """A turn of the conversation.

        Args:
            query: a question or request in plain words; may refer to earlier turns.
            media: pictures that arrive now: uint8 RGB arrays (H, W, 3), clips (T, H, W, 3), PIL images or paths.
            found: told of each plan's boxes and counts before doubtful things are looked at again.

        Raises:
            sam3.errors.BadInput: a medium cannot be used.
        """
        with self._turn:
            start = time.perf_counter()
            arrived = media_of(media)
            timings = {"load": 1000 * (time.perf_counter() - start)}
            numbers = (*self.given, *range(len(self._media), len(self._media) + len(arrived)))
            self._media += arrived
            self.given = []
            reading = self._understood(query, numbers)
            timings["understand"] = 1000 * (time.perf_counter() - start) - timings["load"]
            making = Making(price_per_gpu_hour=self._agent.price_per_gpu_hour)
            reply = (
                self._answered(reading.drafts, numbers, timings, making, found)
                if reading.drafts
                else _asked_back(reading)
            )
            timings["total"] = 1000 * (time.perf_counter() - start)
            reply.timings, reply.media, reply.making = timings, self.media, making
            return reply

    def point_out(self, number: int, box: Sequence[float]) -> Reply:
        """A thing that was missed: whatever looks like what `box` shows is added to what was asked for last.

        Args:
            number: of the picture, 0-based.
            box: xyxy in pixels of the picture as it was handed in.

        Raises:
            BadInput: no such picture, a clip, no box, or nothing was asked for yet.
        """
        if not 0 <= number < len(self._media) or self._media[number].is_clip:
            raise BadInput(f"picture {number}: this conversation has no such picture.", field="media")
        last = self._memory.last
        if last is None:
            raise BadInput("nothing was asked for yet. First say what to look for.", field="box")
        exemplar = Exemplar.of(number, box, topic(last.plan.action), self._media[number].frames[0])
        with self._turn:
            start = time.perf_counter()
            before = list(self.exemplars)
            self.exemplars.append(exemplar)
            timings: dict[str, float] = {"load": 0.0}
            making = Making(price_per_gpu_hour=self._agent.price_per_gpu_hour)
            try:
                outcome = self._carried_out(last.plan, timings, making, None)
            except BaseException:
                self.exemplars = before
                raise
            reply = joined([(last.plan, outcome)])
            if not exemplar.shown_in(reply.results):
                self.exemplars = before
                reply.text = f"I could not outline anything new there. {reply.text}"
            timings["total"] = 1000 * (time.perf_counter() - start)
            reply.timings, reply.media, reply.making = timings, self.media, making
            return reply

    # --- understanding ----------------------------------------------------------------------------------------------------

    def _understood(self, query: str, arrived: Sequence[int]) -> Reading:
        """What to carry out: of these words, or of the question that they answer."""
        reading = understood(query, images=len(self._media))
        waiting = self._memory.waiting
        if waiting is not None:
            answered = self._completed(waiting, reading, arrived)
            if answered is not None:
                return Reading((answered,))
        if (
            not reading.drafts
            and arrived
            and self._memory.last is not None
            and reading.trouble in ("nothing named", "unclear", "silent")
        ):
            return Reading((Draft(self._memory.last.plan.model_copy(update={"scope": Scope(at="this")})),))
        lost = not reading.drafts and reading.trouble not in _SETTLED
        if lost and self._agent.planner is not None:
            plan = self._agent.planner.plan(query)
            if plan is not None:
                return Reading((Draft(plan),))
        return reading

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
            and (reading.delivers or reading.trouble not in ("unsupported", "judgement"))
        ):
            return waiting
        return None

    # --- answering --------------------------------------------------------------------------------------------------------

    def _answered(
        self,
        drafts: Sequence[Draft],
        arrived: Sequence[int],
        timings: dict[str, float],
        making: Making,
        found: Found | None,
    ) -> Reply:
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
            outcome = self._carried_out(plan, timings, making, found)
            seen = any(len(result.seen) for result in outcome.results)
            self._memory.remember(plan, found=seen, fresh=fresh)
            if not fresh or _builds_on(draft):
                outcomes.clear()
            outcomes.append((plan, outcome))
        self._memory.waiting = None
        return joined(outcomes)

    def _carried_out(self, plan: Plan, timings: dict[str, float], making: Making, found: Found | None) -> Outcome:
        """The outcome of a plan: from the cache, or by looking."""
        start = time.perf_counter()
        engine = self._agent.engine
        making.plans += 1
        media = [self._media[number] for number in plan.scope.numbers]
        making.model = version_for(engine, [one.frames[0] for one in media])
        key = None
        if not any(one.is_clip for one in media):
            shown = [(n, one.frames[0].key) for n, one in zip(plan.scope.numbers, media, strict=True)]
            # a server may be given other weights while we talk to it: its answers are believed for a minute
            minute = int(time.time() // 60) if hasattr(engine, "address") else None
            options = (self.threshold, self.mirror, minute, *(one.part for one in self.exemplars))
            key = self._agent.caches.results.key(plan, shown, making.model, options)
        timings["load"] += 1000 * (time.perf_counter() - start)
        start, engine_before = time.perf_counter(), _engine_ms(timings)
        outcome = self._agent.caches.results.get(key) if key else None
        if outcome is not None:
            making.results_cached += 1
            if found is not None:
                found(plan, outcome)
        else:
            outcome = self._looked(plan, timings, making, found)
            if key:
                self._agent.caches.results.put(key, outcome)
        spent = 1000 * (time.perf_counter() - start) - (_engine_ms(timings) - engine_before)
        timings["answer"] = timings.get("answer", 0.0) + spent
        return outcome

    def _looked(self, plan: Plan, timings: dict[str, float], making: Making, found: Found | None) -> Outcome:
        """The outcome of a plan by looking at the pictures."""
        eyes = self._eyes.get(self.threshold)
        if eyes is None:
            eyes = Eyes(self._agent.engine, self.threshold, self._agent.caches.embeddings)
            self._eyes[self.threshold] = eyes
        before, counted = dict(eyes.seconds), dict(eyes.done)
        eyes.watching = self.watching
        told = (lambda outcome: found(plan, outcome)) if found is not None else None
        try:
            with_exemplars(eyes, self._media, plan, self.exemplars)
            outcome = Executor(eyes, self._media, mirror=self.mirror, found=told).carry_out(plan)
        finally:
            eyes.rest()
        for stage in ("encode", "ground"):
            timings[stage] = timings.get(stage, 0.0) + 1000 * (eyes.seconds[stage] - before[stage])
        for name in ("encoded", "reused", "grounded"):
            setattr(making, name, getattr(making, name) + eyes.done[name] - counted.get(name, 0))
        return outcome


def _asked_back(reading: Reading) -> Reply:
    return Reply("unsupported" if refused(reading.trouble) else "clarify", sentence(reading.trouble, reading.said))


def _engine_ms(timings: dict[str, float]) -> float:
    return timings.get("encode", 0.0) + timings.get("ground", 0.0)


def _builds_on(draft: Draft) -> bool:
    return draft.plan.action.verb == "revise"
