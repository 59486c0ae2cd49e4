"""Raw text -> clauses of tokens: one spelling of everything that is not a concept.

Quotations stay whole, contractions and chat spellings are written out, emoji become words, typing errors are
mended in function words and descriptions (never in a concept noun, see `spelling.py`), mentions of pictures become
one token, and sentences are told apart. Try it: `print(clauses("cud u segmnt teh doggs?? 🐶"))`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from sam3_agent.understanding.lexicon import ORDINALS, SUPERLATIVES
from sam3_agent.understanding.objection import Objection
from sam3_agent.understanding.spelling import mend_all
from sam3_agent.understanding.tokens import Token, spend

_QUOTED = re.compile(r'"([^"]+)"|(?<![\w])\'(.+?)\'(?![\w])|«([^»]+)»')
_WORD = re.compile(
    r"(?P<quote>\x00\d+\x00)|(?P<number>#?\d+(?:[.,]\d+)*)(?P<suffix>st|nd|rd|th)?(?![a-z\d])"
    r"|(?P<word>(?!(?:no|nr|at|in|of|to|on|or|is|by)\d)[a-z]{1,2}\d[a-z\d]*|[^\W\d_]+(?:[-'][^\W_]+)*'?|\d+[a-z]+)|(?P<mark>[.,;:?!\n()/%&+-])|(?P<emoji>\x01[a-z ]+\x02)"
)
_RUN = re.compile("([\u2190-\U0010ffff])\\1{2,}")
_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": ",", "…": ".", "`": "'"})
_CONTRACTIONS = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not", "ain't": "is not",
    "let's": "let us", "i'm": "i am", "im": "i am", "cant": "can not", "dont": "do not", "doesnt": "does not",
    "isnt": "is not", "arent": "are not", "wasnt": "was not", "werent": "were not", "havent": "have not",
    "hasnt": "has not", "didnt": "did not", "whats": "what is", "wheres": "where is", "theres": "there is",
    "hows": "how is", "thats": "that is", "whos": "who is", "id": "i would", "ive": "i have", "youre": "you are",
    "theyre": "they are", "u": "you", "ur": "your", "r": "are", "pls": "please", "plz": "please", "plss": "please",
    "thx": "thanks", "thanx": "thanks", "tnx": "thanks", "ty": "thanks", "n": "and", "nd": "and", "cud": "could",
    "cld": "could", "wud": "would", "shud": "should", "gimme": "give me", "lemme": "let me", "wanna": "want to",
    "gotta": "have to", "gonna": "going to", "infront": "in front", "nexto": "next to", "alot": "a lot",
    "wo": "without", "teh": "the", "hte": "the", "th": "the", "da": "the", "tha": "the", "adn": "and", "nad": "and",
    "ni": "in", "fo": "of", "si": "is", "hwo": "how", "hw": "how", "mny": "many", "amny": "many", "mnay": "many",
    "wich": "which", "wat": "what", "wut": "what", "wht": "what", "waht": "what", "wher": "where", "whre": "where",
    "shwo": "show", "sho": "show", "hsow": "show", "fnd": "find", "fidn": "find", "fnid": "find", "ifnd": "find",
    "lfet": "left", "letf": "left", "rite": "right", "rght": "right", "undr": "under", "nxt": "next", "ont": "on the",
    "wiht": "with", "wth": "with", "whit": "with", "form": "form", "thier": "their", "ther": "there", "hav": "have",
    "al": "all", "jst": "just", "onyl": "only", "olny": "only", "onli": "only", "evry": "every", "btwn": "between",
    "abv": "above", "pic's": "picture", "yr": "your", "coz": "because", "cuz": "because", "cos": "because",
    "bc": "because", "tho": "though", "rn": "right-now", "bcoz": "because", "wer": "were", "dem": "them",
    "dat": "that", "dis": "this", "tehm": "them", "thme": "them", "taht": "that", "ohter": "other", "otehr": "other",
    "noe": "now", "nto": "not", "wihtout": "without", "bt": "but", "btu": "but", "thier's": "their", "plase": "please",
    "pleas": "please", "pleae": "please", "yo": "you", "yuo": "you", "yuor": "your", "kan": "can", "cna": "can",
    "hi": "hello", "hey": "hello", "hiya": "hello", "heya": "hello", "gray": "gray", "whch": "which",
    "u'd": "you would", "alll": "all", "aer": "are", "ar": "are", "arre": "are", "thre": "three", "ov": "of",
    "rde": "red", "erd": "red", "redd": "red", "blu": "blue", "bleu": "blue", "gren": "green", "whte": "white",
    "wite": "white", "blck": "black", "brwn": "brown", "yello": "yellow", "ornage": "orange", "purpel": "purple",
    "howmany": "how many", "ppl": "people", "frm": "from", "trak": "track", "trck": "track", "nr": "number",
    "cont": "count", "coun": "count", "cuont": "count", "hilight": "highlight", "hilite": "highlight",
}  # fmt: skip
_WITH_IS = ("what", "where", "who", "there", "it", "that", "here", "how", "which", "he", "she", "when", "why")
_EMOJI_NAMES = {
    "automobile": "car", "oncoming automobile": "car", "racing car": "car", "horse face": "horse",
    "baby chick": "chick", "hatching chick": "chick", "front-facing baby chick": "chick", "bus": "bus",
    "oncoming bus": "bus", "poultry leg": "", "paw prints": "", "delivery truck": "truck",
    "articulated lorry": "truck", "soccer ball": "soccer ball", "busts in silhouette": "people",
    "bust in silhouette": "person", "mountain bicyclist": "cyclist", "red apple": "apple", "evergreen tree": "tree",
    "deciduous tree": "tree", "spouting whale": "whale", "two-hump camel": "camel", "dromedary camel": "camel",
    "monkey": "monkey", "tropical fish": "fish", "sailboat": "boat", "police car": "police car", "house building": "house",
}  # fmt: skip
_PICTURED = ((0x1F400, 0x1F43D), (0x1F980, 0x1F9AE), (0x1F330, 0x1F37F), (0x1F950, 0x1F96F), (0x1F680, 0x1F6B2),
             (0x1F464, 0x1F469), (0x26BD, 0x26BE), (0x1F3C0, 0x1F3C0), (0x26F5, 0x26F5), (0x1FAB0, 0x1FABF),
             (0x1F3E0, 0x1F3E1), (0x1F4F1, 0x1F4F1), (0x1F6F4, 0x1F6FA), (0x1F453, 0x1F453), (0x1FA91, 0x1FA91))  # fmt: skip


def clauses(text: str) -> list[list[Token]]:
    """The sentences of a query, each a list of tokens that ends in its "?", "!" or "." if it has one."""
    straight = _with_emoji_names(unicodedata.normalize("NFKC", text.translate(_STRAIGHT)).translate(_STRAIGHT))
    lowered = re.sub(r"\bw/(?=\s|\w)", "with ", re.sub(r"\bw/o\b", "without", straight.lower()))
    lowered = re.sub(r"([a-z])\1{2,}", r"\1", lowered)  # "pleaseeee", "sooo"
    lowered = re.sub(r"\b(is|are) they're\b", r"\1 there", lowered)
    lowered = re.sub(r"\b(is|are) their\b(?=\s*(?:[?.!,]|$))", r"\1 there", lowered)
    quotes: list[str] = []
    marked = _QUOTED.sub(lambda found: _keep_quote(found, quotes), lowered)
    sentences: list[list[Token]] = [[]]
    for token in _tokens(marked, quotes):
        sentences[-1].append(token)
        if token.kind == "mark" and token.text in ".?!;":
            sentences.append([])
    spend(max(0, sum(map(len, sentences)) - 200))  # more words than 1,000 characters of English have
    whole = [sentence for sentence in sentences if any(token.kind != "mark" for token in sentence)]
    return mend_all(whole)


def tokens_of(text: str) -> list[Token]:
    """One flat list without sentence marks; what tests and descriptions use."""
    return [token for clause in clauses(text) for token in clause if token.text not in (".", "?", "!", ";")]


def _keep_quote(found: re.Match[str], quotes: list[str]) -> str:
    quotes.append(next(group for group in found.groups() if group is not None))
    return f" \0{len(quotes) - 1}\0 "


def _tokens(text: str, quotes: list[str]) -> Iterator[Token]:
    for found in _WORD.finditer(text):
        if found["quote"]:
            yield Token(quotes[int(found["quote"].strip("\0"))].strip(), "quote")
        elif found["number"]:
            yield from _number(found["number"], found["suffix"])
        elif found["emoji"]:
            yield from (Token(word, "emoji") for word in found["emoji"].strip("\x01\x02").split())
        elif found["word"]:
            yield from (Token(word) for word in _written_out(found["word"]))
        elif (mark := found["mark"]) in "%&+":
            yield Token({"%": "percent", "&": "and", "+": "plus"}[mark])
        elif mark == "/":
            yield Token("or")
        else:
            yield Token({"\n": ".", "(": ",", ")": ",", "-": ","}.get(mark, mark), "mark")


def _number(digits: str, suffix: str | None) -> Iterator[Token]:
    plain = digits.lstrip("#")
    value = float(plain.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+", plain) else plain.replace(",", "."))
    if suffix and not value:
        raise Objection("impossible", f"An order begins with the first: there is no {plain}{suffix}.")
    if suffix:
        yield Token(next((word for word, n in ORDINALS.items() if n == int(value)), f"{int(value)}th"), value=value)
        return
    if digits.startswith("#"):
        yield Token("number")
    yield Token(plain, "number", value)


def _written_out(word: str) -> list[str]:
    if word in _CONTRACTIONS:
        return _CONTRACTIONS[word].split()
    if word.endswith("n't"):
        return [word[:-3], "not"]
    stem, _, ending = word.partition("'")
    if ending == "s":
        return [stem, "is"] if stem in _WITH_IS else [stem]
    if ending in ("re", "d", "ve", "ll", "m"):
        return [stem, {"re": "are", "d": "would", "ve": "have", "ll": "will", "m": "am"}[ending]]
    if word.endswith("'"):
        return [word[:-1]]
    return _hyphenated(word)


def _hyphenated(word: str) -> list[str]:
    first, dash, second = word.partition("-")
    if not dash:
        return [word]
    if second in ("coloured", "colored"):
        return [first]
    if first == "non":
        return ["non", *second.split("-")]
    if first in ORDINALS or second in SUPERLATIVES or second in ("hand", "most") or first in ("left", "right", "top"):
        return [first + second] if second == "most" else word.split("-")
    return [word]


def _with_emoji_names(text: str) -> str:
    if text.isascii():
        return text
    once = _RUN.sub(r"\1", text)  # three dogs in a row are dogs
    return "".join(character if ord(character) < 0x2190 else _emoji(character) for character in once)


@lru_cache(maxsize=1024)
def _emoji(character: str) -> str:
    """The emoji's noun between control marks, or a space where it shows no thing (smileys, hands, hearts)."""
    if not any(low <= ord(character) <= high for low, high in _PICTURED):
        return " "
    name = unicodedata.name(character, "").lower()
    noun = _EMOJI_NAMES.get(name, name.removesuffix(" face").removesuffix(" symbol"))
    return f" \x01{noun}\x02 " if noun else " "


def opened(tokens: Sequence[Token]) -> list[Token]:
    """Quotations as plain words: the "soccer ball"."""
    words: list[Token] = []
    for token in tokens:
        if token.kind == "quote":
            inner = clauses(token.text)
            words += [t for clause in inner for t in clause]
        else:
            words.append(token)
    return words
