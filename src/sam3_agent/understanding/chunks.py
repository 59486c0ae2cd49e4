"""The noun itself: a run of content words -> adjectives and noun, "red or dark blue cars" -> two phrases.

There is no dictionary of nouns: a noun phrase ends where a word begins something else. Called by `nouns.py`.
"""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.concepts import described, joined
from sam3_agent.understanding.determiners import Determiner
from sam3_agent.understanding.objection import Objection
from sam3_agent.understanding.plan import Concept, Phrase
from sam3_agent.understanding.spelling import is_plural, nearest, singular
from sam3_agent.understanding.tokens import Cursor

_HOLDING = frozenset(
    ["wearing", "wear", "wears", "holding", "carrying", "dressed", "clad", "coloured", "colored", "painted"]
)
_STATES_BEHIND = frozenset(
    [
        "open",
        "closed",
        "shut",
        "upright",
        "asleep",
        "awake",
        "alive",
        "dead",
        "empty",
        "full",
        "lit",
        "broken",
        "intact",
        "damaged",
        "alone",
    ]
)
_ONLY_DESCRIBE = lex.words(
    "wooden metallic woollen big large small huge tiny tall short wide narrow thin thick fat long old new young wet dry "
    "dirty clean sharp ripe unripe rotten shiny transparent striped spotted round curved rusty bald furry fluffy happy sad "
    "angry injured wounded bright dark busy open closed elderly visible present"
)
_PARTS = lex.words(
    "wheel wheels handle handles roof roofs door doors window windows leg legs tail tails head heads face faces eye eyes ear "
    "ears nose mouth hand hands arm arms foot feet paw paws wing wings beak branch branches leaf leaves trunk lid lids rim "
    "screen keyboard button buttons sail sails mast hull seat seats bonnet hood bumper headlight headlights mirror mirrors "
    "petal petals stem neck collar mane horn horns hoof fin fins hair beard finger fingers sleeve sleeves pocket pockets page "
    "pages cover spine blade blades base wall walls chimney chimneys balcony balconies stairs steps drawer drawers cushion "
    "cushions strap straps lens plate plates windscreen windshield tyre tyres tire tires frame saddle pedals basket top"
)
_NOUN_COLOURS = frozenset(
    ["orange", "gold", "silver", "olive", "cream", "peach", "ivory", "amber", "lavender", "ginger"]
)


def is_part(word: str) -> bool:
    """Whether a noun names a part of something ("the wheels of the car")."""
    return word in _PARTS


def is_content(cursor: Cursor, ahead: int = 0) -> bool:
    """Whether the word at the cursor (or `ahead` of it) can be part of a noun phrase."""
    token = cursor.peek(ahead)
    return token is not None and token.kind in ("word", "emoji") and token.text not in lex.STOP


def adjective_groups(cursor: Cursor) -> tuple[list[list[str]], list[str]]:
    """ "red or dark blue cars" -> [["red"], ["dark", "blue", "cars"]], ["or"]."""
    groups, joints = [chunk(cursor)], []
    describing = lex.ADJECTIVES | lex.POSTURES | lex.MOTIONS
    while groups[-1] and all(word in describing for word in groups[-1]):
        start = cursor.at
        comma = cursor.take(",")
        joint = cursor.take("and", "or") or comma
        if joint is None or cursor.word() not in describing or not (more := chunk(cursor)):
            cursor.at = start
            break
        joints.append(joint)
        groups.append(more)
    return groups, joints


def chunk(cursor: Cursor) -> list[str]:
    """A run of content words that ends with its noun."""
    words: list[str] = []
    while (token := cursor.peek()) is not None:
        if token.kind == "number":
            if not words or cursor.word(1) == "percent":
                break
        elif token.kind == "emoji":
            if words and words[-1] not in lex.ADJECTIVES:
                cursor.at += 1
                continue
        elif (
            token.kind != "word"
            or token.text in lex.STOP
            or token.text == "percent"
            or (words and _noun_is_over(cursor, words))
            or (not words and (token.text in lex.SUPERLATIVES or token.text in _HOLDING or lex.EXCEPT.match(cursor)))
        ):
            break
        words.append(token.text)
        cursor.at += 1
    return [nearest(word, "adjectives", 4) for word in words[:-1]] + words[-1:]


