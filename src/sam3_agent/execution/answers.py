"""A resolved plan and the media -> an outcome: status, answer, things, words.

Every phrase of every picture that the plan needs goes to the engine as one batch; then each action has one method
here. Called by `sam3_agent.conversation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sam3_agent.execution import replies
from sam3_agent.execution.doubt import Mirror, disagreeing, of_unsure_phrases
from sam3_agent.execution.geometry import gap
from sam3_agent.execution.media import Medium
from sam3_agent.execution.orders import extent
from sam3_agent.execution.outcome import Outcome, Result
from sam3_agent.execution.seeing import Eyes
from sam3_agent.execution.select import needed
from sam3_agent.execution.views import ImageView, View, view
from sam3_agent.execution.when import when
from sam3_agent.understanding.plan import (
    Action,
    Claim,
    CompareCounts,
    CompareImages,
    CompareSizes,
    Concept,
    Count,
    Exists,
    MeasureOf,
    Plan,
    Segment,
    Verify,
    When,
)
from sam3_agent.understanding.wording import listed, name

_AS = {"area": "large", "height": "tall", "width": "wide", "length": "long"}


def concepts_of(action: Action) -> list[Concept]:
    """Every expression an action evaluates."""
    if isinstance(action, Exists | Verify):
        return [c for claim in action.claims for c in (claim.target, claim.of, claim.versus) if c is not None]
    if isinstance(action, CompareSizes):
        return [*action.parts, *([action.landmark] if action.landmark is not None else [])]
    if isinstance(action, CompareCounts):
        return list(action.parts)
    if isinstance(action, MeasureOf):
        return [c for c in (action.target, action.of) if c is not None]
    return [action.target] if getattr(action, "target", None) is not None else []  # type: ignore[union-attr, list-item]


class Executor:
    """Carries out plans about the media of one conversation.

    Args:
        eyes: what the conversation has seen. media: all of it.
        mirror: which things are looked at a second time in the mirrored picture; see `doubt`.
        found: told of the outcome before that second look, so that boxes and counts need not wait for it.
    """

    def __init__(
        self,
        eyes: Eyes,
        media: Sequence[Medium],
        *,
        mirror: Mirror = "never",
        found: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.eyes, self.media, self.mirror, self.found = eyes, media, mirror, found

    def carry_out(self, plan: Plan) -> Outcome:
        """Look, decide, say. The plan's scope must be resolved to media numbers."""
        numbers = plan.scope.numbers
        concepts = concepts_of(plan.action)
        phrases = list(dict.fromkeys(text for concept in concepts for text in needed(concept)))
        media = {number: self.media[number].cut(plan.scope.between) for number in numbers}
        for number, one in media.items():
            if one.times:
                from sam3_agent.video.clip import foresee

                first = self.media[number].frames.index(one.frames[0])
                foresee(self.eyes, one, phrases, self.eyes.watching, number=number, first=first)
        self.eyes.look([picture for number in numbers for picture in media[number].frames], phrases)
        views = [view(n, media[n], self.eyes, plan.scope.frame, self.media[n]) for n in numbers]
        outcome = self._act(plan, views)
        unsure = list(dict.fromkeys(text for one in views for text in one.unsure(concepts)))
        if unsure:
            outcome.uncertain = True
            outcome.text += replies.doubtful(unsure)
        if self.found is not None:
            self.found(outcome)
        self._doubt(outcome, unsure)
        return outcome

    def _doubt(self, outcome: Outcome, unsure: Sequence[str]) -> None:
        """Mark the things that the engine is not sure of."""
        unlike = 0
        for result in outcome.results:
            if result.frames is not None:
                continue
            picture = self.media[result.media].frames[0]
            differ = disagreeing(self.eyes, picture, result, self.mirror)
            unlike += len(differ)
            result.doubtful = tuple(sorted({*differ, *of_unsure_phrases(result, unsure)}))
        if unlike:
            outcome.uncertain = True
            outcome.text += replies.mirrored(unlike)

    def _act(self, plan: Plan, views: list[View]) -> Outcome:
        action = plan.action
        if isinstance(action, Segment):
            return self._segment(action, views)
        if isinstance(action, Count):
            return self._count(action, views)
        if isinstance(action, Exists):
            return self._exists(action, views, every=plan.scope.every)
        if isinstance(action, Verify):
            return self._verify(action, views)
        if isinstance(action, MeasureOf):
            return self._measure(action, views)
        if isinstance(action, CompareCounts):
            return self._compare_counts(action, views)
        if isinstance(action, CompareSizes):
            return self._compare_sizes(action, views)
        if isinstance(action, CompareImages):
            return self._compare_images(action, views)
        if isinstance(action, When):
            return when(action, views)
        raise ValueError(f"an unresolved {action.verb} cannot be carried out")

    def _segment(self, action: Segment, views: list[View]) -> Outcome:
        things = [one.find(action.target) for one in views]
        counts = [(one.number, len(members)) for one, members in zip(views, things, strict=True)]
        missing = [text for one in views for text in one.missing]
        text = replies.found(action.target, counts, missing)
        if action.verb == "where" and any(count for _, count in counts):
            text = " ".join(
                replies.places(action.target, one, members)
                for one, members in zip(views, things, strict=True)
                if members
            )
        status = "ok" if any(count for _, count in counts) else "empty"
        return Outcome(status, text, None, _results(views, things, [action.target]))  # type: ignore[arg-type]

    def _count(self, action: Count, views: list[View]) -> Outcome:
        things: list[Any] = [one.find(action.target) for one in views]
        if action.at_once is not None:
            fewest = action.at_once == "fewest"
            things = [one.at_once(members, fewest=fewest) for one, members in zip(views, things, strict=True)]
        counts = [(one.number, len(members)) for one, members in zip(views, things, strict=True)]
        clips = not any(isinstance(one, ImageView) for one in views)
        missing = [text for one in views for text in one.missing]
        text = replies.counted(action.target, counts, clips, missing, action.at_once)
        return Outcome("ok", text, sum(count for _, count in counts), _results(views, things, [action.target]))

    # --- yes or no ------------------------------------------------------------------------------------------------------

    def _judged(self, claim: Claim, one: View, at_once: bool = False) -> tuple[Claim, bool, int]:
        count = len(one.at_once(one.find(claim.target))) if at_once else one.count(claim.target)  # type: ignore[arg-type]
        if claim.versus is not None:
            other = one.count(claim.versus)
            return (
                claim,
                {"more": count > other, "fewer": count < other, "equal": count == other}[claim.versus_ask],
                count,
            )
        if claim.of is not None and claim.most is not None:
            part, share = count - abs(claim.most) * one.count(claim.of), claim.most
            return claim, one.count(claim.of) > 0 and (part > 0 if share > 0 else part < 0), count
        if claim.of is not None:
            return claim, 0 < one.count(claim.of) == count, count
        high = claim.at_most
        return claim, count >= claim.at_least and (high is None or count <= high), count

    def _exists(self, action: Exists, views: list[View], *, every: bool) -> Outcome:
        judged = [[self._judged(claim, one, action.at_once) for claim in action.claims] for one in views]
        joint = any if action.joint == "or" else all
        held = [joint(holds for _, holds, _ in rows) for rows in judged]
        answer = all(held) if every else any(held)
        shown = [one if holds or every else None for one, holds in zip(views, held, strict=True)]
        things = [
            [thing for claim in action.claims for thing in one.find(claim.target)] if answer and one is not None else []
            for one in shown
        ]
        rows = judged[held.index(True)] if True in held else judged[0]
        return Outcome("ok", replies.yes_no(answer, rows), answer, _results(views, things, concepts_of(action)))

    def _verify(self, action: Verify, views: list[View]) -> Outcome:
        judged = [row for one in views for row in (self._judged(claim, one) for claim in action.claims)]
        held = all(holds for _, holds, _ in judged)
        verdict = None if held and (action.unjudged or not judged) else held
        things = [[t for claim in action.claims if claim.at_most != 0 for t in one.find(claim.target)] for one in views]
        text = replies.checked(verdict, judged, action.unjudged)
        return Outcome("ok", text, verdict, _results(views, things, concepts_of(action)))

    # --- amounts --------------------------------------------------------------------------------------------------------

    def _measure(self, action: MeasureOf, views: list[View]) -> Outcome:
        things = [one.find(action.target) for one in views]
        results = _results(views, things, [action.target])
        subject = name(action.target)
        if action.what == "ratio" and action.of is not None:
            whole = sum(one.count(action.of) for one in views)
            part = sum(len(members) for members in things)
            if not whole:
                return Outcome("empty", replies.nothing(action.of, []), None, results)
            return Outcome("ok", f"{part} of {whole} {name(action.of)}: {part / whole:.0%}.", part / whole, results)
        if action.what == "number ratio" and action.of is not None:
            part, whole = (sum(one.count(concept) for one in views) for concept in (action.target, action.of))
            said = f"{replies.amount(part, action.target)} to {replies.amount(whole, action.of)}"
            if not whole:
                return Outcome("empty", f"{said[0].upper()}{said[1:]}: there is no ratio.", None, results)
            return Outcome("ok", f"{said[0].upper()}{said[1:]}: a ratio of {part / whole:.2f}.", part / whole, results)
        if action.what == "size ratio" and action.of is not None:
            return self._size_ratio(action, views, things, results)
        shares = [one.share(members) for one, members in zip(views, things, strict=True)]
        share = sum(shares) / max(len(shares), 1)
        if action.what == "share":
            return Outcome("ok", f"The {subject} take up {share:.1%} of the picture.", share, results)
        if not any(things):
            return Outcome("empty", replies.nothing(action.target, []), None, results)
        value = _extent(action.what, views, things, share)
        return Outcome("ok", f"The {subject}: {value:.0f} pixels ({action.what}).", value, results)

    def _size_ratio(self, action: MeasureOf, views: list[View], things: list[Any], results: list[Result]) -> Outcome:
        others = [one.find(action.of) for one in views] if action.of is not None else []
        if action.by == "area":
            whole = sum(one.share(members) for one, members in zip(views, others, strict=False))
            part = sum(one.share(members) for one, members in zip(views, things, strict=True))
        else:
            whole, part = (_extent(action.by, views, members, 0.0) for members in (others, things))
        if not whole or action.of is None:
            return Outcome(
                "empty", f"I found no {name(action.of) if action.of else 'such thing'} to compare with.", None, results
            )
        text = f"The {name(action.target, many=False)} is {part / whole:.2f} times as {_AS[action.by]} as the {name(action.of, many=False)}."
        return Outcome("ok", text, part / whole, results)

    # --- comparisons ----------------------------------------------------------------------------------------------------

    def _compare_counts(self, action: CompareCounts, views: list[View]) -> Outcome:
        things = [[thing for part in action.parts for thing in one.find(part)] for one in views]
        counts = [sum(one.count(part) for one in views) for part in action.parts]
        said = " and ".join(replies.amount(count, part) for count, part in zip(counts, action.parts, strict=True))
        results = _results(views, things, list(action.parts))
        if action.ask in ("difference", "gap"):
            value = counts[0] - counts[1]
            value = abs(value) if action.ask == "gap" else value
            return Outcome("ok", f"{said}: a difference of {abs(value)}.", value, results)
        if action.ask in ("which more", "which fewer"):
            best = max(counts) if action.ask == "which more" else min(counts)
            if counts.count(best) > 1:
                return Outcome("ok", f"Equally many: {said}.", None, results)
            winner = replies.short_name(action.parts[counts.index(best)])
            return Outcome("ok", f"{winner.capitalize()}: {said}.", winner, results)
        first, second = counts[0], action.factor * counts[1]
        answer = {"more": first > second, "fewer": first < second, "equal": first == second,
                  "at least": first >= second, "at most": first <= second}[action.ask]  # fmt: skip
        return Outcome("ok", f"{'Yes' if answer else 'No'}: {said}.", answer, results)

    def _compare_sizes(self, action: CompareSizes, views: list[View]) -> Outcome:
        found = [[thing for one in views for thing in one.find(part)] for part in action.parts]
        results = _results(
            views, [[t for part in action.parts for t in one.find(part)] for one in views], list(action.parts)
        )
        lacking = [name(part) for part, things in zip(action.parts, found, strict=True) if not things]
        if lacking or not all(isinstance(one, ImageView) for one in views):
            reason = (
                f"I found no {' and no '.join(lacking)}"
                if lacking
                else "I can only compare sizes in pictures, not in a clip"
            )
            return Outcome("empty", f"{reason}.", None, results)
        if action.landmark is not None:
            return self._nearer(action, views, found, results)
        values = [max(_value(thing, action.by) for thing in things) for things in found]
        best = min(values) if action.reverse else max(values)
        if values.count(best) > 1:
            return Outcome("ok", "They are the same.", None, results)
        winner = replies.short_name(action.parts[values.index(best)])
        return Outcome("ok", f"The {winner} ({action.by}).", winner, results)

    def _nearer(
        self, action: CompareSizes, views: list[View], found: list[list[Any]], results: list[Result]
    ) -> Outcome:
        """Which of the things is nearer to (or farther from) another, by the gap between their boxes."""
        marks = [thing for one in views for thing in one.find(action.landmark)]  # type: ignore[arg-type]
        if not marks:
            return Outcome("empty", f"I found no {name(action.landmark)} to go by.", None, results)  # type: ignore[arg-type]
        gaps = [min(gap(thing, mark) for thing in things for mark in marks) for things in found]  # type: ignore[arg-type]
        best = max(gaps) if action.reverse else min(gaps)
        word = "farther from" if action.reverse else "nearer to"
        if action.ask == "whether":
            answer = gaps[0] == best and gaps.count(best) == 1
            nearer = name(action.parts[gaps.index(best)], many=False)
            text = f"{'Yes' if answer else 'No'}: the {nearer} is {word} the {name(action.landmark, many=False)}."  # type: ignore[arg-type]
            return Outcome("ok", text, answer, results)
        if gaps.count(best) > 1:
            return Outcome("ok", "They are equally far.", None, results)
        winner = replies.short_name(action.parts[gaps.index(best)])
        return Outcome("ok", f"The {winner} is {word} the {name(action.landmark, many=False)}.", winner, results)  # type: ignore[arg-type]

    def _compare_images(self, action: CompareImages, views: list[View]) -> Outcome:
        things = [one.find(action.target) for one in views]
        counts = [len(members) for members in things]
        results = _results(views, things, [action.target])
        said = f"{name(action.target).capitalize()}: " + replies.per_picture(
            list(zip([one.number for one in views], counts, strict=True))
        )
        if action.ask == "how many":
            return Outcome("ok", f"{len(_winners(action, views, things, counts))} of {len(views)}. {said}",
                           len(_winners(action, views, things, counts)), results)  # fmt: skip
        if action.ask in ("most", "fewest", "has", "largest", "smallest"):
            winners = _winners(action, views, things, counts)
            if len(winners) == 1:
                return Outcome("ok", f"Picture {winners[0] + 1}. {said}", winners[0], results)
            which = "No picture" if not winners else "Pictures " + listed([str(n + 1) for n in winners])
            return Outcome("ok", f"{which}. {said}", None, results)
        if len(counts) < 2:
            return Outcome("clarify", "Which pictures should I compare? I have only one.", None, results)
        first, second = counts[0], counts[1]
        if action.ask in ("difference", "gap"):
            value = abs(first - second) if action.ask == "gap" else first - second
            return Outcome("ok", f"A difference of {abs(value)}. {said}", value, results)
        equal = all(count == first for count in counts)
        answer = {"more": first > second, "fewer": first < second, "equal": equal}[action.ask]
        return Outcome("ok", f"{'Yes' if answer else 'No'}. {said}", answer, results)


