"""A description against the picture: "is this right: 'two dogs and a cat, no people'?" -> claims.

Finds the description in a query (in quotation marks, after a colon, or after "is it true that") and takes it apart
into statements that can be counted. What masks cannot decide - severity, causes, feelings - is kept word for word
as `unjudged`. The description is data: nothing in it is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import nouns
from sam3_agent.understanding.concepts import mentions, replaced
from sam3_agent.understanding.determiners import Determiner
from sam3_agent.understanding.normalise import clauses
from sam3_agent.understanding.nouns import Item
from sam3_agent.understanding.opinions import ASIDES, without_opinion
from sam3_agent.understanding.pictures import fold_pictures, split_scope
from sam3_agent.understanding.plan import Claim, Concept, Mention, Scope, Verify
from sam3_agent.understanding.questions import claim, subject
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token

_CUES = lex.words(
    "description descriptions caption captions statement statements claim claims sentence report text "
    "summary account says said describes describe describing describe true false correct right accurate "
    "verify check match matches matching fits fit consistent agree agrees compare confirm holds hold "
    "contradict contradicts label labelled title wrong validate note notes annotation testimony assertion "
    "story depicts depict reflects reflect corresponds correspond alt-text fact-check factual"
)
_THAT = PhraseTable.of(
    "is it true that|is it correct that|is it right that|is it accurate that|is it accurate to say that|"
    "is it the case that|is it a fact that|is it fair to say that|is it correct to say that|"
    "is it right to say that|true or false that|true or false|verify that|verify|check that|confirm that|"
    "confirm|am i right that|am i right in saying that|am i correct that|would it be correct to say that|"
    "would you say that|is it so that|can you confirm that|please confirm that|"
    "would it be right to say that|am i right to say that|validate that|make sure that|is it false that|"
    "would it be accurate to say that|do you agree that|would you agree that|is it true|right or wrong|"
    "correct or not|does it hold that|fact check|fact-check|i claim that|someone claims that|he says that|"
    "she says that|someone says that|they say that|my friend says that|my friend claims that|"
    "double check that|double-check that|verify the claim that|check the claim that|is the claim true that|"
    "is the statement true that|is the claim that",
    True,
)
_OPENERS = PhraseTable.of(
    "there is also|there are also|there is|there are|there was|there were|i see|we see|you can see|"
    "one can see|it shows|it contains|it has|we can see|i can see|this shows|it depicts|also|and also|"
    "and there is|and there are|but there is|but there are|one sees|here we see|here is|here are|shown are|"
    "shown is|a photo of|a picture of|an image of|a scene with|a scene of|a photograph of|photo of|"
    "picture of|image of|shows|depicts|containing|with|showing|there exist|there exists|and|but|while|"
    "whereas|plus|then|as well as|depicting|the scene shows|the scene contains|the scene has|a view of|"
    "consists of|a snapshot of|together with|alongside|along with|where",
    True,
)
_NONE = PhraseTable.of(
    "without any|without|with no|there are not any|there is not any|there are no|there is no|there is not a|"
    "there is not|there are not|and no|but no|not a single|no|not any|neither|nor|not a|it has no|"
    "it contains no|i see no|it shows no|zero|but there are no|but there is no|and there are no|"
    "and there is no|but not any|but without|and without|free of|not one|there are zero|there were no|"
    "there was no|lacking|but not a single|also no",
    True,
)
_NOBODY = PhraseTable.of("nobody|no one|no-one|none of them|none of the people|not a soul", True)


def description(sentences: Sequence[Sequence[Token]]) -> tuple[Verify, Scope] | None:
    """The claims of the description in a query, and the pictures they are about; None if there is none."""
    found = _described(sentences) if sentences else None
    if found is None:
        return None
    ask, statements = found
    claims: list[Claim] = []
    unjudged: list[str] = (
        [] if not _asks_judgement(ask) else [" ".join(t.text for t in ask if t.text in lex.JUDGEMENTS)]
    )
    for statement in statements:
        _read(statement, claims, unjudged)
    _, scope = split_scope(fold_pictures(list(ask)))
    return (Verify(claims=tuple(claims), unjudged=tuple(unjudged)), scope) if claims or unjudged else None


def _asks_judgement(ask: Sequence[Token]) -> bool:
    return any(token.text in lex.JUDGEMENTS and token.text not in ("likely", "today") for token in ask)


def _described(sentences: Sequence[Sequence[Token]]) -> tuple[list[Token], list[list[Token]]] | None:
    """The words around the description, and its sentences."""
    ask = [token for sentence in sentences for token in sentence if token.kind != "quote"]
    quotes = [token.text for sentence in sentences for token in sentence if token.kind == "quote"]
    cued = any(token.text in _CUES for token in ask)
    long_quotes = [quote for quote in quotes if len(quote.split()) > 1 or cued]
    if long_quotes and cued and not _is_command(ask):
        return ask, [clause for quote in long_quotes for clause in clauses(quote)]
    flat = [token for sentence in sentences for token in sentence]
    claimed = _claimed(sentences)
    if claimed is not None:
        return claimed
    colon = next((at for at, token in enumerate(flat) if token.text == ":"), None)
    cued = colon is not None and any(token.text in _CUES for token in flat[:colon])
    if colon is not None and cued and colon + 1 < len(flat) and flat[colon + 1].text not in lex.WH_WORDS:
        said = _sentences(flat[colon + 1 :])
        asides = [
            sentence for sentence in said[1:] if (whole := Cursor(sentence)) and ASIDES.take(whole) and whole.done
        ]
        return flat[:colon], [sentence for sentence in said if sentence not in asides]
    return _asked_before(sentences) or _asked_afterwards(sentences)


_DESCRIPTIONS = lex.words("description caption statement statements account report following summary testimony")
_HOLDING = lex.words(
    "match matches fit fits describe describes hold holds true correct right accurate agree agrees compare check "
    "verify correspond corresponds consistent okay ok fine good valid"
)


def _asked_before(sentences: Sequence[Sequence[Token]]) -> tuple[list[Token], list[list[Token]]] | None:
    """ "Does this description match the picture? There are two dogs. One is brown."."""
    first = {token.text for token in sentences[0]}
    rest = [list(sentence) for sentence in sentences[1:] if any(token.kind != "mark" for token in sentence)]
    asks = any(sentence[0].text in lex.WH_WORDS for sentence in rest)
    if not rest or asks or not first & _DESCRIPTIONS or not first & _HOLDING:
        return None
    return list(sentences[0]), rest


def _is_command(ask: Sequence[Token]) -> bool:
    """ "show me the geese and the 'soccer ball', right?" is no description."""
    first = next((token.text for token in ask if token.text not in ("please", "hello", ",")), "")
    how = [token.text for token in ask if token.text not in ("please", "hello", ",")][:2]
    return first in ("show", "find", "segment", "highlight", "count", "where", "track") or how in (
        ["how", "many"],
        ["how", "much"],
    )


def _claimed(sentences: Sequence[Sequence[Token]]) -> tuple[list[Token], list[list[Token]]] | None:
    """ "is it true that there are three dogs"."""
    for number, sentence in enumerate(sentences):
        for at in range(min(len(sentence), 6)):
            cursor = Cursor(sentence, at)
            if _THAT.take(cursor) is None:
                continue
            cursor.take(":") or cursor.take(",")
            rest = list(sentence[cursor.at :])
            if rest and rest[0].text not in ("if", "whether", "?", "this", "the"):
                return list(sentence[: cursor.at]), [rest, *map(list, sentences[number + 1 :])]
            if rest and rest[0].text == "the" and "that" in cursor.tokens[cursor.at - 1].text:
                return list(sentence[: cursor.at]), [rest, *map(list, sentences[number + 1 :])]
            break
    return None


def _asked_afterwards(sentences: Sequence[Sequence[Token]]) -> tuple[list[Token], list[list[Token]]] | None:
    """ "There are two dogs. Is that right?", "two dogs and a cat, true or false?"."""
    flat = list(sentences[-1])
    for at in range(len(flat)):
        if not ((at == 0 and len(sentences) > 1) or (at > 0 and flat[at - 1].text in (",", "-"))):
            continue
        cursor = Cursor(flat, at)
        if not ASIDES.take(cursor):
            continue
        if all(token.kind in ("mark", "image") for token in flat[cursor.at :]):
            before = [list(sentence) for sentence in sentences[:-1]] + ([flat[:at]] if at else [])
            return flat[at:], without_opinion(before)
    return None


def _sentences(tokens: Sequence[Token]) -> list[list[Token]]:
    """Sentences again, with quotations opened."""
    result: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "quote":
            result += [*clauses(token.text), []]
        elif token.text in (".", "?", "!", ";"):
            result.append([])
        else:
            result[-1].append(token)
    return [sentence for sentence in result if any(t.kind != "mark" for t in sentence)]


# --- one sentence of the description ---------------------------------------------------------------------------------------


def _read(statement: Sequence[Token], claims: list[Claim], unjudged: list[str]) -> None:
    """Add the statement's claims; what cannot be read goes to `unjudged`."""
    tokens, _ = split_scope(fold_pictures([t for t in statement if t.text not in (".", "?", "!", ";")]))
    cursor = Cursor(tokens)
    while not cursor.done:
        start = cursor.at
        _open(cursor)
        if cursor.done:
            return
        begin = cursor.at
        found = _statement(cursor, claims)
        cursor.skip(("here", "anywhere", "altogether", "overall"))
        end_ok = found is not None and (
            cursor.done
            or cursor.word()
            in (",", "and", "but", "while", "or", "with", "without", "plus", "as", "whereas", "nor", ":", "where")
        )
        said = tokens[begin : cursor.at]
        if found is None or not end_ok or any(token.text in lex.JUDGEMENTS for token in said):
            cursor.at = max(begin, start)
            _skip_piece(cursor, found is not None)
            unjudged.append(" ".join(t.text for t in tokens[begin : cursor.at] if t.kind != "image"))
            continue
        words = " ".join(t.text for t in said if t.kind != "image")
        claims += [one.model_copy(update={"words": one.words or words}) for one in found]


