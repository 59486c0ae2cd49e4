"""What stands behind a noun, and what is said about it after "is": properties, places, comparisons.

    modifier  := region | relation thing | "with" thing | participle | "that" predicate | "not" predicate | ...
    predicate := one ("and" | "or") one ...

A predicate is read as a function from concept to concept (`Change`), so that "are red or parked" can be applied to
whatever the subject is, and turned round by "not". Called by `nouns.item` and by the questions.
"""

from __future__ import annotations

from sam3_agent.understanding import chunks, nouns, places
from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.concepts import Change, described, is_singular, joined
from sam3_agent.understanding.determiners import Determiner as _Determiner
from sam3_agent.understanding.determiners import PendingRank, leading_rank
from sam3_agent.understanding.facts import has, one_fact
from sam3_agent.understanding.plan import Concept, Filtered, Mention, Phrase, Without
from sam3_agent.understanding.ranks import nearest_to, rank_behind
from sam3_agent.understanding.tokens import Cursor

_IDLE = lex.ADVERBS - {"not", "just", "only", "too", "also", "again", "now", "instead", "else"}


def after_noun(cursor: Cursor, concept: Concept, rank: PendingRank, *, definite: bool = False) -> Concept:
    """`concept` with everything that follows its noun; completes `rank` on the way."""
    while not cursor.done:
        start = cursor.at
        if lex.JOIN_OUTSIDE.match(cursor):
            break
        _skip_idle(cursor)
        if rank_behind(cursor, rank):
            continue
        change = _modifier(cursor, pick=(definite and not rank.complete and is_singular(concept)) or _is_one(concept))
        if change is None:
            cursor.at = start
            break
        concept = _and_places(cursor, change)(concept)
    return concept


def _and_places(cursor: Cursor, change: Change) -> Change:
    """ "left of the tree | and right of the house", "left | or right of the bus"."""
    while (
        cursor.word() in ("and", "or", "but")
        and lex.RELATIONS.match(cursor, ahead=1)
        and cursor.word(1) not in ("in", "on", "at", "by", "over", "before")
    ):
        here, joint = cursor.at, cursor.word()
        cursor.at += 1
        more = one_fact(cursor, pick=False, finite=False)
        if more is None:
            cursor.at = here
            break
        change = _either(change, more) if joint == "or" else _both(change, more)
    return change


def predicate(cursor: Cursor) -> Change | None:
    """What follows "are": one or several statements joined by and/or, perhaps negated."""
    start = cursor.at
    negated = False
    cursor.skip(_IDLE - {"there"})
    while cursor.take("not", "never", "neither", "n't"):
        negated = True
    cursor.skip(_IDLE - {"there"} | {"all", "both", "either"})
    cursor.take("being") if cursor.word(1) else None
    change = _one(cursor, negated)
    if change is None:
        cursor.at = start
        return None
    while not cursor.done:
        here = cursor.at
        comma = cursor.take(",")
        word = cursor.take("and", "or", "nor", "but") or comma
        cursor.skip(lex.COPULAS | {"either", "also", "that", "who", "which", "both"})
        again = bool(cursor.take("not")) or (negated and word in ("or", "nor"))
        denied = negated and word in ("or", "nor")
        more = _one(cursor, again) if word and (denied or _continues(cursor)) else None
        if more is None:
            cursor.at = here
            break
        change = _either(change, more) if word == "or" and not negated else _both(change, more)
    return change if negated else _with_places(cursor, change)


def _with_places(cursor: Cursor, change: Change) -> Change:
    """ "sitting | on the sofa | next to the lamp": places after what is done belong to it."""
    while not cursor.done:
        more = one_fact(cursor, pick=False, finite=False)
        if more is None:
            return change
        change = _both(change, more)
    return change


def _both(first: Change, second: Change) -> Change:
    return lambda concept: second(first(concept))


def _either(first: Change, second: Change) -> Change:
    return lambda concept: joined([first(concept), second(concept)], "or")


