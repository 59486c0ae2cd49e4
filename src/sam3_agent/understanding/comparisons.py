"""Comparing the numbers of two things in a picture: "are there more dogs than cats".

Tokens -> `CompareCounts`, or None; sizes are compared in `sizes.py`, pictures in `across.py`. Called by `grammar.py`.
"""

from __future__ import annotations

from typing import Literal

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import modifiers, nouns
from sam3_agent.understanding.concepts import kind_of
from sam3_agent.understanding.determiners import PendingRank
from sam3_agent.understanding.nouns import Item
from sam3_agent.understanding.plan import CompareCounts, Concept, Filtered, Mention, Relation
from sam3_agent.understanding.questions import alternatives, finished
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_ARE = PhraseTable.of(
    "are there|is there|do you see|can you see|do we have|can i see|do you find|do we see|do i see|"
    "does image have|do you count|were there|do you have|there are|there is",
    True,
)
_WHICH_MORE = PhraseTable(
    [
        *(
            (p, "which more")
            for p in (
                "which are there more of",
                "what are there more of",
                "which is there more of",
                "what is there more of",
                "which do you see more of",
                "what do you see more of",
                "are there more",
                "is there more",
                "of which are there more",
                "what can you see more of",
                "which of them are there more of",
                "which is more common",
                "what is more common",
                "which are more common",
                "which is more numerous",
                "which are more numerous",
                "what are more common",
                "which has the higher count",
                "which has the most",
                "which is the most common",
                "what is the most common",
                "which are there most of",
                "what are there most of",
                "which is more frequent",
                "which there are more of",
                "what there are more of",
                "which are more",
                "what is more numerous",
                "which has a higher count",
                "which occurs more often",
                "which appears more often",
                "which appear more often",
                "which occur more often",
                "which group is larger",
                "which group is bigger",
                "which are in the majority",
                "which is in the majority",
                "which one are there more of",
                "which one is there more of",
                "which ones are there more of",
                "which is there the most of",
                "which are there the most of",
                "what is there the most of",
                "which do we have more of",
                "what do we have more of",
                "what are there the most of",
                "which kind are there more of",
                "which one is more common",
                "which outnumber",
                "which can you see more of",
                "which am i seeing more of",
                "which animal are there more of",
                "which do i have more of",
                "which number is larger",
                "what do you count more of",
                "which is greater in number",
                "which are greater in number",
            )
        ),
        *(
            (p, "which fewer")
            for p in (
                "which are there fewer of",
                "what are there fewer of",
                "which are there less of",
                "what are there less of",
                "which is there less of",
                "which is less common",
                "which is rarer",
                "which is the least common",
                "which are rarer",
                "which do you see fewer of",
                "are there fewer",
                "what is there less of",
                "which are less common",
                "which there are fewer of",
                "which are there the fewest of",
                "which is there fewer of",
                "which do you see less of",
                "what is less common",
                "which one are there fewer of",
                "which are fewer",
                "which is fewer",
                "which are less numerous",
                "which is less numerous",
                "which is less frequent",
                "which has the lower count",
            )
        ),
    ]
)


def compare_counts(cursor: Cursor) -> CompareCounts | None:
    """ "are there more dogs than cats", "which are there more of, cups or plates", "how many more sheep than dogs"."""
    start = cursor.at
    for rule in (_more_than, _how_many_more, _which_more, _as_many, _difference, _outnumber, _compare):
        cursor.at = start
        found = rule(cursor)
        if found is not None and finished(cursor):
            return found
    return None


def _other_side(cursor: Cursor, first: Concept) -> Concept | None:
    """After "than": a thing, or only a place ("than on the floor")."""
    cursor.take("there are", "there is", "of", "the number of", "that of", "are there")
    if lex.RELATIONS.match(cursor) or cursor.word() in ("on", "in", "at", "to"):
        kind = kind_of(first)
        placed = _its_landmark(modifiers.after_noun(cursor, kind, PendingRank()), first)
        return placed if placed is not kind else None
    second = nouns.noun_list(cursor)
    if second is None:
        return None
    cursor.take("are there", "there are", "is there", "do you see", "do we have", "can you see", "in number")
    return nouns.bound(second.concept, first)


def _its_landmark(placed: Concept, first: Concept) -> Concept:
    """ "more cups on the table than under it": "it" is the table."""
    landmark = getattr(getattr(first, "by", None), "landmark", None)
    by = getattr(placed, "by", None)
    if isinstance(placed, Filtered) and isinstance(by, Relation) and isinstance(by.landmark, Mention) and landmark:
        return placed.model_copy(update={"by": by.model_copy(update={"landmark": landmark})})
    return placed


