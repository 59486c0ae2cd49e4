"""Label Studio's own environment: its many pins cannot live in the project's."""

from __future__ import annotations

from pathlib import Path

from sam3_agent.own_environment import own_environment

LOCK = Path(__file__).with_name("label-studio-requirements.lock")


def label_studio() -> Path:
    """The program, its environment made now if need be.

    Raises:
        Unavailable: no uv, or the packages cannot be had.
    """
    return own_environment("label-studio", LOCK, "about two minutes and 1 GB") / "bin/label-studio"
