"""Ten thousand frames: memory stays flat, whatever comes and goes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from video_stage import Stage

from sam3.scenes.truth import Noise, TruthEngine
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.events import EventFile
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.sources import Source

FRAMES, SETTLED = 10_000, 2_500


def coming_and_going(offset: int) -> Callable[[int], tuple[float, float] | None]:
    """Walks through the picture again and again, always a new one."""
    return lambda t: (((t + offset) % 90) * 2 - 25, 8 + 28 * (offset // 30))


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_frames(tmp_path: Path) -> None:
    stage = Stage({f"duck {n}": coming_and_going(30 * n) for n in range(3)})
    shots = [stage.frame(t) for t in range(90)]
    engine = TruthEngine(Noise(miss=0.1, false=0.05))
    tracker = CarryTracker(engine, ["duck"], Cadence(every=10), rate=25)
    stream = Stream(Capture(Source("file", "x", "x")), tracker, ["duck"], log=EventFile(tmp_path / "events.jsonl"))
    process, held = psutil.Process(), []
    for number in range(FRAMES):
        picture, masks = shots[number % 90]
        engine.show(picture, masks, {n: ("duck",) for n in masks})
        stream._one(Frame(number, number / 25, picture))
        if number % 50 == 0:
            stream.board.jpeg(stream.board._post)  # type: ignore[arg-type]
        if number in (SETTLED, FRAMES - 1):
            gc.collect()
            held.append(process.memory_info().rss)
    assert held[1] - held[0] < 12_000_000
    numbers = [event["id"] for event in stream.events.recent if event["event"] == "appeared"]
    assert numbers and max(numbers) > 200, "hundreds came and went"
    assert len(tracker.followed) < 10 and len(tracker._recall) <= 50 and len(stream.events._tracks) < 30