def _more_than(cursor: Cursor) -> CompareCounts | None:
    """ "are there more A than B"; also without the verb."""
    _ARE.take(cursor)
    ask = {"more": "more", "fewer": "fewer", "less": "fewer"}.get(cursor.word())
    if cursor.take("a greater number of", "a larger number of", "a higher number of"):
        ask = "more"
    elif cursor.take("a smaller number of", "a lower number of"):
        ask = "fewer"
    elif ask is None or cursor.word(1) == "than":
        return None
    else:
        cursor.at += 1
    first = nouns.noun_list(cursor)
    if first is None:
        return None
    cursor.take("are there", "there are", "is there")
    if not cursor.take("than", "compared to", "compared with", "then"):
        return _or_more(cursor, first, ask)
    second = _other_side(cursor, first.concept)
    if second is None:
        return None
    return CompareCounts(parts=(first.concept, second), ask=ask)  # type: ignore[arg-type]


def _or_more(cursor: Cursor, first: Item, ask: str) -> CompareCounts | None:
    """ "are there more dogs or cats", "... or more cats"."""
    parts = list(alternatives(first))
    if cursor.take("or more", "or fewer", "or"):
        second = nouns.item(cursor)
        parts += [second.concept] if second else []
    if len(parts) < 2 or not finished(cursor):
        return None
    return CompareCounts(parts=tuple(parts), ask="which more" if ask == "more" else "which fewer")


def _how_many_more(cursor: Cursor) -> CompareCounts | None:
    """ "how many more A than B are there", "how many more A are there than B"."""
    more = cursor.take("how many more", "how many fewer", "how many less")
    if more is None:
        return None
    first = nouns.noun_list(cursor)
    if first is None:
        return None
    cursor.take("are there", "there are", "is there", "do you see", "can you see", "do we have", "do you count")
    if not cursor.take("than", "compared to", "compared with", "then"):
        return None
    second = _other_side(cursor, first.concept)
    if second is None:
        return None
    parts = (first.concept, second) if more.endswith("more") else (second, first.concept)
    return CompareCounts(parts=parts, ask="difference")


def _which_more(cursor: Cursor) -> CompareCounts | None:
    start = cursor.at
    ask = _WHICH_MORE.take(cursor)
    cursor.take("here", "there")
    _image(cursor)
    cursor.take(",")
    cursor.take(":")
    found = nouns.noun_list(cursor) if ask else None
    if ask is None:
        cursor.at = start
        return _listed_first(cursor)
    parts = alternatives(found) if found else ()
    return CompareCounts(parts=parts, ask=ask) if len(parts) > 1 else None  # type: ignore[arg-type]


def _listed_first(cursor: Cursor) -> CompareCounts | None:
    """ "cups or plates: which are there more of", "of cups and plates, which are there more of"."""
    cursor.take("of", "between", "among", "out of")
    found = nouns.noun_list(cursor)
    cursor.take(",")
    cursor.take(":")
    cursor.take("-")
    ask = _WHICH_MORE.take(cursor) if found else None
    parts = alternatives(found) if found else ()
    return CompareCounts(parts=parts, ask=ask) if ask and len(parts) > 1 else None  # type: ignore[arg-type]


_TIMES: dict[str, tuple[Literal["equal", "at least", "at most"], float]] = {
    "at least as many": ("at least", 1.0), "at most as many": ("at most", 1.0), "twice as many": ("equal", 2.0),
    "half as many": ("equal", 0.5), "at least twice as many": ("at least", 2.0), "exactly twice as many": ("equal", 2.0),
    **{f"{word} times as many": ("equal", float(n)) for word, n in lex.NUMBERS.items() if 1 < n < 13},
    **{f"{n} times as many": ("equal", float(n)) for n in range(2, 13)},
}  # fmt: skip


