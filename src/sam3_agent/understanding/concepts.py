"""Small algebra on concept expressions: describe, collect, replace.

Used by the grammar while it builds an expression, by `references.py` to put an antecedent in the place of a
pronoun, and by the executor to know which phrases it will need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from sam3_agent.understanding.plan import (
    AnyOf,
    Attribute,
    Concept,
    Filtered,
    Mention,
    Phrase,
    Rank,
    Region,
    Relation,
    Size,
    Than,
    Without,
)
from sam3_agent.understanding.tokens import spend

Change = Callable[[Concept], Concept]  # what a predicate does to the thing it is said of


def described(base: Concept, text: str, where: str = "before", *, negated: bool = False) -> Concept:
    """`base` with one more property; it joins the noun phrase where that means the same."""
    if not negated:
        if isinstance(base, Phrase):
            return with_property(base, text, where)
        if isinstance(base, AnyOf):
            return base.model_copy(update={"parts": tuple(described(part, text, where) for part in base.parts)})
        if isinstance(base, Without):
            return Without(base=described(base.base, text, where), minus=base.minus)
        if isinstance(base, Filtered) and order_free(base):
            return Filtered(base=described(base.base, text, where), by=base.by)
    side: Literal["before", "after"] = "before" if where == "before" else "after"
    return Filtered(base=base, by=Attribute(text=text, where=side, negated=negated))


def with_property(phrase: Phrase, text: str, where: str) -> Phrase:
    """The phrase with `text` before or after its noun, once."""
    if where == "before":
        return phrase if text in phrase.attributes else phrase.model_copy(
            update={"attributes": (text, *phrase.attributes)})  # fmt: skip
    return phrase if text in phrase.details else phrase.model_copy(update={"details": (*phrase.details, text)})


def order_free(concept: Filtered) -> bool:
    """Whether the filter gives the same members before and after another property is asked for."""
    by = concept.by
    return isinstance(by, Attribute | Relation | Size | Than) or (isinstance(by, Region) and not by.pick)


def positive_phrases(concept: Concept) -> list[Phrase]:
    """The noun phrases whose members can be in the result."""
    spend(1)
    if isinstance(concept, Phrase):
        return [concept]
    if isinstance(concept, AnyOf):
        return [phrase for part in concept.parts for phrase in positive_phrases(part)]
    if isinstance(concept, Filtered | Without):
        return positive_phrases(concept.base)
    return []


def walk(concept: Concept) -> Iterator[Concept]:
    """The expression and everything in it, from the outside in and from left to right.

    One loop over a list of what is left: a generator in a generator hands every part up through all the levels above
    it, which is what made a long chain of places ("left of ... left of ...") slow.
    """
    left = [concept]
    while left:
        part = left.pop()
        yield part
        left += reversed(_inside(part))


def _inside(concept: Concept) -> Sequence[Concept]:
    """The parts of an expression, one level down."""
    if isinstance(concept, AnyOf):
        return concept.parts
    if isinstance(concept, Without):
        return (concept.base, concept.minus)
    if isinstance(concept, Filtered):
        inner = (getattr(concept.by, "landmark", None), getattr(concept.by, "second", None))
        return (concept.base, *(part for part in inner if part is not None))
    return ()


def mentions(concept: Concept) -> list[Mention]:
    """The words in the expression that point back."""
    parts = list(walk(concept))
    spend(len(parts) // 4)
    return [part for part in parts if isinstance(part, Mention)]


def replaced(concept: Concept, by: Callable[[Mention], Concept]) -> Concept:
    """The expression with every mention replaced; properties of a mention join its antecedent."""
    if isinstance(concept, Mention):
        return by(concept)
    if isinstance(concept, AnyOf):
        return joined([replaced(part, by) for part in concept.parts], concept.joint)
    if isinstance(concept, Without):
        return Without(base=replaced(concept.base, by), minus=replaced(concept.minus, by))
    if isinstance(concept, Filtered):
        base, rule = replaced(concept.base, by), concept.by
        if isinstance(rule, Attribute):
            return described(base, rule.text, rule.where, negated=rule.negated)
        update = {
            name: replaced(inner, by)
            for name in ("landmark", "second")
            if (inner := getattr(rule, name, None)) is not None
        }
        return Filtered(base=base, by=rule.model_copy(update=update) if update else rule)
    return concept


def joined(parts: list[Concept], joint: str = "and") -> Concept:
    """One expression for several: flat, without repetition."""
    flat: list[Concept] = []
    spend(len(parts))
    for part in parts:
        flat += [p for p in (part.parts if isinstance(part, AnyOf) else (part,)) if p not in flat]
    return flat[0] if len(flat) == 1 else AnyOf(parts=tuple(flat), joint="or" if joint == "or" else "and")


def kind_of(concept: Concept) -> Concept:
    """The bare kind of thing: the noun phrases without filters ("the two largest red cars" -> "red cars")."""
    return joined(list(positive_phrases(concept))) if positive_phrases(concept) else concept


def bare_noun(concept: Concept) -> Concept:
    """The noun alone ("red cars on the left" -> "cars")."""
    return joined([Phrase(noun=phrase.noun) for phrase in positive_phrases(concept)] or [concept])


def is_singular(concept: Concept) -> bool:
    """Whether one thing is meant ("the dog")."""
    phrases = positive_phrases(concept)
    return len(phrases) == 1 and not phrases[0].plural


def ranked(concept: Concept) -> bool:
    """Whether the outermost filter picks by an order."""
    return isinstance(concept, Filtered) and isinstance(concept.by, Rank)
