"""The same question to several pictures: "which image has the most boats", "more dogs in the first than in the second".

These rules read "image" tokens, so they run on the clause before `pictures.split_scope`. Tokens -> `CompareImages`
with the pictures it names, or None. Called by `grammar.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import nouns
from sam3_agent.understanding.concepts import ranked
from sam3_agent.understanding.plan import CompareImages, Concept, Filtered, Rank, Scope
from sam3_agent.understanding.questions import finished, subject
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token

_THERE = PhraseTable.of(
    "is there|are there|do you see|can you see|can i see|do i see|can we see|do we see|do you find|"
    "can you find|there is|there are|has|have|contains|contain|shows|show|includes|include|depicts|depict|"
    "displays|features|does have|do have|holds|can i find|got|can you spot|do you spot|boasts|does one see|"
    "is|are|did you find|do i find|would i find|does appear|exists|with|having|containing|showing|"
    "were there|was there|do we have",
    True,
)
_MOST = PhraseTable(
    [
        *(
            (p, "most")
            for p in (
                "the most",
                "most",
                "more",
                "the greatest number of",
                "the largest number of",
                "the highest number of",
                "the highest count of",
                "the greater number of",
                "the biggest number of",
                "a larger number of",
                "a greater number of",
                "the larger number of",
                "the higher number of",
                "the higher count of",
                "the largest amount of",
                "a higher number of",
                "the maximum number of",
                "the most number of",
                "the highest amount of",
            )
        ),
        *(
            (p, "fewest")
            for p in (
                "the fewest",
                "fewest",
                "fewer",
                "the least",
                "least",
                "less",
                "the smallest number of",
                "the lowest number of",
                "the smaller number of",
                "the lower number of",
                "a smaller number of",
                "the least number of",
                "the fewer",
                "the minimum number of",
                "the lowest count of",
                "the fewest number of",
                "a lower number of",
            )
        ),
    ]
)
_LACKS = PhraseTable.of(
    "no|not any|does not have|does not contain|does not show|do not have|lacks|is missing|has no|without|"
    "is there no|are there no|is there not|are there not|there is no|there are no|are no|is no|contains no|"
    "shows no|does not include|do you not see|can you not see|have no|has not got|show no|is without|"
    "has zero|does not feature|cannot i see|can not be seen|is not there|are not there|has none of|"
    "fails to show",
    True,
)


_LEADS = {
    "are there", "is there", "where are", "where is", "where are there", "does have", "do have", "do we have", "do you see",
    "which has", "which one has", "which have",
}  # fmt: skip


def compare_images(tokens: Sequence[Token], images: int) -> tuple[CompareImages, Scope] | None:
    """The comparison across pictures that a clause asks for, with the pictures it names."""
    named = [token for token in tokens if token.kind == "image"]
    if [token.text for token in tokens[-2:]] in (["in", "it"], ["on", "it"]):
        tokens = tokens[:-2]  # "which picture has more birds in it"
    if [token.text for token in tokens[:2]] == ["how", "many"] and len(tokens) > 2 and tokens[2].kind == "image":
        which = _which_image(Cursor([Token("which"), *tokens[2:]]), images)
        if which is not None and which.ask == "has":
            return which.model_copy(update={"ask": "how many"}), _pictures(named)
    for rule in (_which_image, _difference, _than, _either):
        found = rule(Cursor(tokens), images)
        if found is not None:
            return found, _pictures(named)
    return None


def _pictures(named: Sequence[Token]) -> Scope:
    """All numbers that are mentioned, in order; all pictures where none is."""
    numbers: list[int] = []
    for token in named:
        if token.scope is not None:
            numbers += [n for n in token.scope.numbers if n not in numbers]
    return Scope(at="numbers", numbers=tuple(numbers)) if numbers else Scope(at="all")


def _image(cursor: Cursor) -> Token | None:
    token = cursor.peek()
    if token is None or token.kind != "image":
        return None
    cursor.at += 1
    return token


def _which_image(cursor: Cursor, images: int) -> CompareImages | None:
    cursor.take("in", "on", "from", "and", "at", "for")
    if cursor.take("which", "what") is None:
        return None
    one = (
        cursor.take(
            "one of these",
            "one of the two",
            "of the two",
            "of them",
            "of these",
            "one of them",
            "of the three",
            "one",
            "of those",
            "has",
        )
        if images > 1
        else None
    )
    if one == "has":
        cursor.at -= 1
    if _image(cursor) is None and one is None:
        return None
    if cursor.take("is the one", "is it") and cursor.take(
        "with", "that has", "where", "that shows", "that contains", "which has"
    ):
        cursor.at -= 1 if cursor.word(-1) in ("with", "has", "shows", "contains") else 0
    return _has_what(cursor)


def _either(cursor: Cursor, images: int) -> CompareImages | None:
    """ "are there more people in the first or the second picture", "does picture 1 or picture 2 have more people"."""
    tokens = cursor.tokens
    named = [token for token in tokens if token.kind == "image" and token.scope is not None]
    if sum(len(token.scope.numbers) for token in named if token.scope) < 2:
        return None
    beside = {at + step for at, token in enumerate(tokens) if token.kind == "image" for step in (-1, 0, 1)}
    plain = [t for at, t in enumerate(tokens) if t.kind != "image" and not (at in beside and t.text in ("or", ","))]
    words = [token.text for token in plain]
    at = next((at for at, word in enumerate(words) if word in ("more", "fewer", "less")), None)
    if at is None or " ".join(words[:at]) not in _LEADS or "than" in words:
        return None
    return _which_image(Cursor([Token("which"), named[0], Token("has"), *plain[at:]]), images)


def _has_what(cursor: Cursor) -> CompareImages | None:
    if _LACKS.take(cursor):
        return _target(cursor, "has", at_least=0, at_most=0)
    if cursor.take("does", "do") and (found := nouns.noun_list(cursor)):
        cursor.take("appear", "occur", "show up", "feature", "exist")
        return CompareImages(target=found.concept, ask="has") if finished(cursor) else None
    verb = _THERE.take(cursor)
    if verb is None and cursor.word() not in ("most", "more", "no"):
        return None
    if _LACKS.take(cursor):
        return _target(cursor, "has", at_least=0, at_most=0)
    if cursor.word() in ("more", "less", "fewer") and cursor.word(1) == "than":
        return _target(cursor, "has")
    ask = _MOST.take(cursor)
    return _target(cursor, ask or "has")


def _target(cursor: Cursor, ask: str, at_least: int = 1, at_most: int | None = None) -> CompareImages | None:
    found = subject(cursor)
    if found is None:
        return None
    _trailing_pictures(cursor)
    if not finished(cursor):
        return None
    concept = found.concept
    if ask == "has" and at_most is None:
        said = found.determiner
        at_least, at_most = (1 if said.low is None else said.low), said.high
        if said.none:
            at_least, at_most = 0, 0
        size = _by_size(concept)
        if size is not None:
            return CompareImages(target=size[0], ask=size[1])  # type: ignore[arg-type]
    return CompareImages(target=concept, ask=ask, at_least=at_least, at_most=at_most)  # type: ignore[arg-type]


def _by_size(concept: Concept) -> tuple[Concept, str] | None:
    """ "the biggest dog" asked of pictures: compare their biggest."""
    if ranked(concept) and isinstance(concept, Filtered) and isinstance(concept.by, Rank) and concept.by.by == "area":
        return concept.base, "smallest" if concept.by.reverse else "largest"
    return None


def _trailing_pictures(cursor: Cursor) -> None:
    """ ", the first or the second one"."""
    while not cursor.done:
        here = cursor.at
        cursor.take(",")
        cursor.take("or", "and", "than")
        if _image(cursor) is None:
            cursor.take("the")
            if cursor.word() in lex.ORDINALS:
                cursor.at += 1
                cursor.take("one")
                continue
            if cursor.at == here or not finished(cursor):
                cursor.at = here
                return


def _difference(cursor: Cursor, images: int) -> CompareImages | None:
    """ "the difference in the number of boats between the first and the second image"; "how many more ... than"."""
    cursor.take("what is", "give me", "compute", "calculate", "tell me", "what", "find")
    cursor.take("the", "is the", "by")
    if cursor.take("how many more", "how many fewer", "how many less"):
        found = nouns.noun_list(cursor)
        return _than_images(cursor, found.concept, "difference", images) if found else None
    if cursor.take("difference in", "difference between", "difference of", "difference") is None:
        return None
    cursor.take("the")
    if cursor.take("number of", "numbers of", "count of", "counts of", "amount of", "how many") is None:
        return None
    found = nouns.noun_list(cursor)
    if found is None:
        return None
    cursor.take("between", "across", "comparing")
    _trailing_pictures(cursor)
    mentioned = any(token.kind == "image" for token in cursor.tokens)
    return CompareImages(target=found.concept, ask="gap") if finished(cursor) and mentioned else None


def _than(cursor: Cursor, images: int) -> CompareImages | None:
    """ "are there more boats in the first image than in the second", "do both pictures have the same number of dogs"."""
    cursor.take(
        "are there", "is there", "do you see", "can you see", "do", "does", "has", "have", "are", "is", "can i see"
    )
    _image(cursor)
    cursor.take("have", "has", "contain", "contains", "show", "shows", "include", "got")
    if cursor.take(
        "the same number of",
        "as many",
        "equally many",
        "an equal number of",
        "the same amount of",
        "equal numbers of",
        "just as many",
        "the number of",
        "exactly as many",
    ):
        found = nouns.noun_list(cursor)
        if found is None:
            return None
        _image(cursor)
        cursor.take("the same", "equal")
        if cursor.take("as") or cursor.word() == "":
            _trailing_pictures(cursor)
        count = sum(token.kind == "image" for token in cursor.tokens)
        return CompareImages(target=found.concept, ask="equal") if finished(cursor) and count else None
    ask = {"more": "more", "fewer": "fewer", "less": "fewer"}.get(cursor.word())
    if ask is None or cursor.word(1) == "than":
        return None
    cursor.at += 1
    found = nouns.noun_list(cursor)
    return _than_images(cursor, found.concept, ask, images) if found else None


def _than_images(cursor: Cursor, target: Concept, ask: str, images: int) -> CompareImages | None:
    """ "[are there] [in] the first image than [in] the second"."""
    cursor.take("are there", "there are", "do you see", "are", "is", "does", "do", "can you see", "are visible")
    _image(cursor)
    cursor.take("have", "has", "contain", "show", "contains", "shows", "include", "there")
    if not cursor.take("than", "compared to", "compared with", "then"):
        return None
    cursor.take("there are", "are there", "are")
    second = _image(cursor)
    if second is None:
        cursor.take("in", "on", "from")
        cursor.take("the")
        if cursor.word() not in lex.ORDINALS and cursor.word() not in ("other", "previous"):
            return None
        cursor.at += 1
        cursor.take("one")
    cursor.take("does", "has", "do", "have")
    return CompareImages(target=target, ask=ask) if finished(cursor) else None  # type: ignore[arg-type]
