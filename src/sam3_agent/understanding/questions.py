"""Questions about one picture: how many, is there, where, which. Tokens -> an action, or None.

Every rule starts at the beginning of a clause and must reach its end; `subject` reads a thing and what the
question says of it ("how many cups | are on the table"). Called by `grammar.py`.
"""

from __future__ import annotations

from sam3_agent.understanding import chunks, modifiers, nouns
from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.determiners import Determiner, PendingRank
from sam3_agent.understanding.nouns import Item
from sam3_agent.understanding.plan import AnyOf, Claim, Concept, Count, Filtered, Mention, Phrase, Rank, Segment
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_TAILS = PhraseTable.of(
    "are there|is there|there are|there is|were there|do you see|can you see|can i see|do i see|"
    "do you count|do you find|can you find|can you count|can you spot|can you make out|do we have|do we see|"
    "can we see|are visible|is visible|are shown|are present|are left|is left|remain|remaining|"
    "are remaining|is that|are those|are these|is it|exist|appear|appears|you can see|you see|i can see|"
    "do you have|did you find|were found|are depicted|can be found|can be counted|can be seen|"
    "have you found|in there|that makes|are pictured|do you spot|do you detect|did you detect|did you see|"
    "did you count|have we got|have you got|are we talking about|would you count|would you say there are|"
    "would you say are there|are in total|are there now|are there then|left|are we left with|do i have|"
    "can be made out|are displayed|are featured|show up|turn up|could you count|could you see|have i got|"
    "pop up|are you seeing|are you able to see|pass by|pass through|pass|drive by|drive past|come into view|"
    "seen|to be seen|pictured|depicted|shown|on screen|on the screen|come past|walk past|walk by|go by|go past|fly by|fly past|"
    "swim by|swim past|run past|run by|there in total|are seen|is seen|are on screen|are on the screen|"
    "enter|show|in total|altogether|in all|overall|all in all|are to be seen|are there to see|occur",
    True,
)
SHOWS = lex.words("contain contains have has show shows include includes depict depicts feature features display displays "
                   "hold holds got picture")  # fmt: skip


_THOSE = {
    ("is", "that"),
    ("are", "those"),
    ("are", "these"),
    ("that", "makes"),
    ("are", "they"),
    ("is", "it"),
    ("is", "this"),
}


def finished(cursor: Cursor) -> bool:
    """Whether only idle words and marks are left."""
    at = cursor.at
    while at < len(cursor.tokens):
        token = cursor.tokens[at]
        idle = (
            token.kind in ("mark", "emoji", "image")
            or token.text in lex.ADVERBS - {"not", "only", "just"}
            or token.text in ("please", "the")
        )
        if not idle:
            return False
        at += 1
    return True


def subject(cursor: Cursor, *, statement: bool = False) -> Item | None:
    """A thing (or several) and, after it, what the question says of it."""
    found = nouns.noun_list(cursor, statement=statement)
    if found is None:
        return None
    _skip_tail(cursor)
    more = _said_of(cursor, found.concept)
    if more is found.concept:
        return found
    return Item(more, found.determiner)


def _skip_tail(cursor: Cursor) -> None:
    if cursor.word() in ("does", "do", "did", "has", "have") and _picture_next(cursor):
        cursor.at += 2
        if cursor.word() in SHOWS:
            cursor.at += 1
        return
    token = cursor.peek()
    if token is not None and token.kind == "image" and cursor.word(1) in SHOWS:
        cursor.at += 2
        return
    cursor.skip(("visible", "present", "there") if cursor.word(1) not in lex.COPULAS else ())
    found = _TAILS.match(cursor)
    if found is None:
        if cursor.word() in lex.COPULAS and finished(Cursor(cursor.tokens, cursor.at + 1)):
            cursor.at += 1
        return
    following = cursor.peek(found[0])
    if cursor.word(found[0] - 1) == "left" and following is not None and following.text == "of":
        return  # "are left of the bus" is a place, not a remainder
    if cursor.word() in ("left", "show", "enter", "pass") and following is not None:
        return
    cursor.at += found[0]
    cursor.skip(
        ("left", "visible", "in", "total", "now", "there", "currently")
        if cursor.word(1) == ""
        else ("visible", "currently")
    )


