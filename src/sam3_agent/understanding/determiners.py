"""What stands before the noun: "all of the", "at least three", "the two largest", "the second".

Called by `nouns.item`. A rank that is not complete yet ("the second car" - from where?) is handed on and finished
by what follows the noun ("... from the left").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.objection import Objection, believable
from sam3_agent.understanding.plan import Concept, Filtered, Rank
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_AT_LEAST = PhraseTable.of(
    "at least|no fewer than|no less than|not less than|not fewer than|a minimum of|minimum|at the least", 0
)
_AT_MOST = PhraseTable.of("at most|no more than|not more than|up to|a maximum of|maximum", 0)
_MORE = PhraseTable.of("more than|over|greater than", 1)
_FEWER = PhraseTable.of("fewer than|less than|under", -1)
_EXACT = PhraseTable.of("exactly|only|just|precisely|a total of|about", 0)
_LOOSE = ("only", "just", "about")  # "only two dogs" is said of what is shown; "exactly two dogs" asks for their number
_ALL = PhraseTable.of(
    "all of|all|every single one of|every single|every one of|every|each of|each|both of|both|the whole of|any and all|"
    "every last one of|every last|each and every one of|each and every|all and every",
    True,
)
_MOST = PhraseTable(
    [
        *((phrase, 0.5) for phrase in ("most of", "most", "the majority of", "a majority of", "more than half of",
                                       "more than half", "over half of", "over half", "the bulk of")),
        *((phrase, -0.5) for phrase in ("less than half of", "less than half", "fewer than half of", "fewer than half",
                                        "a minority of", "under half of")),
    ]
)  # fmt: skip
_SOME = PhraseTable.of(
    "any of|any|some of|some|several of|several|many of|many|a few of|a few|few|lots of|a lot of|plenty of|"
    "a number of|a bunch of|a group of|a herd of|a flock of|a row of|various|multiple|either of|either|much|"
    "one or more|whichever|all kinds of|any kind of|a kind of|some kind of|any sort of|"
    "the various|the different|the individual",
    True,
)


@dataclass
class Determiner:
    """What the words before a noun say about its number; `low`/`high` bound how many there should be.

    `bounded`: in words that ask for a number ("at least three"), not in a mere number ("the three dogs").
    `partitive`: some of a known set ("two of the dogs"). `most`: a share of it ("most of the dogs": more than 0.5, "less
    than half of them": -0.5).
    """

    said: bool = False
    definite: bool = False
    every: bool = False
    indefinite: bool = False
    none: bool = False
    low: int | None = None
    high: int | None = None
    count: int | None = None
    bounded: bool = False
    partitive: bool = False
    most: float | None = None
    many: bool | None = None
    other: bool = False
    pointing: Literal["them", "ones", "one"] | None = None


@dataclass
class PendingRank:
    """An order being read: "second" (first=2), "largest" (by area), "two" (count=2)."""

    by: str | None = None
    reverse: bool = False
    first: int | None = None
    count: int | None = None
    landmark: Concept | None = None
    region: str | None = None
    last: bool = False

    @property
    def complete(self) -> bool:
        """Whether anything has been said that asks for an order."""
        return self.by is not None or self.first is not None or self.last

    def applied_to(self, concept: Concept) -> Concept:
        """The concept with the rank around it; an ordinal without direction counts from the left."""
        if not self.complete:
            return concept
        by, reverse = self.by or "left", self.reverse
        if self.last:
            opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
            by, reverse = opposite.get(by, by), reverse if by in opposite else not reverse
        places = {"first": self.first or 1, "count": self.count or 1}
        rank = Rank(by=by, reverse=reverse, landmark=self.landmark, region=self.region, **places)  # type: ignore[arg-type]
        return Filtered(base=concept, by=rank)


def determiner(cursor: Cursor) -> Determiner:
    """Everything up to the adjectives; an empty one where there is none."""
    start, found = cursor.at, Determiner()
    cursor.skip(("just", "only")) if cursor.word(1) in lex.ARTICLES | lex.QUANTIFIERS else None
    if cursor.word() == "no" or (cursor.word() == "none" and cursor.word(1) == "of") or cursor.word() == "zero":
        found.count = 0 if cursor.word() == "zero" else None
        cursor.at += 1
        found.none, found.low, found.high = True, 0, 0
        cursor.take("of the", "of", "other")
        _pointed(cursor, found)
    elif _pointing_alone(cursor):
        return found
    else:
        _quantity(cursor, found)
    found.said = cursor.at > start
    return found


def _pointing_alone(cursor: Cursor) -> bool:
    """ "these", "those", "all", "both" with no noun after them are pronouns, not determiners."""
    following = cursor.peek(1)
    ends = following is None or following.kind in ("mark", "image") or following.text in ("are", "is", "too", "please")
    return cursor.word() in ("this", "that", "these", "those", "all", "both", "her", "one") and ends


def _quantity(cursor: Cursor, found: Determiner) -> None:
    _bounds(cursor, found) if (most := _MOST.match(cursor)) is None else None
    if most is not None and cursor.word(most[0]) not in lex.STOP - lex.ARTICLES - {"them", "us"}:
        found.most, found.indefinite = most[1], True
        cursor.at += most[0]
    elif _ALL.take(cursor):
        found.every, found.many = True, None
    elif _SOME.take(cursor):
        found.indefinite = True
    some = found.count is not None and found.count > 0 and not found.bounded
    found.partitive = bool(cursor.take("of")) and some
    _article(cursor, found)
    _bounds(cursor, found)
    if cursor.word(-1) in lex.NUMBERS and (
        cursor.take("of the", "of those", "of these", "of my") or cursor.word() == "of"
    ):
        found.definite, found.high = True, None
        cursor.take("of")
    _article(cursor, found)
    if cursor.word() in ("other", "remaining", "rest") and cursor.word(1) != "than":
        cursor.at += 1
        found.other = True
        cursor.take("of the", "of")
        _bounds(cursor, found)
    cursor.skip(("same", "following", "single", "visible", "various", "individual", "entire", "whole", "actual"))
    _pointed(cursor, found)


def _pointed(cursor: Cursor, found: Determiner) -> None:
    """ "all of them", "two of these"."""
    if cursor.word(-1) == "of" and cursor.take("them", "these", "those", "us"):
        found.pointing = "them"


def _article(cursor: Cursor, found: Determiner) -> None:
    word = cursor.word()
    if word in ("a", "an"):
        cursor.at += 1
        found.indefinite, found.many = True, False
        if cursor.take("couple of", "pair of", "couple"):
            found.low = found.high = found.count = 2
            found.many = True
        cursor.take("single")
        return
    if word in ("that", "this") and cursor.word(1) in lex.COPULAS | lex.HAVE:
        return
    if word in lex.ARTICLES:
        cursor.at += 1
        found.definite = True


def _bounds(cursor: Cursor, found: Determiner) -> None:
    """ "at least three", "exactly two", "two"."""
    start = cursor.at
    for table, low, high in (
        (_AT_LEAST, 0, None),
        (_AT_MOST, None, 0),
        (_MORE, 1, None),
        (_FEWER, None, -1),
        (_EXACT, 0, 0),
    ):
        if table.take(cursor) is not None:
            loose = cursor.word(-1) in _LOOSE
            number = number_at(cursor)
            if number is None:
                cursor.at = start
                return
            cursor.at += 1
            found.low = 0 if low is None else number + low
            found.high = None if high is None else number + high
            found.bounded = not loose
            found.many = number != 1
            cursor.take("of")
            return
    number = number_at(cursor)
    ranks = cursor.word(1) in lex.SUPERLATIVES or cursor.word(1) in ("most", "least")
    if number is None or cursor.word(1) == "percent" or (cursor.word() == "one" and _one_is_noun(cursor)):
        return
    cursor.at += 1
    cursor.take("or more", "different", "dozen")
    found.count = number
    if cursor.word(-1) == "more":
        found.low = number
    elif not ranks:
        found.low = found.high = number
    found.many = number != 1


def _one_is_noun(cursor: Cursor) -> bool:
    """ "the one on the left" against "one dog" and "one of the dogs"."""
    following = cursor.peek(1)
    if following is None or following.kind in ("mark", "image"):
        return True
    ends = cursor.word(2) == "" or cursor.word(2) in lex.STOP
    return (
        following.text in lex.STOP - {"of"}
        or lex.RELATIONS.match(cursor, ahead=1) is not None
        or (following.text in lex.SUPERLATIVES or (following.text in lex.PARTICIPLES and ends))
    )


def number_at(cursor: Cursor) -> int | None:
    """The whole number that stands here, in digits or letters.

    Raises:
        Objection: more than a picture can show.
    """
    token = cursor.peek()
    if token is None:
        return None
    if token.kind == "number" and float(token.value).is_integer():
        return believable(int(token.value), token.text)
    return lex.NUMBERS.get(token.text) if token.kind == "word" else None


def leading_rank(cursor: Cursor, found: Determiner) -> PendingRank:
    """ "second largest", "two leftmost", "largest three", "first two", "top 3", "last"."""
    rank = PendingRank()
    if cursor.word() == "top" and number_at(Cursor(cursor.tokens, cursor.at + 1)) is not None:
        cursor.at += 1
        rank.count = number_at(cursor)
        rank.by = "score"
        cursor.at += 1
    if cursor.take("second to last", "next to last", "second last", "penultimate", "last but one", "one before last"):
        rank.first, rank.last = 2, True
    elif cursor.take("third to last", "third last"):
        rank.first, rank.last = 3, True
    elif cursor.word() in lex.ORDINALS and cursor.word(1) != "to":
        ordinal = lex.ORDINALS[cursor.word()]
        rank.first, rank.last = (None, True) if ordinal < 0 else (ordinal, False)
        cursor.at += 1
    if (number := number_at(cursor)) is not None and rank.complete and cursor.word() != "one":
        rank.count = number
        cursor.at += 1
    if cursor.take("most", "least") and cursor.word(-1):
        _most(cursor, rank)
    elif cursor.word() in lex.SUPERLATIVES:
        rank.by, rank.reverse = lex.SUPERLATIVES[cursor.word()]
        cursor.at += 1
    elif cursor.take("far left", "far right") and not lex.RELATIONS.match(Cursor(cursor.tokens, cursor.at - 1)):
        rank.by = cursor.word(-1)
    if rank.complete and (number := number_at(cursor)) is not None and cursor.word() != "one":
        rank.count = number
        cursor.at += 1
    if rank.complete and 0 in (rank.count, found.count):
        raise Objection(
            "impossible", "An order begins with one: there cannot be 0 of the largest, first or nearest things."
        )
    if rank.complete:
        rank.count = rank.count or found.count
        found.low = found.high = None
    return rank


def _most(cursor: Cursor, rank: PendingRank) -> None:
    """ "most distant", "least tall"."""
    table = {
        "distant": ("near", True),
        "left": ("left", False),
        "right": ("right", False),
        "tall": ("height", False),
        "central": ("middle", False),
        "centred": ("middle", False),
        "centered": ("middle", False),
    }
    least = cursor.word(-1) == "least"
    if cursor.word() in table:
        by, reverse = table[cursor.word()]
        rank.by, rank.reverse = by, reverse != least
        cursor.at += 1
    else:
        cursor.at -= 1
