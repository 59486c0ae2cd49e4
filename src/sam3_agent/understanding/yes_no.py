"""Yes or no: "is there a cat", "are all the dogs sitting", "does the picture contain two dogs". Tokens -> `Exists`."""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import modifiers, nouns
from sam3_agent.understanding.nouns import Item
from sam3_agent.understanding.plan import AnyOf, Concept, Exists, Filtered
from sam3_agent.understanding.questions import SHOWS, claim, finished, separate, subject
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_EXISTS = PhraseTable.of(
    "you see|you can see|you spot|you find any|it has|they have|you can find any|is there|are there|"
    "was there|were there|is there still|are there still|do you see|can you see|can you spot|do you spot|"
    "do you find|can you find any|do you detect|can i see|can we see|do i see|do we see|do we have|"
    "could there be|are there actually|is there actually|is there maybe|does there exist|do there exist|"
    "have you found|did you find|is there also|are there also|is there even|are there even|would there be|"
    "could you see|can you make out|can you detect any|do you have|did you see|might there be|there is|"
    "there are|does it have|does it contain|does it show|do they contain|does that contain|can you spot any|"
    "do you happen to see|is there by any chance|are there perhaps|isn't there|is there not|are there not|"
    "can any|is there really|are there really|am i seeing|are we seeing",
    True,
)


def exists(cursor: Cursor) -> Exists | None:
    """ "is there a cat", "are any of them holding an umbrella", "does the picture contain two dogs"."""
    start = cursor.at
    if cursor.tokens and [token.text for token in cursor.tokens[-3:-1]] == ["the", "same"]:
        return None  # "are the two dogs the same size": nothing that a count could tell
    for rule in (_there_is, _picture_has, _subject_is, _any):
        cursor.at = start
        found = rule(cursor)
        if found is not None and finished(cursor):
            return found
    return None


def _there_is(cursor: Cursor) -> Exists | None:
    if _EXISTS.take(cursor) is None:
        return None
    found = subject(cursor, statement=True)
    return yes_no(found) if found else None


def _picture_has(cursor: Cursor) -> Exists | None:
    cursor.take("does", "do", "did", "has", "have", "can", "is", "are")
    token = cursor.peek()
    if token is None or token.kind != "image":
        return None
    cursor.at += 1
    cursor.take("actually", "also", "really", "both", "each", "all", "either")
    if cursor.word() not in SHOWS and not cursor.take("of"):
        return None
    if cursor.word() in SHOWS:
        cursor.at += 1
    found = subject(cursor, statement=True)
    return yes_no(found) if found else None


def _any(cursor: Cursor) -> Exists | None:
    """ "any dogs?", "anyone wearing a hat?"."""
    if cursor.word() not in ("any", "anyone", "anybody"):
        return None
    found = subject(cursor, statement=True)
    return yes_no(found) if found else None


def _subject_is(cursor: Cursor) -> Exists | None:
    """ "is the dog sitting", "do all the people wear hats", "does anyone here have an umbrella"."""
    verb = cursor.take("is", "are", "was", "were", "do", "does", "did", "can", "has", "have")
    if verb is None:
        return None
    start = cursor.at
    for modified in (False, True):
        cursor.at = start
        found = nouns.noun_list(cursor, statement=True, modified=modified)
        answer = _stated(cursor, verb, found) if found else None
        if answer is not None and finished(cursor):
            return answer
    return None


def _stated(cursor: Cursor, verb: str, found: Item) -> Exists | None:
    """What the question says of its subject."""
    cursor.skip(lex.ADVERBS - {"not", "only", "just"})
    if found.determiner.definite and cursor.take("all", "both", "each"):
        found.determiner.every = True
    if cursor.done:
        return None if verb in ("do", "does", "did", "can") else yes_no(_bare(found))
    if verb in ("has", "have"):
        change = modifiers.having(cursor)
    elif verb in ("is", "are", "was", "were"):
        if found.determiner.indefinite and found.determiner.many is False and cursor.word() in ("a", "an"):
            return None  # "is a tomato a fruit": about words, not about the picture
        change = modifiers.predicate(cursor)
    else:
        change = modifiers.clause(cursor)
    if change is None:
        return None
    return yes_no(found, change(found.concept))


def _bare(found: Item) -> Item:
    """ "is the cat on the sofa": the place was read with the noun; the question is whether such a cat is there."""
    if isinstance(found.concept, Filtered) and found.determiner.definite:
        by = found.concept.by
        if getattr(by, "pick", False):
            return Item(Filtered(base=found.concept.base, by=by.model_copy(update={"pick": False})), found.determiner)
    return Item(found.concept, found.determiner, found.parts)


def yes_no(found: Item, changed: Concept | None = None) -> Exists:
    """The claims of a yes/no question; "all the dogs" asks for every one of them."""
    if changed is not None:
        return Exists(claims=(claim(found.determiner, changed, of=found.concept),))
    pairs = separate(found)
    claims = tuple(claim(determiner, concept) for concept, determiner in pairs)
    joint = "or" if isinstance(found.concept, AnyOf) and found.concept.joint == "or" else "and"
    return Exists(claims=claims, joint=joint)  # type: ignore[arg-type]
