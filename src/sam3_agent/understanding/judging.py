"""Questions whose answer is a judgement: health, feelings, intentions, age, worth. No mask shows it.

Called by `grammar.py` for a clause that a rule has read. What is said of a thing ("is the chicken ill?") is refused; a
property in front of a noun is left to the engine where it can be seen ("the old man", "a happy face"), and refused where
nobody can see it ("the stolen car").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sam3_agent.understanding import lexicon as lex

# never to be seen, wherever they stand
_UNSEEN = lex.words(
    "ill sick healthy unhealthy diseased infected contagious feverish poisoned hungry thirsty drunk guilty innocent stolen "
    "illegal expensive cheap valuable worthless priceless overpriced genuine authentic intelligent clever stupid "
    "honest dishonest trustworthy suspicious famous infertile fertile vaccinated insured depressed"
)
# not to be seen where they are said of something; in front of a noun they may be part of its name or look
_JUDGED = _UNSEEN | lex.words(
    "happy unhappy sad angry afraid scared frightened nervous anxious calm bored lonely tired exhausted stressed excited jealous "
    "proud ashamed relaxed friendly unfriendly aggressive dangerous harmless safe unsafe hostile nice evil "
    "hurt injured wounded pregnant dying unwell recovering suffering poisonous venomous edible tasty delicious "
    "old young older younger new elderly beautiful ugly pretty cute handsome attractive good bad "
    "better worse worth married legal normal abnormal fake rich poor smart mad crazy "
    "alive dead dying"
)
_SEEMS = lex.words(
    "look looks seem seems feel feels appear appears get getting become sound sounds taste tastes smell smells"
)
_INNER = lex.words(
    "want wants like likes love loves hate hates need needs think thinks know knows feel feels intend intends hope hopes "
    "fear fears enjoy enjoys trust trusts believe believes suffer suffers understand understands deserve deserves hurt hurts"
)
_APPRAISE = lex.words("assess diagnose evaluate appraise judge grade rate")  # "assess injury severity" names no thing
_BETWEEN = lex.words(
    "very really so too quite rather still already not also actually clearly seriously extremely a bit"
)
_INTENT = (
    ("going", "to"),
    ("about", "to"),
    ("trying", "to"),
    ("planning", "to"),
    ("intending", "to"),
    ("willing", "to"),
)
_FELT = (("afraid", "of"), ("scared", "of"), ("in", "pain"), ("in", "love"), ("in", "danger"))  # fmt: skip
_VISIBLE_BESIDE = lex.COLOURS | lex.POSTURES | lex.MOTIONS


def judged(words: list[str]) -> bool:
    """Whether the words of a clause ask for a judgement that no mask supports."""
    if words[:1] and words[0] in _APPRAISE and not set(words) & {"many", "number", "count"}:
        return True
    said = set(words)
    verbs = said & (lex.COPULAS | _SEEMS)
    if said & _UNSEEN and any(_of_a_thing(words, at) for at, word in enumerate(words) if word in _UNSEEN):
        return True
    if words and words[0] in lex.COPULAS:
        after = [*words[2:], "", ""]
        for pair, following in zip(pairwise(words), after, strict=False):
            if pair in _FELT or (pair in _INTENT and following not in lex.ARTICLES):  # "going to the left" can be seen
                return True
    asked_of_another = words[:1] in (["do"], ["does"], ["did"]) and words[1:2] not in ([], ["you"], ["i"], ["we"])
    if asked_of_another and said & _INNER:
        return True
    if not verbs or not said & _JUDGED:
        return False
    return any(word in _JUDGED and _predicative(words, at) for at, word in enumerate(words))


def _of_a_thing(words: Sequence[str], at: int) -> bool:
    """Whether the word describes: a noun follows, or it is said after "is"; "the sick" and "smart" alone are not our concern."""
    following = words[at + 1] if at + 1 < len(words) else ""
    return bool(following and following not in lex.STOP) or _predicative(words, at)


def _predicative(words: Sequence[str], at: int) -> bool:
    """Whether the word is said of something: a verb before it, a subject between or before, and no noun after it."""
    before = [word for word in words[:at] if word not in _BETWEEN]
    if not before or before[-1] in lex.ARTICLES | lex.QUANTIFIERS | {"no", "most", "more"}:
        return False
    verb = max((i for i, word in enumerate(before) if word in lex.COPULAS | _SEEMS), default=-1)
    if verb < 0 or (before[verb] in lex.COPULAS and before[verb + 1 : verb + 2] == ["there"]):
        return False
    if any(word in lex.HAVE or word in ("with", "wearing", "holding") for word in before[verb + 1 :]):
        return False
    end = at + 1
    while end < len(words) and (
        words[end] in ("or", "and", ",") or words[end] in _JUDGED or words[end] in _VISIBLE_BESIDE
    ):
        end += 1
    return end >= len(words) or words[end] in lex.STOP
