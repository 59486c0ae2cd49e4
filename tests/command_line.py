"""`sam3-agent` called from a test, in this process."""

from __future__ import annotations

from sam3_agent.cli import main


def run(*words: str) -> int:
    """The exit status of `sam3-agent` with these words."""
    try:
        main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