def _continues(cursor: Cursor) -> bool:
    """After "and": another property or place, not another thing."""
    word = cursor.word()
    if word in lex.ADJECTIVES | lex.PARTICIPLES and not chunks.is_content(cursor, 1):
        return True
    if word in lex.PARTICIPLES and word in lex.TRANSITIVE:
        return True
    return lex.RELATIONS.match(cursor) is not None or (word in ("a", "an") and cursor.word(-1) == "or")


def _skip_idle(cursor: Cursor) -> None:
    while cursor.word() in _IDLE and not (cursor.word() == "there" and cursor.word(-1) in lex.COPULAS):
        cursor.at += 1


def _is_one(concept: Concept) -> bool:
    return isinstance(concept, Mention) and concept.word in ("one", "it")


# --- one modifier -----------------------------------------------------------------------------------------------------


def _modifier(cursor: Cursor, *, pick: bool) -> Change | None:
    if cursor.take("but not"):
        cursor.at -= 1
        change = _negated(cursor)
        cursor.at -= 1 if change is None else 0
        return change
    if lex.EXCEPT.match(cursor) and cursor.word() != "not" and cursor.word() != "less":
        return None
    if cursor.word() == "without" and nouns.definite_follows(cursor):
        return None
    if _relative_pronoun(cursor):
        return _relative_clause(cursor)
    if cursor.word() == "not" and (lex.EXCEPT.match(cursor) or (1, True))[0] > 1:
        return None
    if cursor.word() == "not":
        return _negated(cursor)
    return one_fact(cursor, pick=pick, finite=False)


def _relative_pronoun(cursor: Cursor) -> bool:
    return cursor.word() in ("that", "which", "who", "whose") or (
        cursor.word() == ","
        and cursor.word(1) in ("which", "who")
        and cursor.word(2) in lex.COPULAS
        and cursor.word(3) not in ("there", "more", "fewer")
    )


def _relative_clause(cursor: Cursor) -> Change | None:
    """ "that are (not) red", "who wear hats", "that have no collar", "that take up more than 10 %"."""
    start = cursor.at
    cursor.take(",")
    whose = cursor.take("whose") is not None
    if not whose:
        cursor.at += 1
    change = _whose(cursor) if whose else clause(cursor)
    if change is None:
        cursor.at = start
    return change


def clause(cursor: Cursor) -> Change | None:
    """A verb and what it says: "are sitting", "do not wear hats", "has a red roof", "can be seen"."""
    start = cursor.at
    if cursor.take(
        "can be seen",
        "can be found",
        "you can see",
        "i can see",
        "you see",
        "you find",
        "you can find",
        "appear",
        "appears",
        "are there",
        "is there",
        "exist",
        "exists",
        "there are",
        "there is",
        "are visible",
        "is visible",
        "are shown",
        "is shown",
        "are present",
        "is present",
        "i see",
        "happen to be there",
    ):
        return one_fact(cursor, pick=False) or (lambda concept: concept)
    cursor.take("happen to", "happens to", "appear to", "seem to", "appears to", "seems to")
    cursor.skip(("currently", "actually", "really", "clearly"))
    if cursor.take("do not", "does not", "did not", "can not", "will not"):
        return _refused(cursor, start)
    cursor.take("do", "does", "can", "would", "could")
    found_size = places.size(cursor)
    if found_size is not None:
        return lambda concept: Filtered(base=concept, by=found_size)
    if cursor.word() in lex.COPULAS:
        cursor.skip(lex.COPULAS)
        change = predicate(cursor)
    elif cursor.word() in lex.HAVE:
        change = having(cursor)
    else:
        change = one_fact(cursor, pick=False)
        change = _with_places(cursor, _more_facts(cursor, change)) if change else None
    if change is None:
        cursor.at = start
    return change


def _more_facts(cursor: Cursor, change: Change) -> Change:
    while not cursor.done:
        here = cursor.at
        word = cursor.take("and", "or")
        more = one_fact(cursor, pick=False) if word and cursor.word() in lex.PARTICIPLES else None
        if more is None:
            cursor.at = here
            break
        change = _either(change, more) if word == "or" else _both(change, more)
    return change


