"""Words of other languages, and text that is no words at all: told apart from nouns that we merely do not know.

A noun is never held against a dictionary ("axolotl", "zorp" and "X100" are things somebody may own). The evidence is
function words of the neighbouring languages, letters of other scripts, and marks that only paths and programs have.
Called by `sense.py`. Try it: `sam3-agent ask --explain "combien de poules ?"`.
"""

from __future__ import annotations

import re
import unicodedata

_QUOTED = re.compile(r"\"[^\"]*\"|«[^»]*»|“[^”]*”|(?<!\w)'[^']*'(?!\w)")
_WORD = re.compile(r"[^\W\d_]+")

# question words and commands that are no words of English, nor slips of one: one of them is enough
_TELLING = frozenset(
    "combien où quels quelles montrez trouvez cherche cherchez trouver "
    "wieviel wieviele zeige zeig markiere zähle zähl "
    "cuántos cuántas cuánto cuánta cuantos cuantas dónde muestra muéstrame encuentra qué está están hallar "
    "quanti quante mostrami trova dov "
    "quantos quantas quantidade são estão mostre encontre há "
    "många hitta är finns hoeveel hvor gdzie znajdź pokaż kolik montako missä kuinka kaç nerede hány".split()
)
_TELLING_PAIRS = re.compile(
    r"\b(?:wie\s+viele?|hur\s+(?:många|manga|mycket)|hvor\s+(?:mange|mye|meget)|y\s+a-t-il|il\s+y\s+a|est-ce\s+que|es\s+gibt|"
    r"gibt\s+es|wo\s+(?:ist|sind)|c['’]è|ci\s+sono|dove\s+(?:è|sono)|donde\s+est[aá]n?|waar\s+(?:is|zijn)|ile\s+jest|var\s+är)(?!\w)"
)
# short words that English has too, or has in names: two of them, where no English is
_HINTS = frozenset(
    "le la les un une des du et dans sur sous avec est sont qui montre trouve poules voit "
    "der die das den dem ein eine einen und ist sind nicht auf im mit finde finden bitte welche welcher welches gibt "
    "el los las una unos unas y en con hay del busca que "
    "il lo gli i della nella sul ci sono dove mostra o os uma em onde "
    "och det ett en på de het een van zijn op waar vind toon jest są ile na".split()
)
_ENGLISH = frozenset(
    "the an of and are how many what where which find show with that there all to left right segment count any this it "
    "from for by at or not only without".split()
)
_CODE = re.compile(
    r"\.\.[/\\]|(?<!\S)/\w+/\w|<\s*/?\s*script|</\w|\{\{|\$[({]|\\x[0-9a-f]{2}|;\s*--|%[0-9a-f]{2}%[0-9a-f]{2}",
)
_FILE = re.compile(r"://|\.(?:jpe?g|png|webp|bmp|tiff?|gif|mp4|mov|avi|mkv|webm)\W*$")


def foreign(text: str) -> bool:
    """Whether the words are of another language than English; what is quoted does not count.

    Letters of another script are: two of an alphabet (one may be a sign: "the letter Ω"), or one that is a word.
    """
    plain = _QUOTED.sub(" ", (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower())
    words = _WORD.findall(plain)
    if any(word in _TELLING for word in words) or _TELLING_PAIRS.search(plain):
        return True
    if not plain.isascii() and _other_script(words):
        return True
    known = set(words)
    hints = known & _HINTS
    return len(hints) >= 2 and not known & _ENGLISH and 5 * sum(word in hints for word in words) >= 2 * len(words)


def _other_script(words: list[str]) -> bool:
    letters = [letter for word in words for letter in word if not letter.isascii()]
    others = [letter for letter in letters if not unicodedata.name(letter, "LATIN").startswith(("LATIN", "MICRO"))]
    return len(others) > 1 or any(unicodedata.category(letter) == "Lo" for letter in others)


def no_words(text: str) -> str | None:
    """The first piece of the text that is a path or a piece of a program and not the name of a thing."""
    if _CODE.search(plain := _QUOTED.sub(" ", text.lower())) is None:
        return None
    for piece in plain.split():
        if _CODE.search(piece) and not _FILE.search(piece):
            return piece
    return None if _FILE.search(plain) else plain.strip()
