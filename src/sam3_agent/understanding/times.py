"""Times in a question about a clip: "between 0:10 and 0:20", "in the first 5 seconds", "when does the first duck appear?"

They are taken out before the grammar reads the rest, and put into its plans afterwards. Called by `grammar.read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sam3_agent.understanding.plan import Action, Concept, Exists, Filtered, Rank, When
from sam3_agent.understanding.tokens import spend

Moment = Literal["appears", "leaves", "shows", "most", "fewest"]
Span = tuple[float, float | None]

_UNIT = r"(?P<{0}u>seconds?|secs?|s|minutes?|mins?|min)"
_CLOCK = (
    r"(?:(?:(?P<{0}h>\d+):)?(?P<{0}m>\d+):(?P<{0}s>\d{{2}}(?:\.\d+)?)|(?P<{0}n>\d+(?:\.\d+)?)(?:\s*" + _UNIT + r"\b)?)"
)
_BEFORE = r"(?:the\s+)?(?:seconds?|minutes?|time|frames?)?\s*"


def _time(name: str) -> str:
    return _CLOCK.format(name)


_BETWEEN = re.compile(
    rf"\b(?:(?:in|during|within)\s+the\s+(?:part|time|stretch)\s+)?(?:between|from)\s+(?P<word>seconds?|minutes?)?\s*{_time('a')}"
    rf"\s*(?:and|to|until|till|-|through)\s*{_time('b')}(?:\s+(?:in|of)\s+the\s+(?:clip|video|film|footage))?",
    re.IGNORECASE,
)
_EDGE = re.compile(
    rf"\b(?:in|during|within|for|over)\s+the\s+(?P<edge>first|last|final|opening)\s+{_time('a')}"
    r"(?:\s+(?:in|of)\s+the\s+(?:clip|video|film|footage))?",
    re.IGNORECASE,
)
_SIDE = re.compile(
    rf"\b(?P<side>after|before|until|till|from|since|at)\s+{_BEFORE}{_time('a')}(?P<on>\s+on(?:wards)?)?"
    r"(?:\s+(?:in|of)\s+the\s+(?:clip|video|film|footage))?(?=\s*[?.,!]|\s*$)",
    re.IGNORECASE,
)
_APPEAR = (
    r"appears?|show(?:s)?\s+up|turn(?:s)?\s+up|pop(?:s)?\s+up|come(?:s)?\s+in(?:to\s+(?:view|sight|the\s+\w+))?|enters?(?:\s+the\s+\w+)?|"
    r"arrives?|becomes?\s+visible|start(?:s)?\s+to\s+be\s+visible|(?:first\s+)?(?:seen|visible|there|shown)"
)
_LEAVE = r"leaves?(?:\s+the\s+\w+)?|disappears?|vanish(?:es)?|exits?(?:\s+the\s+\w+)?|go(?:es)?\s+(?:away|out(?:\s+of\s+(?:view|sight|the\s+\w+))?)"
_ASKS = r"(?:when|(?:at|in)\s+(?:what|which)\s+(?:time|second|point|moment|minute|frame)|how\s+(?:soon|late))"
_DOES = r"(?:do|does|did|will|is|are|was|were|can|could)"
_END = r"(?:\s+for\s+the\s+(?:first|last)\s+time)?(?:\s+in\s+(?:the|this)\s+(?:clip|video|film|footage|frame|picture))?\s*[?.!]*\s*$"
_WHEN = re.compile(
    rf"^\W*{_ASKS}\s+(?:{_DOES}\s+)?(?:i\s+|we\s+|you\s+)?(?P<early>first\s+)?(?:see\s+)?(?P<thing>(?:the|a|an|any|all|some|every)?\s*.+?)"
    rf"\s+(?:first\s+|last\s+|finally\s+)?(?:(?P<appear>{_APPEAR})|(?P<leave>{_LEAVE})){_END}",
    re.IGNORECASE,
)
_SEEN = re.compile(
    rf"^\W*{_ASKS}\s+(?:do|does|did|can|could|will)\s+(?:i|we|you|one)\s+(?:first\s+|finally\s+)?(?:see|spot|notice)\s+(?P<thing>.+?){_END}",
    re.IGNORECASE,
)
_LASTS = re.compile(
    rf"^\W*(?:for\s+)?how\s+long\s+(?:is|are|was|were|can|does|do)\s+(?P<thing>.+?)\s+(?:be\s+)?(?:visible|seen|shown|there|in\s+(?:view|sight)|stay|on\s+screen){_END}",
    re.IGNORECASE,
)
_MANY = r"(?:the\s+)?(?:(?P<most>most|(?:largest|highest|greatest|biggest|maximum|max)\s+(?:number|count|amount)\s+of)|(?P<few>fewest|least|(?:smallest|lowest|least|minimum)\s+(?:number|count|amount)\s+of))"
_SEEN_THERE = r"(?:\s+(?:are|is|be|visible|seen|shown|there|present|appear(?:ing)?|around|on\s+screen|at\s+once|simultaneously|at\s+the\s+same\s+time|in\s+(?:view|sight|frame|one\s+frame|a\s+single\s+frame)))*"
_PEAK = re.compile(
    rf"^\W*(?:{_ASKS}(?:\s+(?:in|of)\s+the\s+(?:clip|video|film|footage))?\s+(?:{_DOES}\s+)?(?:there\s+|(?:i|we|you|one|it|the\s+(?:clip|video|film|footage))\s+)?(?:see\s+|spot\s+|show\s+|count\s+|have\s+)?|"
    rf"(?:in\s+)?(?:which|what)\s+(?:second|moment|frame|minute|point)(?:\s+(?:in|of)\s+the\s+(?:clip|video|film|footage))?\s+(?:shows?|has|contains?|are\s+there|is\s+there|do\s+you\s+see)\s+)"
    rf"{_MANY}\s+(?P<thing>.+?){_SEEN_THERE}{_END}",
    re.IGNORECASE,
)
_HIGHEST = re.compile(
    rf"^\W*{_ASKS}\s+(?:{_DOES}\s+)?the\s+(?:number|count|amount)\s+of\s+(?P<thing>.+?)\s+(?:(?:is|are|at|reach(?:es)?)\s+)*(?:its\s+|the\s+|a\s+)?"
    rf"(?:(?P<most>highest|largest|greatest|biggest|peaks?|maximal|maximum|max)|(?P<few>lowest|smallest|minimal|minimum)){_END}",
    re.IGNORECASE,
)
_THERE = re.compile(rf"^\W*{_ASKS}\s+(?:is|are|was|were)\s+there\s+(?P<thing>.+?){_SEEN_THERE}{_END}", re.IGNORECASE)
_POLITE = re.compile(
    r"^\W*(?:(?:hi|hello|hey|please|so|and|ok)\W+)*(?:(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?)?(?:tell\s+me|say|show\s+me|find\s+out|find|determine|let\s+me\s+know|do\s+you\s+know|i\s+want\s+to\s+know)\s+(?=when\b|(?:at|in)\s+(?:what|which)\b)",
    re.IGNORECASE,
)
_TAIL = re.compile(r"[\s,]+(?:please|thanks|thank\s+you|pls|plz)\W*$", re.IGNORECASE)
_ORDER = re.compile(r"^(?P<article>the\s+)?(?P<which>first|last)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Timed:
    """A question without its times.

    Attributes:
        rest: what the grammar reads.
        between: seconds from the start; a negative start counts from the end; None: to the end.
        moment: what is asked about time, None where only a part of the clip was named.
        last: the last thing to appear (or leave) is meant, not the first.
    """

    rest: str
    between: Span | None = None
    moment: Moment | None = None
    last: bool = False

    def asked(self, action: Action) -> When | None:
        """The question of when, if it is one; "two ducks" is when two of them show at once."""
        target: Concept | None = getattr(action, "target", None)
        count = None
        if isinstance(action, Exists) and len(action.claims) == 1:
            target, count = action.claims[0].target, action.claims[0].at_least
        elif isinstance(target, Filtered) and isinstance(target.by, Rank) and target.by.by == "score":
            count, target = target.by.count, target.base
        if self.moment is None or target is None:
            return None
        counted = count is not None and count > 1 and self.moment == "appears"
        return When(target=target, moment=self.moment, last=self.last, count=count if counted else None)


def timed(text: str) -> Timed | None:
    """What a question says about time; None where it says nothing."""
    spend(len(text) // 8)  # the patterns look from every letter on, and a question may name time upon time
    between, rest = _span(text)
    asked = _TAIL.sub("", _POLITE.sub("", rest))
    for pattern in (_PEAK, _HIGHEST):
        if found := pattern.match(asked):
            return Timed(f"find the {found['thing']}", between, "most" if found["most"] else "fewest")
    rest = asked if asked != rest and _POLITE.match(rest) else rest
    there = _THERE.match(asked)
    if there and not re.match(r"(?:no|zero|any)\b", there["thing"], re.IGNORECASE):
        return Timed(f"find {there['thing']}", between, "appears")
    for pattern, moment in ((_LASTS, "shows"), (_SEEN, "appears"), (_WHEN, "")):
        found = pattern.match(rest)
        if found:
            named: Moment = moment or ("leaves" if found["leave"] else "appears")  # type: ignore[assignment]
            thing, last = _thing(re.sub(rf"{_SEEN_THERE}\s*$", "", found["thing"], flags=re.IGNORECASE), named)
            return Timed(f"find {thing}", between, named, last)
    return None if between is None else Timed(rest, between)


def _thing(words: str, moment: Moment) -> tuple[str, bool]:
    """ "the first duck" -> "the duck": first in time, which is the question, and not first in a row."""
    found = _ORDER.match(words)
    if not found:
        return words, moment == "leaves"
    return f"the {words[found.end() :]}", found["which"].lower() == "last"


def _span(text: str) -> tuple[Span | None, str]:
    """The part of the clip that is named, and the question without it."""
    found = _BETWEEN.search(text)
    if found and (_clocked(found, "a") or _clocked(found, "b") or found["word"]):
        word = found["word"] or found["bu"] or found["au"] or "s"
        start, end = (_seconds(found, name, word) for name in ("a", "b"))
        return ((start, end) if start <= end else (end, start)), _without(text, found)
    found = _EDGE.search(text)
    if found and found["au"]:
        length = _seconds(found, "a", found["au"])
        first = found["edge"].lower() in ("first", "opening")
        return ((0.0, length) if first else (-length, None)), _without(text, found)
    found = _SIDE.search(text)
    if found and _clocked(found, "a"):
        at, side = _seconds(found, "a", found["au"] or "s"), found["side"].lower()
        spans: dict[str, Span] = {"at": (at, at), "before": (0.0, at), "until": (0.0, at), "till": (0.0, at)}
        return spans.get(side, (at, None)), _without(text, found)
    return None, text


def _clocked(found: re.Match[str], name: str) -> bool:
    """Whether it is surely a time: written with a colon or with a unit."""
    return found[f"{name}m"] is not None or found[f"{name}u"] is not None


def _seconds(found: re.Match[str], name: str, word: str) -> float:
    if found[f"{name}m"] is not None:
        return 3600 * int(found[f"{name}h"] or 0) + 60 * int(found[f"{name}m"]) + float(found[f"{name}s"])
    unit = found[f"{name}u"] or word
    return float(found[f"{name}n"]) * (60 if unit.lower().startswith("m") else 1)


def _without(text: str, found: re.Match[str]) -> str:
    rest = f"{text[: found.start()].rstrip()} {text[found.end() :].lstrip()}"
    return re.sub(r"\s+([?.,!])", r"\1", rest).strip(" ,")
