"""Mentions of pictures: "in the second image", "both photos", "frame 3" -> one token with a `Scope`.

Runs after normalising and before the grammar proper, which then never meets a picture word unless it is a thing
in the scene ("the picture above the sofa", "a picture frame").
"""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.objection import MOST_THINGS, Objection
from sam3_agent.understanding.plan import Scope
from sam3_agent.understanding.tokens import Cursor, Token, spend

_PREPOSITIONS = lex.words("in on from of for across within inside over through throughout during at among to")
_FILL = lex.words(
    "the this that these those my your our a given attached provided uploaded whole entire current single "
    "following same separate respective supplied"
)
_ALL = lex.words("both all each every")
_SOME = lex.words("either any")
_OTHER = lex.words("other previous earlier remaining next")
_SHOWS = lex.words(
    "show shows contain contains have has include includes depict depicts display displays match matches "
    "feature features hold holds do does is are has had fit fits picture"
)
_ASKS = lex.words(
    "does do which what than match matches describe describes fit fits against with and compare for show "
    "shows or did has have about"
)


_HANDED = lex.words("this that these here it sorry oops ok")


def fold_pictures(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with every mention of a picture folded into one "image" token."""
    folded: list[Token] = []
    at, start = 0, Cursor(tokens)
    while at < len(tokens):
        found = _mention(start.moved(at), folded)
        if found is None:
            folded.append(tokens[at])
            at += 1
        else:
            token, at = found
            folded.append(token)
    return folded


def split_scope(tokens: Sequence[Token]) -> tuple[list[Token], Scope]:
    """The tokens without "in the picture" phrases, and the scope they ask for.

    "half of the picture" and "10 % of the image" stay: there the picture is a measure, not a place.
    """
    scope = next((t.scope for t in tokens if t.scope is not None and t.scope != Scope()), Scope())
    kept = []
    for at, token in enumerate(tokens):
        measured = at > 0 and tokens[at - 1].text in lex.PARTS_OF_A_WHOLE and token.preposition in ("of", "in", "on")
        if token.kind != "image" or not token.preposition or measured:
            kept.append(token)
    return kept, scope


def each_in_its_picture(tokens: Sequence[Token]) -> list[list[Token]]:
    """ "the cats in image one and the dogs in image two" -> both parts; none unless each names pictures of its own."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        joins = token.text in ("and", ",", "but", "while")
        if joins and parts[-1] and parts[-1][-1].kind == "image":
            parts.append([])
        elif not joins or parts[-1]:
            parts[-1].append(token)
    named = [[token.scope for token in part if token.kind == "image"] for part in parts]
    alone = all(len(scopes) == 1 and scopes[0] is not None and scopes[0].at == "numbers" for scopes in named)
    return parts if len(parts) > 1 and alone and len(set(map(str, named))) == len(parts) else []


def _mention(cursor: Cursor, before: Sequence[Token]) -> tuple[Token, int] | None:
    tokens, at = cursor.tokens, cursor.at
    preposition = cursor.take(*_PREPOSITIONS) or ""
    whole, numbers, every, other = False, [], False, False
    count = 0
    while not cursor.done:
        word = cursor.word()
        if word in _ALL or word in _SOME:
            whole, every = True, word in _ALL
        elif word in lex.ORDINALS:
            numbers.append(lex.ORDINALS[word])
        elif word in _OTHER:
            other = True
        elif word == "of" and cursor.at > at and cursor.word(-1) in _ALL | _SOME | {"one", "two"} | set(lex.NUMBERS):
            pass
        elif word in lex.NUMBERS and word != "one" and (numbers or whole or before or preposition):
            count = lex.NUMBERS[word]
        elif word in ("and", "or", ",") and numbers:
            if cursor.word(1) not in lex.ORDINALS and cursor.word(2) not in lex.ORDINALS:
                break
        elif word not in _FILL and word not in ("latest", "new", "newest"):
            break
        cursor.at += 1
    spend((cursor.at - at) // 4)
    if count and len(numbers) == 1 and numbers[0] == 1:
        numbers = list(range(1, count + 1))
    this = any(token.text in ("this", "these") for token in tokens[at : cursor.at])
    scope = _scope(numbers, whole, every, other)
    scope = Scope(at="this") if this and scope == Scope() else scope
    return _with_noun(cursor, scope, preposition, at, before) or _without_noun(cursor, scope, preposition, at)


def _scope(numbers: list[int], whole: bool, every: bool, other: bool) -> Scope:
    if numbers:
        return Scope(at="numbers", numbers=tuple(n if n < 0 else n - 1 for n in numbers))
    if whole:
        return Scope(at="all", every=every)
    return Scope(at="other") if other else Scope()


def _with_noun(
    cursor: Cursor, scope: Scope, preposition: str, start: int, before: Sequence[Token]
) -> tuple[Token, int] | None:
    """A phrase that ends in a picture word; a number may follow ("image 2")."""
    noun = cursor.word()
    is_frame = noun in ("frame", "frames") and (scope.numbers or _number_at(cursor, 1) is not None)
    if not (noun in lex.PICTURES or noun in lex.CLIPS or is_frame):
        return None
    if cursor.word(1) in ("frame", "frames") and not is_frame:
        return None
    cursor.at += 1
    if cursor.word() == "number" or cursor.word() == "no":
        cursor.at += 1 if _number_at(cursor, 1) is not None else 0
    numbers = list(scope.numbers)
    while (number := _number_at(cursor, 0)) is not None and (number >= 1):
        if number > MOST_THINGS:
            raise Objection("impossible", f"There is no {noun} {cursor.tokens[cursor.at].text}.")
        if is_frame or cursor.word(1) != "percent":
            numbers.append(int(number) - 1)
        cursor.at += 1
        if cursor.word() in ("and", ",", "or") and _number_at(cursor, 1) is not None:
            cursor.at += 1
    if number == 0 and cursor.word(1) != "percent":
        what = "Frames" if is_frame else "Clips" if noun in lex.CLIPS else "Pictures"
        raise Objection("impossible", f"{what} are numbered from 1: there is no {noun} 0.")
    if is_frame:
        scope = Scope(frame=numbers[0] if numbers else 0)
    elif numbers:
        scope = Scope(at="numbers", numbers=tuple(numbers))
    specific = scope != Scope()
    asked = bool(before) and (
        before[-1].text in _ASKS or (before[-1].text in ("is", "are") and before[0].text in _HANDED)
    )
    if preposition or specific or asked or cursor.word() in _SHOWS or cursor.at - start <= 1 or _ends(cursor):
        if not preposition and not specific and not asked and _is_thing(cursor, before):
            return None
        return Token("image", "image", scope=scope, preposition=preposition), cursor.at
    return None


def _is_thing(cursor: Cursor, before: Sequence[Token]) -> bool:
    """ "segment the picture above the sofa": a thing in the scene, not the scene."""
    return cursor.word() not in _SHOWS and not (before and before[-1].kind == "mark") and bool(before)


def _number_at(cursor: Cursor, ahead: int) -> float | None:
    token = cursor.peek(ahead)
    if token is None:
        return None
    if token.kind == "number":
        return token.value
    return float(lex.NUMBERS[token.text]) if token.text in lex.NUMBERS and token.kind == "word" else None


def _ends(cursor: Cursor) -> bool:
    return cursor.done or cursor.word() in ("?", ".", "!", ",", ";", ":", "please", "too", "thanks", "instead", "now")


def _without_noun(cursor: Cursor, scope: Scope, preposition: str, start: int) -> tuple[Token, int] | None:
    """ "in both", "for the second one", "in all of them": a picture is meant though none is named."""
    specific = scope.at in ("numbers", "all", "other")
    if preposition not in ("in", "for", "from", "across", "within", "on") or cursor.at == start + 1:
        return None
    this = cursor.word(-1) in ("this", "that") and cursor.word() == "one" and preposition in ("in", "for")
    if not specific and not this:
        return None
    cursor.take("of them", "them")
    cursor.take("one", "ones")
    if cursor.word() in ("row", "place", "seat"):
        return None
    if _ends(cursor) or cursor.word() in ("than", "and", "or", "is", "are"):
        return Token("image", "image", scope=Scope(at="this") if this else scope, preposition=preposition), cursor.at
    return None
