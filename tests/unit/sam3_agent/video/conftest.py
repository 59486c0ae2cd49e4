"""A small clip whose content is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from video_stage import Stage, write_clip


@pytest.fixture
def crossing() -> Stage:
    """A duck that goes right and a hen that stands."""
    return Stage({"hen": lambda t: (20, 60), "duck": lambda t: (5 + 2 * t, 10)})


@pytest.fixture
def clip(tmp_path: Path, crossing: Stage) -> Path:
    """The crossing as an mp4 of 30 frames at 10 a second."""
    return write_clip(tmp_path / "clip.mp4", [crossing.frame(t)[0] for t in range(30)])
