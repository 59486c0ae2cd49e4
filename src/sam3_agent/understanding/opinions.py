"""Who says so, and "is that right?": the words around a description that are not part of it. Called by `claims.py`."""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token

ASIDES = PhraseTable.of(
    "is that right|is that correct|is that true|is this right|is this correct|is this true|true or false|"
    "right or wrong|am i right|correct or not|is it true|is it correct|is it right|is that so|true|correct|"
    "does that hold|is that accurate|is this accurate|agree|do you agree|right|does it match|"
    "does that match|is that the case|does this match|yes or no|is that a fact|is he right|is she right|are they right|"
    "is he correct|is she correct|are they correct|can you confirm|can you confirm that|can you confirm this|could you confirm|"
    "could you confirm that|please confirm|can you verify|can you verify that|can you verify this|is it so|does that fit|"
    "does this fit|does this hold|does it fit|does the picture agree|does the image agree|does the photo agree|"
    "does that match the picture|does that match the image|does that fit the picture|does this match the picture|"
    "does this match the image|does that match the photo|is that what you see|do you see that too|is this so|check that|"
    "check this|please check|is that right for this picture|is the picture in line with that",
    True,
)
_SAYING = lex.words(
    "says said claims claimed thinks believes reckons insists states stated reports reported mentioned wrote argues argued "
    "suggests suggested swears swore told tells noted notes maintains heard"
)


def _strip_speaker(statement: list[Token]) -> list[Token]:
    """ "my colleague says (that) | there are five people"."""
    said = next((at for at, token in enumerate(statement[:6]) if token.text in _SAYING), None)
    if said is None or any(token.text in ("there", "is", "are") for token in statement[:said]):
        return statement
    after = said + 1
    while after < len(statement) - 1 and statement[after].text in (
        "me",
        "us",
        "you",
        "him",
        "her",
        "them",
        "that",
        ":",
        ",",
    ):
        after += 1
    return statement[after:] or statement


def without_opinion(statements: list[list[Token]]) -> list[list[Token]]:
    """ "I believe | there are two dogs"; whose opinion it is does not matter."""
    statements = [_strip_speaker(statements[0]), *statements[1:]]
    first = Cursor(statements[0])
    first.take(
        "i think that",
        "i think",
        "i believe that",
        "i believe",
        "i say that",
        "i say",
        "i guess",
        "i would say",
        "so",
        "i count",
        "i see",
        "someone told me that",
        "he says that",
        "she says that",
        "my friend says",
        "they say",
    )
    return [list(statements[0][first.at :]), *statements[1:]]