def _open(cursor: Cursor) -> None:
    while not cursor.done:
        token = cursor.peek()
        if token is not None and token.kind == "image":
            cursor.at += 1
            cursor.take("shows", "show", "contains", "contain", "has", "have", "depicts", "includes", "is", "features")
        elif cursor.word() == "," or (_NONE.match(cursor) is None and _more(cursor) is None and _OPENERS.match(cursor)):
            cursor.take(",") or _OPENERS.take(cursor)
        else:
            return


def _more(cursor: Cursor) -> str | None:
    for ahead in (0, 2):
        if (
            cursor.word(ahead) in ("more", "fewer")
            and cursor.word(ahead + 1) != "than"
            and (ahead == 0 or cursor.word() == "there")
        ):
            return cursor.word(ahead)
    return None


def _statement(cursor: Cursor, before: Sequence[Claim]) -> list[Claim] | None:
    """One claim or a few that share a noun list."""
    ask = _more(cursor)
    if ask is not None:
        return _more_than(cursor, ask)
    if _NOBODY.take(cursor):
        cursor.at -= 1
        cursor = _as_person(cursor)
        found = subject(cursor, statement=True)
        return [Claim(words="", target=found.concept, at_least=0, at_most=0)] if found else None
    denied = _NONE.take(cursor) is not None
    found = _one(cursor)
    if found is None:
        return None
    concept = _bound(found.concept, before)
    if concept is None:
        return None
    if denied:
        return [Claim(words="", target=part, at_least=0, at_most=0) for part in (concept, *_denied_too(cursor))]
    return [_counted(found, concept, before)]


