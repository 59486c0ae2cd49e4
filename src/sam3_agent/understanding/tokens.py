"""Tokens and the cursor that the grammar moves over them.

A `PhraseTable` maps phrases of one or more words to values; it is how every word list of `lexicon.py` meets the
token stream, longest phrase first. Called by every grammar module; nothing here knows English.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from sam3_agent.understanding.plan import Scope

T = TypeVar("T")
Kind = Literal["word", "number", "mark", "quote", "emoji", "image"]


class TooMuch(Exception):
    """A query that would take too long to read; see `effort.py`."""


class _Effort(threading.local):
    """Looks at word tables that this thread may still take."""

    left: float = math.inf


EFFORT = _Effort()


def spend(looks: int) -> None:
    """Count looks.

    Raises:
        TooMuch: there are none left.
    """
    EFFORT.left -= looks
    if EFFORT.left < 0:
        raise TooMuch


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, mark, quotation, emoji, or mention of a picture ("image", with its scope)."""

    text: str
    kind: Kind = "word"
    value: float = 0.0
    scope: Scope | None = None
    preposition: str = ""


class Cursor:
    """A position in a list of tokens. Rules save `at`, try, and put it back when they fail."""

    __slots__ = ("_words", "at", "tokens")

    def __init__(self, tokens: Sequence[Token], at: int = 0) -> None:
        spend(1 + len(tokens) // 8)
        self.tokens = tokens
        self.at = at
        self._words = ["" if token.kind in ("quote", "image") else token.text for token in tokens]

    def moved(self, at: int) -> Cursor:
        """Another position in the same tokens."""
        spend(1)
        other = object.__new__(Cursor)
        other.tokens, other.at, other._words = self.tokens, at, self._words
        return other

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.tokens)

    def peek(self, ahead: int = 0) -> Token | None:
        """The token `ahead` of the position (negative: behind it), if there is one."""
        where = self.at + ahead
        return self.tokens[where] if 0 <= where < len(self.tokens) else None

    def word(self, ahead: int = 0) -> str:
        """The text of a token; empty past either end, for quotations and for pictures."""
        where = self.at + ahead
        return self._words[where] if 0 <= where < len(self._words) else ""

    def stands(self, words: list[str], ahead: int = 0) -> bool:
        """Whether exactly these words follow, from `ahead` of the position on."""
        start = self.at + ahead
        return self._words[start : start + len(words)] == words

    def take(self, *phrases: str) -> str | None:
        """Move over the first of the phrases that stands here and return it."""
        for words, phrase in _by_first_word(phrases).get(self.word(), ()):
            if self.stands(words):
                self.at += len(words)
                return phrase
        return None

    def skip(self, words: Collection[str]) -> None:
        """Move over any run of these single words."""
        while not self.done and self.word() in words:
            self.at += 1

    def rest(self) -> str:
        """What is left, as text."""
        return " ".join(token.text for token in self.tokens[self.at :])


@lru_cache(maxsize=1024)
def _by_first_word(phrases: tuple[str, ...]) -> dict[str, list[tuple[list[str], str]]]:
    """Phrases by their first word, in the order given: most words start none of them."""
    table: dict[str, list[tuple[list[str], str]]] = {}
    for phrase in phrases:
        table.setdefault(phrase.split()[0], []).append((phrase.split(), phrase))
    return table


class PhraseTable(Generic[T]):
    """Phrases with a value each; the longest that fits wins."""

    def __init__(self, entries: Mapping[str, T] | Iterable[tuple[str, T]]) -> None:
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        self._by_first: dict[str, list[tuple[list[str], T]]] = {}
        for phrase, value in pairs:
            words = phrase.split()
            self._by_first.setdefault(words[0], []).append((words, value))
        for choices in self._by_first.values():
            choices.sort(key=lambda choice: -len(choice[0]))

    @classmethod
    def of(cls, text: str, value: T) -> PhraseTable[T]:
        """Phrases separated by "|", all with one value."""
        return cls((phrase.strip(), value) for phrase in text.split("|") if phrase.strip())

    def match(self, cursor: Cursor, *, ahead: int = 0) -> tuple[int, T] | None:
        """Length and value of the longest phrase that stands at the position; the cursor stays."""
        spend(1)
        for words, value in self._by_first.get(cursor.word(ahead), ()):
            if cursor.stands(words, ahead):
                return len(words), value
        return None

    def take(self, cursor: Cursor) -> T | None:
        """The value of the longest phrase that stands here, moving over it."""
        found = self.match(cursor)
        if found is None:
            return None
        cursor.at += found[0]
        return found[1]

    def __contains__(self, word: object) -> bool:
        return word in self._by_first
