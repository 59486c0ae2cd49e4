"""Doings as the engine should hear them: "who wear a hat" -> "wearing hat", "has sat down" -> "sitting down".

Only verbs that describe what a picture shows; called by `modifiers.py`.
"""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.spelling import nearest
from sam3_agent.understanding.tokens import Cursor

_ING = {
    "wear": "wearing",
    "wears": "wearing",
    "worn": "wearing",
    "hold": "holding",
    "holds": "holding",
    "held": "holding",
    "carry": "carrying",
    "carries": "carrying",
    "ride": "riding",
    "rides": "riding",
    "sit": "sitting",
    "sits": "sitting",
    "sat": "sitting",
    "seated": "sitting",
    "stand": "standing",
    "stands": "standing",
    "stood": "standing",
    "lie": "lying",
    "lies": "lying",
    "lay": "lying",
    "laying": "lying",
    "run": "running",
    "runs": "running",
    "walk": "walking",
    "walks": "walking",
    "jump": "jumping",
    "jumps": "jumping",
    "fly": "flying",
    "flies": "flying",
    "swim": "swimming",
    "swims": "swimming",
    "move": "moving",
    "moves": "moving",
    "eat": "eating",
    "eats": "eating",
    "graze": "grazing",
    "drink": "drinking",
    "drinks": "drinking",
    "sleep": "sleeping",
    "push": "pushing",
    "pull": "pulling",
    "use": "using",
    "uses": "using",
    "smile": "smiling",
    "play": "playing",
    "drive": "driving",
    "cross": "crossing",
    "crosses": "crossing",
    "chase": "chasing",
    "chases": "chasing",
    "face": "facing",
    "faces": "facing",
    "bark": "barking",
    "climb": "climbing",
    "climbs": "climbing",
    "crawl": "crawling",
    "crawls": "crawling",
    "throw": "throwing",
    "throws": "throwing",
    "catches": "catching",
    "kick": "kicking",
    "kicks": "kicking",
    "dance": "dancing",
    "talk": "talking",
    "laugh": "laughing",
    "wave": "waving",
    "waves": "waving",
    "lean": "leaning",
    "leans": "leaning",
    "hang": "hanging",
    "hangs": "hanging",
    "grazes": "grazing",
    "sleeps": "sleeping",
    "smiles": "smiling",
    "drives": "driving",
    "pushes": "pushing",
    "pulls": "pulling",
}
_ADDRESSED = {
    "looking": ("at",),
    "pointing": ("at",),
    "talking": ("to",),
    "waving": ("at",),
    "made": ("of", "from", "out of"),
    "covered": ("in", "with", "by"),
    "filled": ("with",),
    "dressed": ("in", "as"),
    "clad": ("in",),
    "painted": ("in",),
    "decorated": ("with",),
    "loaded": ("with",),
    "playing": ("with",),
    "topped": ("with",),
    "surrounded": ("by",),
    "wrapped": ("in",),
    "tied": ("with", "to"),
    "labelled": ("with",),
    "facing": ("to the",),
    "stuffed": ("with",),
    "marked": ("with",),
    "equipped": ("with",),
    "full": ("of",),
}
_RELATES = lex.words("touching surrounded bordering")


_FINITE = frozenset(_ING) - lex.words("worn held sat seated stood laying") | lex.words(
    "crawl climb bark jog kick throw catch"
)


def doing_text(cursor: Cursor, *, finite: bool = True) -> str | None:
    """The participle phrase at the cursor as engine words, or None; `finite` lets "wear", "sits" count too."""
    word = cursor.word()
    if not finite and word in _FINITE:
        return None
    known = (
        word in lex.PARTICIPLES
        or (finite and word in _FINITE)
        or word in ("asleep", "awake", "open", "upright", "full", "alive", "closed")
    )
    if not known and not (word.endswith("ing") and len(word) > 4 and word not in lex.STOP):
        return None
    if word in _RELATES or lex.EXCEPT.match(cursor) or (lex.RELATIONS.match(cursor) or (0, ""))[0] > 1:
        return None
    cursor.at += 1
    text = [_ING.get(word, word)]
    if cursor.word() in ("down", "up") and word in lex.POSTURES | lex.MOTIONS:
        cursor.at += 1
    idle = ("happily", "quickly", "slowly", "quietly", "about", "peacefully", "there", "here", "currently")
    cursor.skip(idle if chunk_follows(cursor) else (*idle, "around"))
    start = cursor.at
    link = cursor.take(*_ADDRESSED.get(word, ()))
    takes_object = (
        word in lex.TRANSITIVE or text[0] in lex.TRANSITIVE | {"crossing", "climbing"} or not known or link is not None
    )
    what = object_text(cursor) if takes_object else None
    if what is None:
        cursor.at = start
    else:
        text += [link, what] if link else [what]
    if word in ("wearing", "wear", "wears", "worn", "have", "has"):
        take_on(cursor)
    return " ".join(text)


def take_on(cursor: Cursor) -> None:
    """ "(wearing) a hat | on": nothing is said by it; "a hat | on the left" goes on with a place."""
    following = cursor.word(1)
    if cursor.word() == "on" and (
        following in lex.STOP - lex.ARTICLES - lex.QUANTIFIERS or following in ("", ",", "?")
    ):
        cursor.at += 1


def chunk_follows(cursor: Cursor) -> bool:
    """ "standing around | the car": the word is a place, not an idle one."""
    return cursor.word() == "around" and cursor.word(1) not in ("", "and", "or", "in", "on", "at")


def object_text(cursor: Cursor) -> str | None:
    """What somebody wears or holds, as words without articles; "a red hat and glasses" stays together."""
    start = cursor.at
    words: list[str] = []
    while not cursor.done:
        chunk = _object_chunk(cursor)
        if not chunk:
            break
        words += chunk
        here = cursor.at
        joint = cursor.take("and", "as well as")
        if joint is None or not clothes_follow(cursor):
            cursor.at = here
            break
        words.append("and")
    if not words:
        cursor.at = start
        return None
    return " ".join(words)


def _object_chunk(cursor: Cursor) -> list[str]:
    start = cursor.at
    cursor.skip(("a", "an", "the", "any", "some", "their", "his", "her", "its", "two", "pair", "his", "both", "my"))
    if cursor.word() == "of" and cursor.at > start:
        cursor.at += 1
    words: list[str] = []
    while (token := cursor.peek()) is not None:
        blocked = token.kind not in ("word", "number") or token.text in lex.STOP or cursor.word(1) == "percent"
        if blocked or (words and (lex.RELATIONS.match(cursor) or lex.EXCEPT.match(cursor))):
            break
        if words and token.text in lex.PARTICIPLES and words[-1] not in lex.ADJECTIVES:
            break
        words.append(nearest(token.text, "clothes", 4))
        cursor.at += 1
        if cursor.word() == "of" and cursor.word(1) not in lex.STOP and cursor.word(1):
            words.append("of")
            cursor.at += 1
    if not words:
        cursor.at = start
    return words


def clothes_follow(cursor: Cursor) -> bool:
    """After "and": more to wear ("a hat and red gloves"), up to the end of the phrase."""
    at = 0
    while cursor.word(at) in ("a", "an", "the"):
        at += 1
    while cursor.word(at) in lex.ADJECTIVES and cursor.word(at) not in lex.CLOTHES:
        at += 1
    return cursor.word(at) in lex.CLOTHES