def _denied_too(cursor: Cursor) -> list[Concept]:
    """ "no dogs, cats or birds": what follows without a number of its own is denied as well."""
    more: list[Concept] = []
    while not cursor.done:
        here = cursor.at
        cursor.take(",")
        cursor.take("and", "or", "nor")
        following = nouns.item(cursor) if cursor.at > here else None
        if following is None or following.determiner.said or cursor.word() in lex.COPULAS:
            cursor.at = here
            break
        more.append(following.concept)
    return more


def _as_person(cursor: Cursor) -> Cursor:
    """ "nobody" reads on as "person"."""
    tokens = list(cursor.tokens)
    tokens[cursor.at] = Token("person")
    cursor.__init__(tokens, cursor.at)  # type: ignore[misc]
    return cursor


def _one(cursor: Cursor) -> Item | None:
    """One thing and what is said of it; lists are taken one by one, so that each has its own number."""
    found = nouns.item(cursor)
    if found is None:
        return None
    from sam3_agent.understanding import modifiers

    if (
        cursor.word() in lex.COPULAS | lex.HAVE
        or cursor.word() in lex.TRANSITIVE | lex.MOTIONS | lex.POSTURES
        or cursor.word() in ("do", "does")
    ):
        cursor.skip(("also",))
        change = modifiers.clause(cursor)
        if change is None:
            return None
        said = Item(change(found.concept), found.determiner)
        said.parts = (Item(found.concept, found.determiner),)
        return said
    return found


def _counted(found: Item, concept: Concept, before: Sequence[Claim]) -> Claim:
    if found.parts and len(found.parts) == 1:
        of = _bound(found.parts[0].concept, before)
        made = claim(found.determiner, concept, of=of)
        exact = (
            found.determiner.count is not None
            and found.determiner.count > 1
            and made.at_most is None
            and made.of is None
        )
        return made.model_copy(update={"at_most": found.determiner.count}) if exact else made
    return claim(found.determiner, concept)


def _bound(concept: Concept, before: Sequence[Claim]) -> Concept | None:
    """ "one of them is black": what the claim before was about."""
    if not mentions(concept):
        return concept
    if not before:
        return None
    last = before[-1].of or before[-1].target

    def antecedent(mention: Mention) -> Concept:
        return last

    return replaced(concept, antecedent)


def _more_than(cursor: Cursor, ask: str) -> list[Claim] | None:
    """ "there are more dogs than cats"."""
    cursor.take("there are", "there is")
    cursor.at += 1
    first = nouns.item(cursor)
    if first is None or not cursor.take("than"):
        return None
    second = nouns.item(cursor)
    if second is None:
        return None
    kind = "more" if ask == "more" else "fewer"
    return [Claim(words="", target=first.concept, versus=nouns.bound(second.concept, first.concept), versus_ask=kind)]  # type: ignore[arg-type]


def _skip_piece(cursor: Cursor, parsed: bool) -> None:
    """Move to the next comma or "and"; at least one token."""
    del parsed
    cursor.at += 1
    while not cursor.done and cursor.word() not in (",", "and", "but", "while"):
        cursor.at += 1


def no_determiner() -> Determiner:
    """An empty determiner, for callers that make items of their own."""
    return Determiner()
