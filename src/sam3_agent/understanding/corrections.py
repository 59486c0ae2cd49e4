"""What somebody takes back in the same breath: "the third vehicle ... sorry, the third car", "find the dogs - no, the cats".

What is said last counts; a mere thing ("the cats") takes the place of the thing in the request before it. `taken_back`
cuts the text, `mended` joins the two readings. Called by `grammar.read` before anything else. Try it:
`print(taken_back("count the dogs, no wait, the cats"))`.
"""

from __future__ import annotations

import re

from sam3_agent.understanding.plan import Count, Plan, Segment

_BREAK = r"\s*(?:[,;:()\-–—]+|\.{2,}|…)\s*"
_FIRM = r"no[ ,]+wait|wait[ ,]+no|sorry[ ,]+i meant?|i meant?|or rather"  # take back without a comma behind them
_ALSO = r"no[ ,]+no|no[ ,]+sorry|sorry[ ,]+no|sorry|oops|pardon|scratch that|strike that|correction|make that|no"
_MARK = re.compile(
    rf"{_BREAK}(?:oh |uh |um |er )?(?:(?:{_FIRM}|{_ALSO})\s*[,:\-–—]\s*|(?:{_FIRM})\s+)(?=\w)", re.IGNORECASE
)
_MOST = 400  # characters: a slip of the tongue is mended in one breath


def taken_back(text: str) -> tuple[str, str] | None:
    """What was said first and what is said instead; None where nothing is taken back."""
    if len(text) > _MOST:
        return None
    for found in _MARK.finditer(text):
        said = text[: found.start()]
        if re.search(r"\w", said):
            return said.strip(" ,;:-–—.…("), text[found.end() :].strip(" )")
    return None


def mended(said: Plan | None, now: Plan, bare: bool) -> Plan:
    """The plan that is meant: what is said now, done with it as was asked before if it is only a thing."""
    if said is None or not bare or not isinstance(now.action, Segment) or not isinstance(said.action, Segment | Count):
        return now
    action = said.action.model_copy(update={"target": now.action.target})
    return now.model_copy(update={"action": action, "scope": now.scope if now.scope.numbers else said.scope})
