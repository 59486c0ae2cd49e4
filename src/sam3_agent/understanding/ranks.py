"""An order said behind the noun: "from the left", "closest to the knife", "farthest to the right".

Completes the `PendingRank` that `determiners.py` began. Called by `modifiers.py`.
"""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import nouns, places
from sam3_agent.understanding.determiners import PendingRank
from sam3_agent.understanding.plan import Filtered, Rank
from sam3_agent.understanding.tokens import Cursor

_SIDES = ("left", "right", "top", "bottom", "end", "front")


def rank_behind(cursor: Cursor, rank: PendingRank) -> bool:
    """An order said behind the noun: "from the left", "closest to the knife", "farthest right"."""
    start = cursor.at
    if rank.complete and rank.by in (None, "left", "right", "top", "bottom") and _direction(cursor, rank):
        return True
    if rank.by == "near" and rank.landmark is None and rank.region is None and nearest_to(cursor, rank):
        return True
    cursor.take("that is", "that are", "which is", "which are", "who is", "who are", "that's")
    cursor.take("the")
    if rank.by is None and cursor.word() in lex.ORDINALS and cursor.word(1) in ("from", "on"):
        rank.first = lex.ORDINALS[cursor.word()]
        cursor.at += 1
        if rank.first < 0:
            rank.first, rank.last = None, True
        return _direction(cursor, rank)
    if rank.by is None and cursor.word() in lex.SUPERLATIVES:
        by, reverse = lex.SUPERLATIVES[cursor.word()]
        cursor.at += 1
        rank.by, rank.reverse = by, reverse
        if by == "near":
            if (reverse and _far_side(cursor, rank)) or nearest_to(cursor, rank):
                return True
        else:
            cursor.take("in size", "by area", "of all")
            return True
        rank.by, rank.reverse = None, False
    cursor.at = start
    return False


def _direction(cursor: Cursor, rank: PendingRank) -> bool:
    """ "from the left", "on the right", "from left to right", "counting from the top"."""
    start = cursor.at
    cursor.take("counting", "counted", "starting", "when counted")
    if cursor.take("from left to right", "left to right"):
        rank.by = rank.by or "left"
        return True
    if cursor.take("from right to left", "right to left"):
        rank.by = rank.by or "right"
        return True
    if cursor.take("from top to bottom", "top to bottom"):
        rank.by = "top"
        return True
    if cursor.take("from the", "from", "on the", "to the", "at the", "in from the", "on", "starting from the"):
        for side in ("left", "right", "top", "bottom"):
            if cursor.word() == side and cursor.word(1) not in ("of", "half", "third", "quarter"):
                cursor.at += 1
                cursor.take("hand side", "side", "edge", "end")
                image = cursor.peek()
                if image is not None and image.kind == "image":
                    cursor.at += 1
                if rank.last:
                    rank.first, rank.last = rank.first or 1, cursor.tokens[start].text == "from" and rank.last
                rank.by = side
                return True
    cursor.at = start
    return False


def _far_side(cursor: Cursor, rank: PendingRank) -> bool:
    """ "furthest (to the) left"."""
    start = cursor.at
    cursor.take("to the", "on the", "towards the", "over to the")
    if cursor.word() in _SIDES[:4]:
        rank.by, rank.reverse = cursor.word(), False
        cursor.at += 1
        return True
    ups = {"up": "top", "down": "bottom"}
    if cursor.word() in ups:
        rank.by, rank.reverse = ups[cursor.word()], False
        cursor.at += 1
        return True
    cursor.at = start
    return False


def nearest_to(cursor: Cursor, rank: PendingRank) -> bool:
    """ "to the knife", "from the centre of the picture", "the door"."""
    start = cursor.at
    cursor.take("away from", "to", "from", "by", "towards", "of")
    found = places.region(cursor, bare=True)
    if found is not None:
        rank.region = found[0].name
        return True
    other = nouns.item(cursor)
    if other is None or (isinstance(other.concept, Filtered) and isinstance(other.concept.by, Rank) and rank.landmark):
        cursor.at = start
        return False
    rank.landmark = other.concept
    return True
