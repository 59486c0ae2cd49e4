"""Numbers at one moment of a clip: "how many ducks are there at the same time?", "the largest number of people at once".

A count over a clip is of distinct things; these words ask for how many show in one frame. They are taken out before
the grammar reads the rest, and put into its counts and yes/no questions afterwards. Called by `grammar.read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sam3_agent.understanding.plan import Claim

Extreme = Literal["most", "fewest"]

_TOGETHER = re.compile(
    r"\s*,?\s*\b(?:(?:all\s+)?(?:together\s+)?at\s+(?:once|a\s+time|the\s+(?:very\s+)?same\s+(?:time|moment|instant)|any\s+(?:one|given|single)\s+(?:time|moment|point|instant)|"
    r"(?:one|a\s+single)\s+(?:and\s+the\s+same\s+)?(?:time|moment))|simultaneously|concurrently|"
    r"in\s+(?:the\s+same|a\s+single|one(?:\s+single)?|any\s+(?:one|single))\s+(?:frame|shot)|at\s+(?:the|its|their)\s+peak)\b",
    re.IGNORECASE,
)
_ASK = r"(?:please|and|so|ok|now|tell\s+me|give\s+me|say|find|determine|report|count|calculate|compute|show\s+me|i\s+want(?:\s+to\s+know)?|do\s+you\s+know|what(?:'?s|\s+is|\s+was|\s+are|\s+were)?)"
_MANY = r"(?P<much>largest|greatest|highest|biggest|maximum|max\.?|maximal|peak|top)"
_FEW = r"(?P<little>smallest|lowest|least|minimum|min\.?|minimal|fewest)"
_EXTREME = re.compile(
    rf"^\W*(?:{_ASK}\s+)*(?:the\s+|a\s+)?(?:{_MANY}|{_FEW})\s+(?:number|count|amount|quantity|total)s?\s+of\s+",
    re.IGNORECASE,
)
_THE_MOST = re.compile(rf"^\W*(?:{_ASK}\s+)+the\s+(?:(?P<much>most)|(?P<little>fewest|least))\s+", re.IGNORECASE)
_AT_MOST = re.compile(
    r"^(?P<before>\W*(?:and\s+|so\s+)?)(?:at\s+(?:the\s+)?most|up\s+to)\s+(?=how\s+many\b)|(?<=\s)at\s+(?:the\s+)?most\s*(?=\W*$)",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(r"^\W*at\s+(?:the\s+very\s+)?least\s+(?=how\s+many\b)", re.IGNORECASE)
_MOST_AFTER = re.compile(
    r"^(\W*how\s+many\s.+?)\s+at\s+(?:the\s+)?most\s+(?=are|is|can|do|were|show|appear)", re.IGNORECASE
)
_ANY_FRAME = re.compile(r"\s+(?:in|on)\s+(?:any|a|one|each|every)\s+frame\b", re.IGNORECASE)
_ON_SCREEN = re.compile(r"\s+on\s+(?:the\s+)?screen\b", re.IGNORECASE)
_EVER = re.compile(
    r"^(\W*)is\s+there\s+(?:ever\s+)?(?:a|any|some)\s+(?:moment|time|point|frame|second|instant)\s+(?:(?:with|of|that\s+shows|showing)\s+|(?:when|where|in\s+which|at\s+which)\s+(?:there\s+(?:are|is)|(?:you|we|i)\s+(?:can\s+)?see)\s+)",
    re.IGNORECASE,
)
_IS_EVER = re.compile(
    r"^(\W*(?:is\s+there|are\s+there|do\s+you|do\s+we|can\s+you|can\s+we|does\s+the\s+\w+)\s+)ever\s+", re.IGNORECASE
)


@dataclass(frozen=True)
class AtOnce:
    """A question without its words for one moment.

    Attributes:
        rest: what the grammar reads.
        extreme: how many there are at most, or at least, in one frame.
        sure: a number at one moment is meant whatever else is read ("at once" may also mean "now").
    """

    rest: str
    extreme: Extreme = "most"
    sure: bool = False

    def loosened(self, claim: Claim) -> Claim:
        """ "are there ever two dogs at once": more than two at another moment do not make it untrue."""
        exact = re.search(r"\b(?:exactly|only|just|precisely)\b", self.rest, re.IGNORECASE)
        free = claim.at_most is not None and claim.at_most == claim.at_least > 0 and not exact
        return claim.model_copy(update={"at_most": None}) if free else claim


def at_once(text: str) -> AtOnce | None:
    """What a question says about one moment; None where it says nothing."""
    together = _TOGETHER.search(text)
    rest = _TOGETHER.sub(" ", text) if together else text
    rest = _ON_SCREEN.sub("", rest)
    extreme = _EXTREME.match(rest)
    if extreme:
        return AtOnce(f"how many {_ANY_FRAME.sub('', rest[extreme.end() :])}", _which(extreme), sure=True)
    the_most = _THE_MOST.match(rest) if together else None
    if the_most:
        return AtOnce(f"how many {rest[the_most.end() :]}", _which(the_most), sure=True)
    if _AT_LEAST.match(rest):
        return AtOnce(_AT_LEAST.sub("", rest), "fewest", sure=True)
    bounded = _MOST_AFTER.sub(r"\1 ", _AT_MOST.sub("", rest)) if "how many" in rest.lower() else rest
    if bounded != rest:
        return AtOnce(_ANY_FRAME.sub("", bounded), sure=True)
    ever = _IS_EVER.sub(r"\1", _EVER.sub(r"\1are there ", rest))
    if ever != rest:
        return AtOnce(ever, sure=_EVER.match(rest) is not None or together is not None)
    return AtOnce(rest) if together else None


def _which(found: re.Match[str]) -> Extreme:
    return "most" if found["much"] else "fewest"
