"""The product around the model: data engine, agent and their command line.

`from sam3_agent import Agent` is the front door; it is resolved on first use so that `import sam3_agent`
stays light for the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam3_agent.conversation import Agent as Agent

__all__ = ["Agent"]


def __getattr__(name: str) -> Any:
    if name == "Agent":
        from sam3_agent.conversation import Agent

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
