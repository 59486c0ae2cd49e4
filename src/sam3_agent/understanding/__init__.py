"""Words -> plan. `understand("how many red cars are left of the bus?").plan` is the whole of it.

The path of a query: `normalise` (tokens) -> `courtesy` (greetings off) -> `pictures` (which image) -> `grammar` with
its rules (`questions`, `amounts`, `comparisons`, `across`, `claims`, `revisions` over `nouns` and `modifiers`)
-> `references` (what "them" is). No model, no network, well under a millisecond.
"""

from __future__ import annotations

from sam3_agent.understanding.effort import understood
from sam3_agent.understanding.grammar import Draft, Reading
from sam3_agent.understanding.plan import Plan

__all__ = ["Draft", "Plan", "Reading", "understand"]


def understand(text: str, images: int = 1) -> Reading:
    """Parse a query; see `grammar.read` and, for its bounds, `effort`."""
    return understood(text, images)
