"""Words that point back -> what they mean: "them", "the other image", "only the red ones", "undo".

`Memory` is what a conversation remembers of its plans; `resolve` turns a draft of the grammar into a plan without
mentions, revisions or open scopes, or into one short question. Called by `sam3_agent.conversation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.concepts import bare_noun, joined, kind_of, mentions, positive_phrases, replaced, walk
from sam3_agent.understanding.grammar import Draft
from sam3_agent.understanding.plan import (
    Action,
    Claim,
    CompareCounts,
    CompareImages,
    CompareSizes,
    Concept,
    Count,
    Exists,
    Filtered,
    MeasureOf,
    Mention,
    Phrase,
    Plan,
    Rank,
    Region,
    Revise,
    Scope,
    Segment,
    Verify,
    Without,
)

Change = Callable[[Concept], Concept]


@dataclass(frozen=True)
class Question:
    """What the agent asks back; `wants` says what would answer it."""

    text: str
    wants: str = "thing"


@dataclass(frozen=True)
class Moment:
    """One plan that was carried out; `fresh` if it did not build on the one before."""

    plan: Plan
    concept: Concept
    fresh: bool = True


@dataclass
class Memory:
    """The plans of a conversation, newest last, what "them" means now, and a question left open."""

    moments: list[Moment] = field(default_factory=list)
    focus: Concept | None = None
    waiting: Draft | None = None

    @property
    def last(self) -> Moment | None:
        """The latest moment."""
        return self.moments[-1] if self.moments else None

    def remember(self, plan: Plan, *, found: bool, fresh: bool) -> None:
        """Keep a plan; what it was about becomes "them" if anything was found."""
        concept = topic(plan.action)
        self.moments.append(Moment(plan, concept, fresh))
        if found or self.focus is None:
            self.focus = concept


def topic(action: Action) -> Concept:
    """What an action is about, as one expression."""
    if isinstance(action, Exists | Verify):
        wanted = [claim.target for claim in action.claims if claim.at_most != 0]
        return joined(wanted or [claim.target for claim in action.claims]) if action.claims else Phrase(noun="object")
    if isinstance(action, CompareCounts | CompareSizes):
        return joined(list(action.parts))
    if isinstance(action, Revise):
        return action.target or Mention(word="them")
    return action.target


def open_question(draft: Draft) -> str | None:
    """What is asked back where a draft opens a conversation: "how many?" of what? A change to come ("only the red ones") may stand."""
    outcome = None if isinstance(draft.plan.action, Revise) else _pointed(draft.plan.action, Memory())
    return outcome.text if isinstance(outcome, Question) else None


# --- a draft -----------------------------------------------------------------------------------------------------------------


def resolve(draft: Draft, memory: Memory, arrived: Sequence[int], total: int) -> tuple[Plan, bool] | Question:
    """The plan that a draft means here, and whether it stands on its own; or a question.

    Args:
        draft: from the grammar.
        memory: the conversation so far; undo and reset take moments off it.
        arrived: indexes of the media that came with this query.
        total: number of media in the conversation.
    """
    action = draft.plan.action
    fresh = not isinstance(action, Revise) and not _points(action)
    if isinstance(action, Revise):
        if arrived and action.how == "instead" and isinstance(action.target, Mention):
            action = Revise(how="same")
        outcome = _revised(action, memory)
    elif draft.bare and memory.last is not None and not _plain_segment(memory.last.plan.action):
        outcome = _revised(Revise(how="instead", target=topic(action)), memory)
    else:
        outcome = _pointed(action, memory)
    if isinstance(outcome, Question):
        return outcome
    fresh = fresh or (isinstance(action, Revise) and action.how in ("instead", "same"))
    scope = _scope(draft.plan.scope, outcome, memory, arrived, total)
    if isinstance(scope, Question):
        return scope
    return Plan(action=outcome, scope=scope.model_copy(update={"between": draft.plan.scope.between})), fresh


def _plain_segment(action: Action) -> bool:
    return isinstance(action, Segment)


def _points(action: Action) -> bool:
    return any(mentions(concept) for concept in _concepts(action))


def _concepts(action: Action) -> list[Concept]:
    if isinstance(action, Exists | Verify):
        return [c for claim in action.claims for c in (claim.target, claim.of, claim.versus) if c is not None]
    if isinstance(action, CompareCounts | CompareSizes):
        return list(action.parts)
    if isinstance(action, MeasureOf):
        return [c for c in (action.target, action.of) if c is not None]
    if isinstance(action, Revise):
        return [action.target] if action.target else []
    return [action.target]


def _pointed(action: Action, memory: Memory, focus: Concept | None = None) -> Action | Question:
    """The action with every mention replaced by what it points at."""
    focus = focus or memory.focus
    words = [mention for concept in _concepts(action) for mention in mentions(concept)]
    if not words:
        return _checked(action)
    if focus is None:
        return Question("How many of what?") if isinstance(action, Count) else _what(words[0])
    conflict = _other_colour(action, focus)

    def antecedent(mention: Mention) -> Concept:
        if mention.word in ("other", "others"):
            return _complement(memory, focus)
        return bare_noun(focus) if conflict and mention.word in ("one", "ones") else focus

    return _checked(_mapped(action, lambda concept: replaced(concept, antecedent)))


def _what(mention: Mention) -> Question:
    if mention.word == "everything":
        return Question('Everything of what kind? Please name what I should look for, for example "all the animals".')
    if mention.word in ("other", "others"):
        return Question("Other than what? Please name what I should look for.")
    return Question('What should I look for? Please name it, for example "the dogs" or "the red car".')


def _checked(action: Action) -> Action | Question:
    """ "the nearest car" needs something to be near to."""
    for concept in _concepts(action):
        by = concept.by if isinstance(concept, Filtered) else None
        if isinstance(by, Rank) and by.by == "near" and by.landmark is None and by.region is None:
            return Question("Nearest to what?" if not by.reverse else "Farthest from what?")
    return action


def _mapped(action: Action, change: Change) -> Action:
    if isinstance(action, Exists | Verify):
        claims = tuple(_mapped_claim(claim, change) for claim in action.claims)
        return action.model_copy(update={"claims": claims})
    if isinstance(action, CompareCounts | CompareSizes):
        landmark = getattr(action, "landmark", None)
        inner = {"landmark": change(landmark)} if landmark is not None else {}
        return action.model_copy(update={"parts": tuple(change(part) for part in action.parts), **inner})
    if isinstance(action, MeasureOf):
        of = change(action.of) if action.of is not None else None
        return action.model_copy(update={"target": change(action.target), "of": of})
    if isinstance(action, Revise):
        return action.model_copy(update={"target": change(action.target) if action.target else None})
    return action.model_copy(update={"target": change(action.target)})


def _mapped_claim(claim: Claim, change: Change) -> Claim:
    inner = {name: change(value) for name in ("of", "versus") if (value := getattr(claim, name)) is not None}
    return claim.model_copy(update={"target": change(claim.target), **inner})


def _other_colour(action: Action, focus: Concept) -> bool:
    """ "the blue ones" after "the red cars": blue cars, not cars both red and blue."""
    wanted = {
        getattr(part.by, "text", "")
        for concept in _concepts(action)
        for part in _filtered(concept)
        if getattr(part.by, "kind", "") == "attribute" and isinstance(part.base, Mention)
    }
    had = {word for phrase in positive_phrases(focus) for word in phrase.attributes}
    return any(
        kind & wanted and kind & had and not wanted <= had
        for kind in (lex.COLOURS, lex.SIZES, lex.POSTURES, lex.MATERIALS)
    )


def _filtered(concept: Concept) -> list[Filtered]:
    return [part for part in walk(concept) if isinstance(part, Filtered)]


def _complement(memory: Memory, focus: Concept) -> Concept:
    """What was left out: the wider set seen before, else the same noun without its conditions."""
    for moment in reversed(memory.moments[:-1]):
        if moment.concept != focus and _nouns(moment.concept) >= _nouns(focus):
            return Without(base=moment.concept, minus=focus)
    return Without(base=bare_noun(focus), minus=focus)


def _nouns(concept: Concept) -> set[str]:
    return {phrase.noun for phrase in positive_phrases(concept)}


# --- revisions -----------------------------------------------------------------------------------------------------------------


def _revised(change: Revise, memory: Memory) -> Action | Question:
    """What the last action becomes."""
    last = memory.last
    if last is None or memory.focus is None:
        return _first_turn(change)
    if change.how in ("undo", "reset"):
        return _back(change.how, memory)
    if change.how == "same":
        return last.plan.action
    if change.target is None:
        return Question("Which ones do you mean?")
    if change.how == "instead":
        pointed = _pointed(Segment(target=change.target), memory, _instead_of(change.target, memory.focus))
        return pointed if isinstance(pointed, Question) else _with_topic(last.plan.action, topic(pointed))
    base = (
        memory.focus
        if change.how != "add"
        else (memory.focus if not mentions(change.target) else bare_noun(memory.focus))
    )
    pointed = _pointed(Segment(target=change.target), memory, base)
    if isinstance(pointed, Question):
        return pointed
    target = topic(pointed)
    focus = memory.focus
    if change.how == "only":
        new = target if mentions(change.target) else _restricted(focus, target)
    elif change.how == "without":
        new = Without(base=focus, minus=target)
    else:
        new = joined([focus, target])
    return _narrowed(last.plan.action, new)


def _instead_of(target: Concept, focus: Concept) -> Concept:
    """ "and the one on the sofa?" asks anew among the cats; "and the other one?" is about those found."""
    points_away = any(mention.word in ("other", "others") for mention in mentions(target))
    return focus if points_away else kind_of(focus)


def _first_turn(change: Revise) -> Action | Question:
    """A revision with nothing before it: "only the red cars" still says what to find."""
    if change.how in ("undo", "reset"):
        return Question("There is nothing to undo yet. What should I look for?")
    if change.target is None:
        return Question('What should I look for? Please name it, for example "the dogs".')
    words = mentions(change.target)
    if words:
        return _what(words[0])
    if change.how == "without" and isinstance(change.target, Filtered) and isinstance(change.target.by, Rank):
        return Segment(target=Without(base=change.target.base, minus=change.target))  # "all but the largest dog"
    if change.how == "without":
        return Question("Leave that out of what? Please name what I should look for.")
    return Segment(target=change.target)


def _back(how: str, memory: Memory) -> Action | Question:
    """Take moments off; the one on top is carried out again."""
    if how == "undo":
        if len(memory.moments) < 2:
            return Question("There is nothing to undo: this is the first result. What should I look for?")
        memory.moments.pop()
    else:
        while len(memory.moments) > 1 and not memory.moments[-1].fresh:
            memory.moments.pop()
    top = memory.moments.pop()
    memory.focus = top.concept
    return top.plan.action


def _restricted(focus: Concept, target: Concept) -> Concept:
    """ "only the dogs" of "the animals on the left": the places asked for before still hold."""
    if (
        isinstance(focus, Filtered)
        and not (isinstance(focus.by, Region) and focus.by.pick)
        and not isinstance(focus.by, Rank)
    ) and getattr(focus.by, "kind", "") in ("region", "relation", "size"):
        return Filtered(base=_restricted(focus.base, target), by=focus.by)
    return target


def _with_topic(action: Action, target: Concept) -> Action:
    """The same question about something else ("and cats?")."""
    if isinstance(action, Exists):
        first = action.claims[0] if len(action.claims) == 1 else Claim(words="", target=target)
        return Exists(claims=(Claim(words="", target=target, at_least=first.at_least, at_most=first.at_most),))
    if isinstance(action, CompareImages | Count | MeasureOf | Segment):
        return action.model_copy(update={"target": target})
    return Count(target=target) if isinstance(action, CompareCounts) else Segment(target=target)


def _narrowed(action: Action, target: Concept) -> Action:
    """A count stays a count; what cannot be refined is shown."""
    if isinstance(action, Count | Segment):
        return action.model_copy(update={"target": target})
    if isinstance(action, MeasureOf) and action.of is None:
        return action.model_copy(update={"target": target})
    return Segment(target=target)


# --- pictures -------------------------------------------------------------------------------------------------------------------


def _scope(said: Scope, action: Action, memory: Memory, arrived: Sequence[int], total: int) -> Scope | Question:
    """The pictures meant, by index."""
    if total == 0:
        return Question("Please give me a picture or a video to look at.", wants="media")
    before = memory.last.plan.scope.numbers if memory.last else ()
    everything = tuple(range(total))
    current = tuple(arrived) or before or everything
    if said.at == "numbers":
        numbers = _numbered(said.numbers, total)
        if numbers is None:
            return Question(
                f"There {'is only one picture' if total == 1 else f'are only {total} pictures'} here. Which one do you mean?"
            )
        if isinstance(action, CompareImages) and len(numbers) == 1:
            numbers += tuple(n for n in (before + everything[::-1]) if n not in numbers)[:1]
    elif said.at == "all" or isinstance(action, CompareImages):
        numbers = tuple(arrived) if len(arrived) > 1 else everything
    elif said.at == "other":
        numbers = tuple(n for n in everything if n not in (before or current[:1]))
        if not numbers:
            return Question("There is no other picture here. Please send it.", wants="media")
    else:
        numbers = current
    return replace_scope(said, numbers)


def _numbered(said: Sequence[int], total: int) -> tuple[int, ...] | None:
    """Indexes from what was said (-1 is the last); None where there is no such picture."""
    numbers = tuple(n + total if n < 0 else n for n in said)
    return numbers if all(0 <= n < total for n in numbers) else None


def replace_scope(said: Scope, numbers: tuple[int, ...]) -> Scope:
    """A resolved scope that keeps whether all pictures have to agree."""
    return Scope(at="numbers", numbers=numbers, every=said.every, frame=said.frame)


def filled(waiting: Draft, reading_topic: Concept) -> Draft:
    """An open request with the thing it lacked ("segment it" ... "the dog")."""
    action = waiting.plan.action
    if isinstance(action, Revise):
        return replace(waiting, plan=waiting.plan.model_copy(update={"action": Segment(target=reading_topic)}))

    def put(concept: Concept) -> Concept:
        return replaced(concept, lambda mention: reading_topic)

    return replace(waiting, plan=waiting.plan.model_copy(update={"action": _mapped(action, put)}))
