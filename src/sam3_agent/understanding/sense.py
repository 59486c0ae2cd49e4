"""Whether a query can make sense at all: before it is parsed, by its text, and afterwards, by its plans.

Called by `effort.understood`. What cannot be is an `Objection`, one sentence for the person.
"""

from __future__ import annotations

import re

from sam3_agent.understanding.concepts import walk
from sam3_agent.understanding.languages import foreign, no_words
from sam3_agent.understanding.objection import Objection
from sam3_agent.understanding.plan import Concept, Node, Phrase, Plan

_LONGEST_SHOWN = 40  # characters of strange text that are repeated to the person
_BELOW_ZERO = re.compile(r"(?:^|\s)(-\d+(?:\.\d+)?)\s+(?!percent|per\s|pixels?\b|px\b)[a-z]", re.IGNORECASE)
_NOT_NOT = re.compile(r"\b(?:not[\s,]+){2}", re.IGNORECASE)
_EXAMPLE = '"how many chickens are there?" or "find the red car"'


def object_to(text: str) -> None:
    """Look at the text of a query.

    Raises:
        Objection: it is not English, not words, a "not" upon a "not", or it asks for less than nothing.
    """
    if foreign(text):
        raise Objection("strange", f"I only understand English. Please ask in English, for example {_EXAMPLE}.")
    piece = no_words(text)
    if piece is not None:
        shown = piece if len(piece) <= _LONGEST_SHOWN else piece[:_LONGEST_SHOWN] + "..."
        raise Objection(
            "strange", f"{shown!r} is not the name of a thing I could look for. Please ask like {_EXAMPLE}."
        )
    below = _BELOW_ZERO.search(text)
    if below is not None:
        raise Objection("impossible", f"There cannot be {below[1]} of anything. Please ask with a number from 0 up.")
    if _NOT_NOT.search(text):
        raise Objection(
            "strange", 'One "not" upon another is more than I can follow. Should I find the things, or leave them out?'
        )


def object_to_plan(plan: Plan) -> None:
    """Look at what a plan would find.

    Raises:
        Objection: a thing is named by a single letter ("how many 't there?").
    """
    for concept in _named(plan.action):
        for part in walk(concept):
            if isinstance(part, Phrase) and len(part.noun) == 1 and part.noun.isascii() and not part.attributes:
                raise Objection("nothing named")


def _named(node: Node) -> list[Concept]:
    """The concepts of an action and of its claims."""
    found: list[Concept] = []
    for name in ("target", "of", "versus", "landmark"):
        value = getattr(node, name, None)
        if value is not None:
            found.append(value)
    found += getattr(node, "parts", ())
    return found + [concept for claim in getattr(node, "claims", ()) for concept in _named(claim)]
