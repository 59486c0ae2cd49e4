"""A live stream end to end: frames a second, age of the frame shown, and where the time goes.

    python benchmarks/stream_rate.py                                   # 640x480, detector once a second, sam3-lite
    python benchmarks/stream_rate.py --size 1920x1080 --things 10 --checkpoint facebook/sam3 --method memory --goal 60   # a GPU;
                                                                       # not measured yet: no published weights were at hand

A clip of moving cut-outs is coded as H.264 and played in a camera's place at 30 frames a second: decoding thread, tracker, events,
JSON, and the JPEG of one viewer. The engine does its whole work at each look; its answers are replaced by the blurred truth (unless
`--own-answers`), so that there are as many things to carry as were put in, whatever the weights can see. Ratios and shares are kept:
`of_goal` is frames a second over the goal, `worst_age` the largest (age - inference) over the frame interval, which may be 2.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sam3.engines import load_engine
from sam3.scenes.moving import MovingOptions, moving_scene
from sam3.scenes.truth import Noise, TruthEngine
from sam3.types import Engine
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult, Tracker
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.memory import MemoryTracker
from sam3_agent.video.reading import read_frames
from sam3_agent.video.sources import Source, source_of
from sam3_agent.video.track import parse_every
from sam3_agent.video.writing import VideoWriter

CAMERA_RATE = 30.0
CLIP_FRAMES = 60


def played(
    folder: Path, size: tuple[int, int], things: int, inner: Engine, own: bool
) -> tuple[Source, Engine, list[str]]:
    """A clip on disk, the engine that knows it, and what is in it."""
    scene = moving_scene(3, things, MovingOptions(size=size, frames=CLIP_FRAMES, rate=CAMERA_RATE, late=0.0))
    with VideoWriter(folder / "clip.mp4", CAMERA_RATE, size) as video:
        for number in range(CLIP_FRAMES):
            video.add(scene.frame(number).image)
    source = source_of(folder / "clip.mp4")
    phrases = list(dict.fromkeys(cutout.concept for cutout in scene.cutouts))
    if own:
        return source, inner, phrases
    engine = TruthEngine(Noise(), costs=inner)
    names = {thing: (cutout.concept,) for thing, cutout in enumerate(scene.cutouts, start=1)}
    for frame in read_frames(source):
        shot = scene.frame(frame.number)
        engine.show(frame.pixels, shot.masks, names, shot.shares)
    return source, engine, phrases


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    width, height = (int(part) for part in asked.size.split("x"))
    inner = load_engine(asked.engine, checkpoint=asked.checkpoint) if asked.method == "carry" else TruthEngine()
    rows: list[tuple[float, float, int]] = []
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        source, engine, phrases = played(Path(folder), (width, height), asked.things, inner, asked.own_answers)
        if asked.method == "memory":  # SAM 3's own: it has no engine, and its answers are its own
            tracker: Tracker = MemoryTracker.load(asked.checkpoint, phrases)
        else:
            tracker = CarryTracker(engine, phrases, parse_every(asked.every), rate=CAMERA_RATE)

        def shown(frame: Frame, result: FrameResult) -> None:
            stream.board.jpeg(stream.board._post)  # type: ignore[arg-type]  # what one viewer costs
            inference = sum(result.milliseconds.values()) / 1000
            rows.append((stream.metrics.last_age._value.get(), inference, len(result.seen)))
            spent.update(result.milliseconds)

        with Stream(Capture(source, loop=True), tracker, phrases, shown=shown) as stream:
            stream.run(frames=5)  # the first looks load what is loaded late
            rows.clear()
            spent.clear()
            stream.run(seconds=asked.seconds)
            decoded = stream.capture.counts.decoded
    ages, inference, counts = (np.array(column) for column in zip(*rows, strict=True))
    whole = sum(spent.values())
    return {
        "of_goal": round(len(rows) / asked.seconds / asked.goal, 3),
        "goal_frames_a_second": asked.goal,
        "worst_age": round(float((ages - inference).max() * CAMERA_RATE), 3),
        "carried_to_look": round(float(np.median(inference) / inference.max()), 4),
        "share_of_tracking_time": {stage: round(value / whole, 3) for stage, value in spent.most_common()},
        "things_shown": round(float(counts.mean()), 2),
        "frames_shown": len(rows),
        "frames_decoded": decoded,
        "size": asked.size,
        "phrases": len(phrases),
        "every": asked.every,
        "checkpoint": asked.checkpoint,
        "method": asked.method,
        "answers": "its own" if asked.own_answers else "blurred truth",
    }


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--things", type=int, default=6)
    parser.add_argument("--every", default="1s")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--goal", type=float, default=15)
    parser.add_argument("--checkpoint", default="sam3-lite")
    parser.add_argument("--method", choices=("carry", "memory"), default="carry")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--own-answers", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    result = measure(asked)
    for name, value in result.items():
        print(f"{name}: {value}")
    if asked.out:
        from sam3.eval.provenance import checkpoint_line, hardware_line, versions
        from sam3.files import write_json

        weights = checkpoint_line(asked.checkpoint)
        write_json(asked.out, {**result, "weights": weights, "hardware": hardware_line(), "versions": versions()})


if __name__ == "__main__":
    main()
