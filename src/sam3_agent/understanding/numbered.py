"""Numbers in a request: "find two dogs" wants two, "find at least two dogs" asks whether there are two.

Called by `grammar.py` on what its commands name, and as a rule of its own for "count exactly two dogs".
"""

from __future__ import annotations

from sam3_agent.understanding.concepts import joined, mentions
from sam3_agent.understanding.determiners import Determiner
from sam3_agent.understanding.nouns import Item
from sam3_agent.understanding.objection import Objection
from sam3_agent.understanding.plan import Concept, Exists, Filtered, Rank
from sam3_agent.understanding.questions import finished, separate, subject
from sam3_agent.understanding.tokens import Cursor
from sam3_agent.understanding.wording import name
from sam3_agent.understanding.yes_no import yes_no


def numbered(thing: Item) -> Exists | None:
    """ "find at least three dogs" asks whether there are three; "find no dogs" asks for nothing.

    Raises:
        Objection: nothing is to be found.
    """
    parts = [part.determiner for part in thing.parts] or [thing.determiner]
    if parts[0].high == 0 and not parts[0].bounded:
        if mentions(thing.concept):
            raise Objection("nothing named")
        named = name(thing.concept)
        raise Objection(
            "impossible",
            f'Nothing can be outlined of no {named}. Please say "find the {named}", or "are there no {named}?".',
        )
    return yes_no(thing) if any(part.bounded for part in parts) else None


def count_bounded(cursor: Cursor) -> Exists | None:
    """ "count exactly two dogs", "count at least three": the number is said already, and is to be checked."""
    if cursor.word() != "count":
        return None
    cursor.at += 1
    thing = subject(cursor)
    if thing is None or not finished(cursor) or not thing.determiner.bounded:
        return None
    return yes_no(thing)


def wanted(thing: Item) -> Concept:
    """What a request names: of "two dogs" the two surest, of "the two dogs" all that there are."""
    pairs = separate(thing)
    limited = [_limited(concept, determiner) for concept, determiner in pairs]
    if all(new is old for new, (old, _) in zip(limited, pairs, strict=True)):
        return thing.concept
    return joined(limited)


def _limited(concept: Concept, determiner: Determiner) -> Concept:
    count = determiner.count
    few = count is not None and 0 < count == determiner.low and (not determiner.definite or determiner.partitive)
    ranked = isinstance(concept, Filtered) and isinstance(concept.by, Rank)
    if not few or ranked or determiner.every or (determiner.high is None and not determiner.partitive):
        return concept
    return Filtered(base=concept, by=Rank(by="score", count=count))