def _results(views: Sequence[View], things: Sequence[Any], concepts: list[Concept]) -> list[Result]:
    return [one.result(members, concepts) for one, members in zip(views, things, strict=True)]


def _winners(action: CompareImages, views: Sequence[View], things: Sequence[Any], counts: Sequence[int]) -> list[int]:
    """Media numbers of the pictures that win or fit."""
    numbers = [one.number for one in views]
    if action.ask in ("has", "how many"):
        high = action.at_most
        return [
            n
            for n, count in zip(numbers, counts, strict=True)
            if count >= action.at_least and (high is None or count <= high)
        ]
    if action.ask in ("largest", "smallest"):
        sizes = [
            max((one.share([t]) for t in members), default=0.0) for one, members in zip(views, things, strict=True)
        ]
        if action.ask == "smallest":
            sizes = [
                -min((one.share([t]) for t in members), default=1.0) for one, members in zip(views, things, strict=True)
            ]
        best = max(sizes)
        return [n for n, size in zip(numbers, sizes, strict=True) if size == best and any(things)]
    best_count = max(counts) if action.ask == "most" else min(counts)
    return [n for n, count in zip(numbers, counts, strict=True) if count == best_count]


def _extent(what: str, views: Sequence[View], things: Sequence[Any], share: float) -> float:
    """Area or extent in pixels: of all of them together for an area, of the largest for width and height."""
    if what == "pixels":
        sizes = [one.selector.pool for one in views if isinstance(one, ImageView)]
        return share * sum(pool.height * pool.width * pool.scale**2 for pool in sizes) if sizes else 0.0
    values = [extent(t, what) for members in things for t in members if hasattr(t, "box")]  # type: ignore[arg-type]
    return max(values, default=0.0)


def _value(thing: Any, by: str) -> float:
    """A thing's value in an order; larger is more of it."""
    places = {"left": -thing.cx, "right": thing.cx, "top": -thing.cy, "bottom": thing.cy}
    return places[by] if by in places else float(extent(thing, by))  # type: ignore[arg-type]
