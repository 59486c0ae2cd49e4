"""Times in a question about a clip: "between 0:10 and 0:20", "in the first 5 seconds", "when does the first duck appear?"

They are taken out before the grammar reads the rest, and put into its plans afterwards. Called by `grammar.read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sam3_agent.understanding.tokens import spend

Moment = Literal["appears", "leaves", "shows"]
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
    rf"^\W*{_ASKS}\s+{_DOES}\s+(?:i\s+|we\s+|you\s+)?(?P<early>first\s+)?(?:see\s+)?(?P<thing>(?:the|a|an|any|all|some|every)?\s*.+?)"
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


def timed(text: str) -> Timed | None:
    """What a question says about time; None where it says nothing."""
    spend(len(text) // 8)  # the patterns look from every letter on, and a question may name time upon time
    between, rest = _span(text)
    for pattern, moment in ((_LASTS, "shows"), (_SEEN, "appears"), (_WHEN, "")):
        found = pattern.match(rest)
        if found:
            named: Moment = moment or ("leaves" if found["leave"] else "appears")  # type: ignore[assignment]
            thing, last = _thing(found["thing"], named)
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
