"""Singular and plural, and the mending of typing errors.

A concept noun is never respelt: the engine has to see what the person wrote. Mended are the words around it, and
only towards words the grammar knows; a word that English has anyway ("light" beside "right") is in
`lookalikes.txt` and stays. `inflect` would do the plurals but takes seconds to import, so a small table does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from importlib import resources

from rapidfuzz import process
from rapidfuzz.distance import OSA

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.tokens import Token, spend

_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "geese": "goose", "mice": "mouse",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "dice": "die", "cacti": "cactus", "fungi": "fungus",
    "wolves": "wolf", "calves": "calf", "loaves": "loaf", "shelves": "shelf", "bookshelves": "bookshelf",
    "halves": "half", "thieves": "thief", "elves": "elf", "scarves": "scarf", "hooves": "hoof", "leaves": "leaf",
    "knives": "knife", "wives": "wife", "lives": "life", "axes": "axe", "lenses": "lens", "tvs": "tv",
}  # fmt: skip
_INVARIANT = lex.words(
    "glasses sunglasses eyeglasses spectacles scissors shorts pants trousers jeans tongs pliers binoculars "
    "goggles headphones series species sheep deer fish aircraft lens bus gas grass glass dress cactus "
    "octopus walrus people's always this his as is was has us news tennis chess bass moss cross boss canvas "
    "atlas iris"
)
_ENDS_IE = lex.words(
    "birdie brownie budgie calorie collie cookie foodie genie hoodie lie magpie movie pie rookie selfie "
    "smoothie tie zombie rottie doggie"
)
_ENDS_OE = lex.words("aloe canoe doe foe hoe horseshoe oboe shoe snowshoe toe")
_BUS_LIKE = lex.words("buses minibuses octopuses walruses cactuses viruses crocuses")


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """The singular of an English noun, or the word itself."""
    if word in _INVARIANT or len(word) <= 2:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith(("dmen", "emen", "kmen", "rmen", "smen", "tmen", "wmen")):
        return word[:-2] + "an"
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _ENDS_IE else word[:-3] + "y"
    if word.endswith("oes"):
        return word[:-1] if word[:-1] in _ENDS_OE else word[:-2]
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")) or word in _BUS_LIKE:
        return word[:-2]
    return word[:-1]


def is_plural(noun: str) -> bool:
    """Whether the last word of a noun can only be a plural."""
    last = noun.split()[-1]
    return singular(last) != last


@lru_cache(maxsize=1024)
def plural(noun: str) -> str:
    """The plural of a (possibly compound) noun, for replies."""
    *before, last = noun.split()
    irregular = next((many for many, one in _IRREGULAR.items() if one == last), None)
    if irregular or (last in _INVARIANT and last not in ("bus", "gas", "dress", "glass", "lens", "cross")):
        many = irregular or last
    elif last.endswith(("s", "x", "z", "ch", "sh")) or last in (
        "tomato",
        "potato",
        "mango",
        "hero",
        "volcano",
        "buffalo",
    ):
        many = last + "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        many = last[:-1] + "ies"
    else:
        many = last + "s"
    return " ".join([*before, many])


# --- typing errors ---------------------------------------------------------------------------------------------------

_ANYWHERE = sorted(
    word
    for word in (
        lex.STOP | lex.ADJECTIVES | lex.PARTICIPLES | set(lex.ORDINALS) | set(lex.SUPERLATIVES) | lex.DISTINCT
        | set(lex.COMPARATIVES) | lex.PICTURES | lex.CLIPS | lex.words(
            "percent percentage fraction number description caption please thanks could would excluding "
            "middle centre bottom corner biggest without wearing between covered difference many there")
    )
    if len(word) >= 4
)  # fmt: skip
_COMMANDS = sorted(
    lex.words(
        "segment find show highlight mark mask outline select detect locate identify extract isolate circle "
        "count track follow compare check verify trace label spot display point remove exclude include"
    )
)
_ADJECTIVES = sorted(word for word in lex.ADJECTIVES if len(word) >= 3)
_CLOTHES = sorted(word for word in lex.CLOTHES if len(word) >= 4)


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Words that are never mended: all of the lexicon, and English words that look like one of it."""
    lookalikes = resources.files(__package__).joinpath("lookalikes.txt").read_text(encoding="utf-8")
    return frozenset(lookalikes.split()) | lex.STOP | lex.ADJECTIVES | lex.PARTICIPLES | lex.CLOTHES | lex.PERSONS | (
        lex.ANIMATE | set(_ANYWHERE) | set(_COMMANDS) | lex.SCENES | set(lex.NUMBERS) | set(lex.FRACTIONS)
        | lex.words("tracking following segmentation detection detecting counting finding outlining outside onto")
        | lex.PARTS_OF_A_WHOLE | lex.ANYTHING | lex.NON_NOUNS | lex.WORLD
    )  # fmt: skip


@lru_cache(maxsize=4096)
def nearest(word: str, among: str, shortest: int = 5) -> str:
    """The word of a list ("anywhere", "commands", "adjectives", "clothes") that `word` misspells, else `word`.

    One slip (a letter more, less, other or swapped) is forgiven, two from eight letters on; the first letter has to
    be right unless the first two are swapped.
    """
    if len(word) < shortest or word in _known() or singular(word) in _known() or not word.isalpha():
        return word
    choices = {"anywhere": _ANYWHERE, "commands": _COMMANDS, "adjectives": _ADJECTIVES, "clothes": _CLOTHES}[among]
    spend(12)  # once a word: the answer is kept
    slips = 2 if len(word) >= 8 else 1
    for right, *_ in process.extract(word, choices, scorer=OSA.distance, score_cutoff=slips, limit=5):
        if right[0] == word[0] or right[:2] == word[1::-1]:
            return str(right)
    return word


MOST_UNKNOWN = 24  # distinct words of a query that are looked at for typing errors; a look takes some 50 microseconds


def mend_all(sentences: Sequence[Sequence[Token]]) -> list[list[Token]]:
    """The sentences of a query with typing errors mended, in the first so many words that could have any."""
    words = dict.fromkeys(token.text for sentence in sentences for token in sentence if token.kind == "word")
    unknown = [word for word in words if len(word) >= 4 and word not in _known()]
    beyond = frozenset(unknown[MOST_UNKNOWN:])
    return [mend(sentence, beyond) for sentence in sentences]


def mend(tokens: Sequence[Token], beyond: Collection[str] = ()) -> list[Token]:
    """The tokens with typing errors mended, but for the words of `beyond`; a command only where a command can stand."""
    mended: list[Token] = []
    for token in tokens:
        if token.kind == "word" and token.text not in beyond:
            text = nearest(token.text, "commands", 4) if _command_place(mended) else token.text
            if text == token.text:
                text = nearest(token.text, "anywhere")
            if text != token.text:
                token = Token(text, token.kind, token.value)
        mended.append(token)
    return mended


def _command_place(before: Sequence[Token]) -> bool:
    if not before:
        return True
    last = before[-1]
    return last.kind == "mark" or last.text in (
        "please",
        "to",
        "you",
        "and",
        "then",
        "hello",
        "there",
        "just",
        "kindly",
        "now",
        "can",
        "could",
        "also",
    )