def _refused(cursor: Cursor, start: int) -> Change | None:
    """After "do not": a verb, a possession, a place or a size, turned round."""
    cursor.take("be")
    found_size = places.size(cursor)
    if found_size is not None:
        return lambda concept: Filtered(base=concept, by=found_size.model_copy(update={"negated": True}))
    change = having(cursor, negated=True) if cursor.word() in lex.HAVE else _one(cursor, negated=True)
    if change is None:
        cursor.at = start
    return change


def having(cursor: Cursor, *, negated: bool = False) -> Change | None:
    """ "has a red roof", "have no hats", "has got an umbrella"."""
    start = cursor.at
    cursor.skip(lex.HAVE)
    if cursor.take("not"):
        negated = True
    if cursor.take("no", "not any", "neither", "not got"):
        negated = True
    if cursor.word() in ("on", "been"):
        cursor.at += 1
    change = has(cursor, negated=negated)
    if change is None:
        cursor.at = start
    return change


def _whose(cursor: Cursor) -> Change | None:
    """ "whose shirt is red" -> with red shirt."""
    words = chunks.chunk(cursor)
    if not words or cursor.word() not in lex.COPULAS:
        return None
    cursor.at += 1
    negated = bool(cursor.take("not"))
    colour = chunks.chunk(cursor)
    if not colour:
        return None
    text = " ".join(["with", *colour, *words])
    return lambda concept: described(concept, text, "after", negated=negated)


def _negated(cursor: Cursor) -> Change | None:
    """ "not sitting", "not on the table"; "not dogs" is an exclusion and left to the list."""
    start = cursor.at
    cursor.at += 1
    known = cursor.word() in lex.ADJECTIVES | lex.PARTICIPLES or cursor.word().endswith("ing")
    known = known and cursor.word(1) not in ("one", "ones")
    placed = lex.RELATIONS.match(cursor) is not None or cursor.word() in lex.COMPARATIVES or cursor.word() == "with"
    if known and chunks.is_content(cursor, 1) and cursor.word() not in lex.TRANSITIVE | lex.POSTURES:
        known = False
    change = None
    if known or placed:
        cursor.at = start
        change = predicate(cursor)
    if change is None:
        cursor.at = start
    return change


# --- one fact ----------------------------------------------------------------------------------------------------------


def _one(cursor: Cursor, negated: bool) -> Change | None:
    """One statement after "are": a fact, an order, an adjective, or another noun phrase."""
    start = cursor.at
    change = one_fact(cursor, pick=False, negated=negated)
    if change is not None:
        return change
    words = chunks.chunk(cursor) if cursor.word() not in lex.ARTICLES else []
    if words and chunks.is_content(cursor) is False and _adjectival(words):
        text = " ".join(words)
        cursor.take("in colour", "in color", "coloured", "colored", "in size")
        return _named_or_described(text, negated)
    cursor.at = start
    rank = leading_rank(cursor, _Determiner()) if cursor.take("the") or True else PendingRank()
    if rank.complete and rank.by is not None and (rank.by == "near" or not chunks.is_content(cursor)):
        cursor.take("one", "ones")
        if rank.by != "near" or nearest_to(cursor, rank):
            return rank.applied_to
    cursor.at = start
    found = nouns.item(cursor)
    if found is None:
        return None
    other = found.concept
    if negated:
        return lambda concept: Without(base=concept, minus=other)
    return lambda concept: other


def _named_or_described(text: str, negated: bool) -> Change:
    """ "everything that is fruit" names the thing; "dogs that are red" describes it."""

    def change(concept: Concept) -> Concept:
        if isinstance(concept, Mention) and concept.word == "everything" and text not in lex.ADJECTIVES and not negated:
            return Phrase(noun=text)
        return described(concept, text, negated=negated)

    return change


def _adjectival(words: list[str]) -> bool:
    """Whether a run of words after "is" describes ("red", "made of") rather than names ("dogs")."""
    last = words[-1]
    if last in lex.ADJECTIVES or last in lex.PARTICIPLES or last.endswith(("ing", "ed", "ish", "ous", "ful", "less")):
        return True
    return len(words) == 1 and not chunks.is_plural(last) and last not in lex.ANIMATE


# --- orders ------------------------------------------------------------------------------------------------------------
