"""The product around the model: data engine, agent and their command line.

`from sam3_agent import Agent` (or `SAM3Wrapper`) is the front door; they are resolved on first use so that `import sam3_agent`
stays light for the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam3_agent.conversation import Agent as Agent
    from sam3_agent.wrapper import SAM3Wrapper as SAM3Wrapper

__all__ = ["Agent", "SAM3Wrapper"]


def __getattr__(name: str) -> Any:
    if name == "Agent":
        from sam3_agent.conversation import Agent

        return Agent
    if name == "SAM3Wrapper":
        from sam3_agent.wrapper import SAM3Wrapper

        return SAM3Wrapper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
