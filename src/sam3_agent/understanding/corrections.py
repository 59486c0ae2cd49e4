"""What somebody takes back in the same breath: "the third vehicle ... sorry, the third car", "find the dogs - no, the cats".

What is said last counts; a mere thing ("the cats") takes the place of the thing in the request before it. `taken_back`
cuts the text, `mended` joins the two readings. Called by `grammar.read` before anything else. Try it:
`print(taken_back("count the dogs, no wait, the cats"))`.
"""

from __future__ import annotations

import re

from sam3_agent.understanding.plan import Count, Plan, Segment

_MARKS = (
    r"(?:oh |uh |um |er )?(?:no[ ,]+wait|wait[ ,]+no|no[ ,]+no|no[ ,]+sorry|sorry[ ,]+no|sorry|oops|pardon|scratch that|strike that|"
    r"correction|or rather|i meant?|make that|no)"
)
_TAKEN_BACK = re.compile(
    rf"^(?P<said>.*?\w.*?)(?:\s*[,;:()\-–—]+\s*|\s*(?:\.{{2,}}|…)\s*){_MARKS}\s*[,:\-–—]\s*(?P<now>\w.*)$|"
    rf"^(?P<said2>.*?\w.*?)(?:\s*[,;:()\-–—]+\s*|\s*(?:\.{{2,}}|…)\s*)(?:no[ ,]+wait|wait[ ,]+no|sorry[ ,]+i meant?|i meant?|or rather)\s+(?P<now2>\w.*)$",
    re.IGNORECASE | re.DOTALL,
)
_MOST = 400  # characters: a slip of the tongue is mended in one breath


def taken_back(text: str) -> tuple[str, str] | None:
    """What was said first and what is said instead; None where nothing is taken back."""
    if len(text) > _MOST:
        return None
    found = _TAKEN_BACK.match(text)
    if found is None:
        return None
    said, now = (found["said"], found["now"]) if found["said"] else (found["said2"], found["now2"])
    return said.strip(" ,;:-–—.…("), now.strip(" )")


def mended(said: Plan | None, now: Plan, bare: bool) -> Plan:
    """The plan that is meant: what is said now, done with it as was asked before if it is only a thing."""
    if said is None or not bare or not isinstance(now.action, Segment) or not isinstance(said.action, Segment | Count):
        return now
    action = said.action.model_copy(update={"target": now.action.target})
    return now.model_copy(update={"action": action, "scope": now.scope if now.scope.numbers else said.scope})