def _picture_next(cursor: Cursor) -> bool:
    token = cursor.peek(1)
    return token is not None and token.kind == "image"


def _said_of(cursor: Cursor, concept: Concept) -> Concept:
    """Modifiers and one verb after the subject; the concept itself where there is none."""
    start = cursor.at
    changed = modifiers.after_noun(cursor, concept, PendingRank())
    if changed is not concept:
        return _excepted(cursor, changed)
    if cursor.done or finished(cursor):
        return concept
    change = modifiers.clause(cursor)
    if change is None:
        cursor.at = start
        return _excepted(cursor, concept)
    return _excepted(cursor, change(concept))


def _excepted(cursor: Cursor, concept: Concept) -> Concept:
    return nouns.excluded_from(cursor, concept)


# --- how many ----------------------------------------------------------------------------------------------------------


def how_many(cursor: Cursor) -> Count | None:
    """ "how many cups are on the table", "count the red cars", "what's the number of dogs that are not sitting"."""
    if lex.HOW_MANY.take(cursor):
        if cursor.word() in ("percent", "pixels", "times") or cursor.word(-1) == "much":
            return None
        if tuple(token.text for token in cursor.tokens[-2:]) in _THOSE:
            return Count(target=Mention(word="them"))
        if _names_nothing(cursor) or (
            cursor.word() in lex.COPULAS | {"do", "can", "remain", "in"} and _only_tail(cursor)
        ):
            return Count(target=Mention(word="them"))
    else:
        cursor.take("what is", "what was", "what are", "what") if lex.COUNT.match(cursor) is None else None
        if cursor.word() == "count" and _names_nothing(Cursor(cursor.tokens, cursor.at + 1)):
            return Count(target=Mention(word="them"))
        if lex.COUNT.take(cursor) is None:
            return None
        while lex.COUNT.take(cursor):
            pass
        cursor.take("how many")
    cursor.take("different kinds of")
    cursor.skip(lex.DISTINCT)
    cursor.take("the") if cursor.word(1) in lex.DISTINCT else None
    cursor.skip(lex.DISTINCT)
    found = subject(cursor)
    if found is None or not finished(cursor):
        return None
    if found.determiner.low and not isinstance(found.concept, Mention) and found.determiner.count is None:
        return None
    return Count(target=found.concept)


def _names_nothing(cursor: Cursor) -> bool:
    """Whether only idle words are left; an emoji right here is the thing itself ("how many 🐔?")."""
    token = cursor.peek()
    return finished(cursor) and not (token is not None and token.kind == "emoji")


def _only_tail(cursor: Cursor) -> bool:
    """ "how many are there", "how many do you see": no thing is named."""
    ahead = Cursor(cursor.tokens, cursor.at)
    _skip_tail(ahead)
    if ahead.at > cursor.at and finished(ahead):
        cursor.at = ahead.at
        return True
    return False


def how_many_of_them(cursor: Cursor) -> Count | None:
    """ "how many are red", "how many have hats": of what was found before."""
    if not cursor.take("how many", "how many of them", "how many of those"):
        return None
    if cursor.word() not in lex.COPULAS | lex.HAVE | {"do", "wear", "are"}:
        return None
    change = modifiers.clause(cursor)
    if change is None or not finished(cursor):
        return None
    return Count(target=change(Mention(word="them")))


# --- claims ------------------------------------------------------------------------------------------------------------


def separate(found: Item) -> list[tuple[Concept, Determiner]]:
    """The members of a list with a determiner each; one entry where they cannot be told apart."""
    concept, parts = found.concept, found.parts
    if len(parts) < 2:
        return [(concept, found.determiner)]
    if isinstance(concept, Filtered) and isinstance(concept.base, AnyOf) and len(concept.base.parts) == len(parts):
        shared = concept.by
        return [
            (Filtered(base=base, by=shared), part.determiner)
            for base, part in zip(concept.base.parts, parts, strict=True)
        ]
    if isinstance(concept, AnyOf) and len(concept.parts) == len(parts):
        return [(base, part.determiner) for base, part in zip(concept.parts, parts, strict=True)]
    return [(concept, found.determiner)]


