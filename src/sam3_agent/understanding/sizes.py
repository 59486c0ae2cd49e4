"""Comparing the sizes or places of two things: "which is bigger, the sofa or the table". Tokens -> `CompareSizes`."""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import nouns
from sam3_agent.understanding.plan import AnyOf, CompareSizes
from sam3_agent.understanding.questions import alternatives, finished
from sam3_agent.understanding.tokens import Cursor

_ORDERS: dict[str, tuple[str, bool]] = {
    **{word: (measure, not more) for word, (measure, more) in lex.COMPARATIVES.items()},
    "higher": ("top", False),
    "lower": ("bottom", False),
    "biggest": ("area", False),
    "largest": ("area", False),
    "smallest": ("area", True),
    "tallest": ("height", False),
    "shortest": ("height", True),
    "widest": ("width", False),
    "narrowest": ("width", True),
    "longest": ("length", False),
    "highest": ("top", False),
    "lowest": ("bottom", False),
    "leftmost": ("left", False),
    "rightmost": ("right", False),
}


def compare_sizes(cursor: Cursor) -> CompareSizes | None:
    """ "which is bigger, the sofa or the table", "is the sofa or the table bigger"."""
    start = cursor.at
    for rule in (_nearer_than, _which_nearer, _which_bigger, _or_bigger):
        cursor.at = start
        found = rule(cursor)
        if found is not None and finished(cursor):
            return found
    return None


def _which_bigger(cursor: Cursor) -> CompareSizes | None:
    if cursor.take("which", "what", "who") is None:
        return None
    cursor.take("one of them", "one", "of them", "of these", "of the two", "thing", "object")
    kind = (
        None
        if cursor.word() in lex.COPULAS | {"takes", "covers", "appears", "looks", "has", "occupies"}
        else nouns.item(cursor)
    )
    order = _order(cursor)
    if order is None:
        return None
    cursor.take(",")
    cursor.take(":")
    found = nouns.noun_list(cursor)
    if found is None:
        return None
    parts = alternatives(found)
    if kind is not None:
        parts = tuple(nouns.bound(part, kind.concept) for part in parts)
    return CompareSizes(parts=parts, by=order[0], reverse=order[1]) if len(parts) > 1 else None  # type: ignore[arg-type]


def _which_nearer(cursor: Cursor) -> CompareSizes | None:
    """ "which is closer to the tree, the dog or the cat"."""
    if cursor.take("which one", "which of them", "which", "what", "who") is None or not cursor.take("is", "are"):
        return None
    away = _nearer(cursor)
    landmark = nouns.item(cursor) if away is not None else None
    if landmark is None or away is None:
        return None
    cursor.take(",")
    cursor.take(":")
    found = nouns.noun_list(cursor)
    parts = alternatives(found) if found else ()
    return CompareSizes(parts=parts, by="near", reverse=away, landmark=landmark.concept) if len(parts) > 1 else None


def _nearer_than(cursor: Cursor) -> CompareSizes | None:
    """ "is the dog closer to the tree than the cat"."""
    first = nouns.item(cursor, modified=False) if cursor.take("is", "are") else None
    away = _nearer(cursor) if first else None
    landmark = nouns.item(cursor) if away is not None else None
    second = nouns.item(cursor) if landmark and cursor.take("than") else None
    if first is None or second is None or landmark is None or away is None:
        return None
    cursor.take("is", "are")
    parts = (first.concept, nouns.bound(second.concept, first.concept))
    return CompareSizes(parts=parts, by="near", reverse=away, landmark=landmark.concept, ask="whether")


def _nearer(cursor: Cursor) -> bool | None:
    """Whether farther away is asked for; None where neither is."""
    cursor.take("the")
    if cursor.take("closer to", "nearer to", "closest to", "nearest to", "nearer", "nearest"):
        return False
    far = ("farther away from", "further away from", "farther from", "further from", "farthest from", "furthest from")
    return True if cursor.take(*far) else None


def _order(cursor: Cursor) -> tuple[str, bool] | None:
    """ "is bigger", "takes up more space", "is further left"."""
    if cursor.take("takes up", "covers", "occupies", "take up", "cover", "occupy", "fills", "has"):
        cursor.take("a")
        more = cursor.take(
            "more",
            "less",
            "the most",
            "the least",
            "larger",
            "bigger",
            "smaller",
            "the larger",
            "the bigger",
            "the smaller",
            "the largest",
            "the biggest",
            "the smallest",
        )
        if more and cursor.take("space", "area", "room", "of it", "surface", "pixels"):
            return "area", more.split()[-1] in ("less", "least", "smaller", "smallest")
        image = cursor.peek()
        if more and image is not None and image.kind == "image":
            cursor.at += 1
            return "area", more.split()[-1] in ("less", "least")
        return None
    if cursor.take("is", "are", "looks", "appears", "was") is None:
        return None
    cursor.take("the", "actually")
    if cursor.take("further to the left", "more to the left", "further left", "farther left", "farther to the left"):
        return "left", False
    if cursor.take(
        "further to the right", "more to the right", "further right", "farther right", "farther to the right"
    ):
        return "right", False
    word = cursor.word()
    if word not in _ORDERS:
        return None
    cursor.at += 1
    cursor.take("one", "up", "in size", "in the picture", "of the two", "down")
    return _ORDERS[word]


def _or_bigger(cursor: Cursor) -> CompareSizes | None:
    """ "is the sofa or the table bigger"."""
    if cursor.take("is", "are") is None:
        return None
    found = nouns.noun_list(cursor)
    if found is None or not isinstance(found.concept, AnyOf) or found.concept.joint != "or":
        return None
    cursor.take("the")
    word = cursor.word()
    if word not in _ORDERS:
        return None
    cursor.at += 1
    cursor.take("one")
    by, reverse = _ORDERS[word]
    return CompareSizes(parts=alternatives(found), by=by, reverse=reverse)  # type: ignore[arg-type]