def _noun_is_over(cursor: Cursor, words: list[str]) -> bool:
    """Whether the word at the cursor starts something new after the noun in `words`."""
    word, following = cursor.word(), cursor.word(1)
    if lex.RELATIONS.match(cursor) or lex.EXCEPT.match(cursor) or word in lex.SUPERLATIVES:
        return True
    if word in lex.COMPARATIVES and following in ("than", ""):
        return True
    if word in ("closer", "nearer", "farther", "further") and following in ("to", "from", "than", "away"):
        return True
    if word in ("twice", "half", "thrice") and following == "as":
        return True
    if word in ("seen", "shown", "pictured", "depicted", "walk", "swim", "fly", "come", "go", "drive", "run") and (
        following in lex.STOP | {"", "past"} or not is_content(cursor, 1)
    ):
        return words[-1] not in lex.ADJECTIVES
    if word in _ONLY_DESCRIBE and not is_content(cursor, 1) and not all(w in lex.ADJECTIVES for w in words):
        return words[-1] not in lex.ANYTHING
    if word in ("left", "right", "top", "bottom", "combined", "total") and not is_content(cursor, 1):
        return True
    if word in lex.ALWAYS_VERBS or (word in lex.VERBS_THEN and following in lex.STOP | {"up"}):
        return True
    if word in ("located", "placed", "positioned", "situated") or (
        word in lex.ORDINALS and following in ("from", "on")
    ):
        return True
    if word in ("coloured", "colored", "painted") and following in lex.COLOURS:
        return True
    if (
        word in lex.COLOURS - _NOUN_COLOURS
        and not is_content(cursor, 1)
        and not all(w in lex.ADJECTIVES for w in words)
    ):
        return words[-1] not in lex.ANYTHING
    before_noun = all(w in lex.ADJECTIVES or w in lex.PARTICIPLES for w in words)
    verb_like = word in lex.PARTICIPLES or (word.endswith("ing") and len(word) > 5 and not is_content(cursor, 1))
    if before_noun and words[-1] not in lex.ANYTHING:
        return False
    if verb_like:
        return word in lex.TRANSITIVE or not is_content(cursor, 1) or following in lex.PARTICIPLES | {"down", "up"}
    return word in _STATES_BEHIND and not is_content(cursor, 1) and words[-1] not in lex.ANYTHING


def phrases_of(groups: list[list[str]], joints: list[str], found: Determiner, *, negated: bool) -> Concept:
    """Phrases from adjective groups that share the last group's noun."""
    phrase = _phrase(groups[-1], found)
    if negated and phrase.attributes:
        bare = phrase.model_copy(update={"attributes": phrase.attributes[1:]})
        return described(bare, phrase.attributes[0], negated=True)
    if not joints:
        return phrase
    own = groups[-1][: len(phrase.attributes)]
    together = "or" not in joints and (
        not phrase.plural or set(joints) == {","} or {"black", "white"} == _set(groups, own)
    )
    if together:
        words = list(dict.fromkeys([word for group in groups[:-1] for word in group] + own))
        glued = " and ".join(words) if "and" in joints else None
        return phrase.model_copy(update={"attributes": (glued,) if glued else tuple(words)})
    if phrase.noun in lex.COLOURS and not phrase.attributes and any([phrase.noun] == group for group in groups[:-1]):
        raise Objection("nothing named")  # "red or red or red": of what?
    alternatives = [phrase.model_copy(update={"attributes": tuple(group)}) for group in groups[:-1]]
    return joined([*alternatives, phrase], "or")


def _set(groups: list[list[str]], own: list[str]) -> set[str]:
    return {word for group in groups[:-1] for word in group} | set(own)


def adjectives_on(base: Concept, groups: list[list[str]], joints: list[str]) -> Concept:
    """ "the red or blue ones"."""
    if joints:
        return joined([adjectives_on(base, [group], []) for group in groups], "or")
    for word in reversed(groups[-1]):
        base = described(base, word)
    return base


def _phrase(words: list[str], found: Determiner) -> Phrase:
    """Adjectives in front come off as attributes; the rest is the noun, in the singular."""
    split = 0
    while split < len(words) - 1 and (words[split] in lex.ADJECTIVES or words[split] in lex.PARTICIPLES):
        split += 1
    noun = words[split:]
    details: tuple[str, ...] = ()
    if noun[-1].isdigit() and len(noun) > 1:
        cut = -2 if noun[-2] in ("number", "numbers", "no", "nr") else -1
        details, noun = (f"number {noun[-1]}",), noun[:cut]
        if not noun:
            noun, details = ["person"], (f"wearing {details[0]}",)
    if noun[-1] in ("everyone", "everybody"):
        found.every = True
    many = found.many if found.many is not None else is_plural(noun[-1])
    last = lex.ANYONE.get(noun[-1]) or singular(noun[-1])
    return Phrase(noun=" ".join([*noun[:-1], last]), attributes=tuple(words[:split]), details=details, plural=many)