def claim(determiner: Determiner, target: Concept, *, of: Concept | None = None, words: str = "") -> Claim:
    """One claim: bounds from the determiner; a definite plural, "all" and "both" ask for every member."""
    every = of is not None and (
        determiner.every
        or (determiner.definite and not determiner.indefinite and _plural(of) and determiner.low is None)
        or (isinstance(of, Mention) and of.word == "them" and not determiner.indefinite and determiner.low is None)
    )
    if determiner.none:
        return Claim(words=words, target=target, at_least=0, at_most=0)
    if determiner.most is not None and of is not None:
        return Claim(words=words, target=target, at_least=1, of=of, most=determiner.most)
    low = 1 if determiner.low is None else determiner.low
    if every:
        return Claim(words=words, target=target, at_least=1, of=of)
    return Claim(words=words, target=target, at_least=low, at_most=determiner.high)


def _plural(concept: Concept) -> bool:
    return (isinstance(concept, Phrase) and concept.plural) or (isinstance(concept, Filtered) and _plural(concept.base))


# --- where, which --------------------------------------------------------------------------------------------------------


def where(cursor: Cursor) -> Segment | None:
    """ "where are the sheep"."""
    if lex.WHERE.take(cursor) is None:
        return None
    cursor.take("exactly")
    found = subject(cursor)
    if found is None:
        return None
    cursor.skip(
        ("is", "are", "located", "hiding", "positioned", "standing", "found", "hidden", "situated", "placed", "at")
    )
    return Segment(verb="where", target=found.concept) if finished(cursor) else None


def which(cursor: Cursor) -> Segment | None:
    """ "which chairs are next to the lamp", "which one is the biggest", "who is wearing a hat"."""
    cursor.take("and", "but")
    word = cursor.take("which", "what", "who")
    if word is None:
        return None
    cursor.take("of the following")
    if word == "who":
        change = modifiers.clause(cursor)
        if change is None or not finished(cursor):
            return None
        return Segment(target=change(Phrase(noun="person")))
    start = cursor.at
    pointed = cursor.take("of them", "of these", "of those", "ones", "one of them", "one", "of the two")
    if pointed in ("of these", "of those") and chunks.is_content(cursor):
        cursor.at, pointed = start, None  # "which of these folks has a beard"
    if pointed or cursor.word() in lex.COPULAS:
        base: Concept = Mention(word="them")
        if not pointed and cursor.word() in lex.COPULAS:
            return _which_is(cursor)
        order = _more_so(cursor)
        if order is not None:
            return Segment(target=Filtered(base=base, by=order))
        change = modifiers.clause(cursor)
        if change is not None and finished(cursor):
            return Segment(target=change(base))
        cursor.at = start
        return None
    cursor.take("of")
    found = subject(cursor)
    if found is None or not finished(cursor):
        return None
    if word == "what" and isinstance(found.concept, Phrase):
        return None
    return Segment(target=found.concept)


def _more_so(cursor: Cursor) -> Rank | None:
    """ "which of the two is taller": the order that a comparative without "than" asks for."""
    ahead = Cursor(cursor.tokens, cursor.at)
    ahead.skip(lex.COPULAS | {"the"})
    word = ahead.word()
    ahead.at += 1
    if not finished(ahead) or word not in lex.COMPARATIVES:
        return None
    measure, more = lex.COMPARATIVES[word]
    cursor.at = ahead.at
    return Rank(by=measure, reverse=not more)  # type: ignore[arg-type]


def _which_is(cursor: Cursor) -> Segment | None:
    """ "which is the largest dog": a thing singled out, or nothing to look for."""
    cursor.skip(lex.COPULAS)
    found = nouns.noun_list(cursor)
    if found is None or not finished(cursor):
        return None
    singled = isinstance(found.concept, Filtered)
    return Segment(target=found.concept) if singled else None


def alternatives(found: Item) -> tuple[Concept, ...]:
    """The things of "A or B"."""
    apart = tuple(concept for concept, _ in separate(found))
    if len(apart) == 1 and isinstance(apart[0], AnyOf):
        return apart[0].parts
    return apart
