"""What comes back from a turn: words, an answer, the things found, and how it came about.

>>> reply = session.ask("how many dogs?", media=["park.jpg"])
>>> reply.text, reply.answer, reply.plot(), reply.to_json(), reply.explain()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sam3_agent.execution.media import Medium
from sam3_agent.execution.outcome import Answer, Outcome, Result, Status
from sam3_agent.understanding.plan import Plan


@dataclass
class Making:
    """How a reply came about.

    Attributes:
        model: engine and weights, as in cache keys.
        results_cached: plans answered from the result cache, of `plans`.
        encoded, reused: pictures encoded now, and those whose embedding was at hand.
        grounded: phrases looked for.
        price_per_gpu_hour: as configured; None where nobody says what the engine's time costs.
    """

    model: str = ""
    plans: int = 0
    results_cached: int = 0
    encoded: int = 0
    reused: int = 0
    grounded: int = 0
    price_per_gpu_hour: float | None = None

    def cost(self, timings: dict[str, float]) -> float | None:
        """The engine's time at the configured price."""
        if self.price_per_gpu_hour is None:
            return None
        engine_ms = timings.get("encode", 0.0) + timings.get("ground", 0.0)
        return engine_ms / 3_600_000 * self.price_per_gpu_hour


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
        uncertain: the engine was not sure about something asked for; `Result.doubtful` says about which things.
        making: cache hits, model version, price.
    """

    status: Status
    text: str
    answer: Answer = None
    results: list[Result] = field(default_factory=list)
    plan: Plan | None = None
    timings: dict[str, float] = field(default_factory=dict)
    uncertain: bool = False
    media: list[Medium] = field(default_factory=list, repr=False)
    making: Making = field(default_factory=Making, repr=False)

    def plot(self) -> Any:
        """The pictures with masks, labels and scores: a PIL image, or a list of them for several media."""
        from sam3_agent.overlay import draw_result

        drawn = [draw_result(self.media[result.media], result) for result in self.results]
        return drawn[0] if len(drawn) == 1 else drawn

    def to_supervision(self) -> list[Any]:
        """One `supervision.Detections` per result."""
        return [result.to_supervision() for result in self.results]

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO result rows; `image_id` is the number of the medium in the conversation."""
        return [row for result in self.results for row in result.to_coco()]

    def to_pandas(self) -> Any:
        """One row an instance."""
        import pandas as pd

        tables = [result.to_pandas() for result in self.results]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def explain(self) -> dict[str, Any]:
        """Plan in words, milliseconds by stage, cache hits, model version, and cost where a price is configured."""
        making = self.making
        return {
            "plan": str(self.plan) if self.plan else None,
            "timings_ms": {stage: round(value, 3) for stage, value in self.timings.items()},
            "cache": {
                "plans": making.plans,
                "results_cached": making.results_cached,
                "pictures_encoded": making.encoded,
                "embeddings_reused": making.reused,
                "phrases_grounded": making.grounded,
            },
            "model": making.model or None,
            "cost": making.cost(self.timings),
        }

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


def joined(outcomes: Sequence[tuple[Plan, Outcome]]) -> Reply:
    """One reply for the plans of a query: the last answer, everything found, nothing twice."""
    plan, last = outcomes[-1]
    if len(outcomes) == 1:
        return Reply(last.status, last.text, last.answer, last.results, plan, uncertain=last.uncertain)
    texts = " ".join(outcome.text for _, outcome in outcomes)
    answer = next((outcome.answer for _, outcome in reversed(outcomes) if outcome.answer is not None), None)
    asked = [plan for plan, _ in outcomes if plan.action.verb == "exists"]
    if len(asked) == len(outcomes) and len({plan.scope.numbers for plan in asked}) > 1:
        answer = all(outcome.answer for _, outcome in outcomes)  # "a dog in the first picture and a cat in the second?"
    status: Status = "ok" if any(outcome.status == "ok" for _, outcome in outcomes) else last.status
    results = merged([result for _, outcome in outcomes for result in outcome.results])
    return Reply(status, texts, answer, results, plan, uncertain=any(outcome.uncertain for _, outcome in outcomes))


def merged(results: Sequence[Result]) -> list[Result]:
    """One result per medium; a thing found by two plans appears once."""
    import numpy as np

    together: dict[int, Result] = {}
    for result in results:
        known = together.get(result.media)
        if known is None or result.frames is not None:
            together[result.media] = result
            continue
        old, new = known.seen, result.seen
        keep = [i for i in range(len(new)) if not any(np.array_equal(new.masks[i], mask) for mask in old.masks)]
        extra = new.select(keep)
        moved = tuple(len(old) + at for at, i in enumerate(keep) if i in result.doubtful)
        known.doubtful = (*known.doubtful, *moved)
        known.seen = type(old)(
            np.concatenate([old.boxes, extra.boxes]), np.concatenate([old.scores, extra.scores]),
            np.concatenate([old.masks, extra.masks]), max(old.presence, new.presence), [*old.labels, *extra.labels],
        )  # fmt: skip
    return list(together.values())