def _as_many(cursor: Cursor) -> CompareCounts | None:
    """ "are there as many A as B", "is the number of A equal to the number of B", "the same number of A and B"."""
    if _ARE.take(cursor) or cursor.word() == "as":
        if times := cursor.take(*_TIMES):
            first = nouns.noun_list(cursor)
            second = _other_side(cursor, first.concept) if first and cursor.take("as", "as there are") else None
            how, factor = _TIMES[times]
            return CompareCounts(parts=(first.concept, second), ask=how, factor=factor) if first and second else None
        if cursor.take("just as many", "as many", "exactly as many", "equally as many"):
            first = nouns.noun_list(cursor)
            second = _other_side(cursor, first.concept) if first and cursor.take("as", "as there are") else None
            return CompareCounts(parts=(first.concept, second), ask="equal") if first and second else None
        if cursor.take(
            "the same number of",
            "the same amount of",
            "an equal number of",
            "equal numbers of",
            "equally many",
            "the same numbers of",
            "an equal amount of",
            "exactly the same number of",
        ):
            return _pair(cursor, "equal")
        return None
    if cursor.take("is the number of", "is the count of", "are the numbers of", "is the amount of") is None:
        return None
    first = nouns.noun_list(cursor, modified=False)
    if first is None:
        return None
    tests = {
        "equal to": "equal",
        "the same as": "equal",
        "greater than": "more",
        "larger than": "more",
        "higher than": "more",
        "bigger than": "more",
        "more than": "more",
        "less than": "fewer",
        "smaller than": "fewer",
        "lower than": "fewer",
        "fewer than": "fewer",
        "as large as": "equal",
        "as high as": "equal",
        "identical to": "equal",
    }
    if cursor.take("the same", "equal", "identical") and finished(cursor):
        parts = alternatives(first)
        return CompareCounts(parts=parts, ask="equal") if len(parts) == 2 else None
    cursor.at -= 0 if cursor.word(-1) not in ("same", "equal", "identical") else (2 if cursor.word(-1) == "same" else 1)
    ask = cursor.take(*tests)
    second = _other_side(cursor, first.concept) if ask else None
    return CompareCounts(parts=(first.concept, second), ask=tests[ask]) if ask and second else None  # type: ignore[arg-type]


def _pair(cursor: Cursor, ask: str) -> CompareCounts | None:
    """ "A and B", "A as B"."""
    found = nouns.noun_list(cursor)
    if found is None:
        return None
    parts = alternatives(found)
    if len(parts) == 1 and cursor.take("as", "with", "to", "versus", "vs", "than", "against"):
        second = _other_side(cursor, found.concept)
        parts = (found.concept, second) if second else parts
    return CompareCounts(parts=parts, ask=ask) if len(parts) == 2 else None  # type: ignore[arg-type]


def _difference(cursor: Cursor) -> CompareCounts | None:
    """ "what is the difference between the number of A and (the number of) B"."""
    cursor.take("what is", "give me", "compute", "calculate", "tell me", "find", "what")
    cursor.take("the")
    if not cursor.take(
        "difference",
        "numerical difference",
        "difference in number",
        "difference in numbers",
        "difference in count",
        "count difference",
        "difference in counts",
    ):
        return None
    cursor.take("in number", "in numbers", "in count", "in the number", "in counts", "in quantity")
    if not cursor.take("between", "of"):
        return None
    cursor.take(
        "the number of", "the numbers of", "the count of", "the counts of", "number of", "the amount of", "how many"
    )
    first = nouns.item(cursor)
    if first is None or not cursor.take("and", "versus", "vs"):
        return None
    cursor.take("the number of", "the count of", "number of", "that of", "the amount of")
    second = nouns.item(cursor)
    return (
        CompareCounts(parts=(first.concept, nouns.bound(second.concept, first.concept)), ask="gap") if second else None
    )


def _outnumber(cursor: Cursor) -> CompareCounts | None:
    """ "do the dogs outnumber the cats", "are the cats outnumbered by the dogs"."""
    verb = cursor.take("do", "does", "are", "is", "did")
    first = nouns.noun_list(cursor) if verb else None
    if first is None:
        return None
    if cursor.take("outnumber", "exceed the number of", "exceed"):
        ask = "more"
    elif cursor.take(
        "outnumbered by", "less numerous than", "fewer than", "fewer in number than", "rarer than", "less common than"
    ):
        ask = "fewer"
    elif cursor.take(
        "more numerous than", "more common than", "more in number than", "in the majority over", "more frequent than"
    ):
        ask = "more"
    else:
        return None
    second = nouns.noun_list(cursor)
    return CompareCounts(parts=(first.concept, second.concept), ask=ask) if second else None  # type: ignore[arg-type]


def _compare(cursor: Cursor) -> CompareCounts | None:
    """ "compare the number of dogs and cats"."""
    if not cursor.take("compare", "do a comparison of", "make a comparison of"):
        return None
    cursor.take(
        "the numbers of", "the number of", "the counts of", "the count of", "how many", "the amounts of", "numbers of"
    )
    found = _pair(cursor, "which more")
    if found is not None:
        return found
    return None


def _image(cursor: Cursor) -> None:
    token = cursor.peek()
    if token is not None and token.kind == "image":
        cursor.at += 1
