"""Tracking apart from the weights: detector every N frames and flow in between, against detector on every frame.

    python benchmarks/track_quality.py [--clips 6] [--every 5] [--costs sam3-lite] [--out benchmarks/results/track_quality.json]

The clips are moving photographed cut-outs over photographs with occlusion, exits and camera shake (`sam3.scenes.moving`);
the detector knows the truth and blurs it (`sam3.scenes.truth`). The reference is plain ByteTrack on every frame's
detections. With `--costs` a real engine works at each look for its time alone, so that the ratio of times is that of real
runs; HOTA and its kin are TrackEval's, on masks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.track_scores import Scores, evaluate
from sam3.scenes.moving import MovingOptions, MovingScene, moving_scene
from sam3.scenes.truth import Noise, TruthEngine
from sam3.types import Engine, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame


def reference(engine: TruthEngine, phrases: list[str], rate: float) -> Any:
    """Detector on every frame, ByteTrack as its package has it, masks of the detections."""
    import supervision as sv
    from trackers import ByteTrackTracker

    tracks = {
        phrase: ByteTrackTracker(
            frame_rate=rate, track_activation_threshold=0.5, minimum_consecutive_frames=1, high_conf_det_threshold=0.5
        )
        for phrase in phrases
    }

    def step(frame: Frame) -> dict[int, np.ndarray]:
        [embedding] = engine.encode([frame.pixels])
        shown = {}
        for at, found in enumerate(engine.ground([embedding] * len(phrases), [Prompt(text=p) for p in phrases])):
            given = sv.Detections(xyxy=found.boxes, confidence=found.scores, data={"row": np.arange(len(found))})
            out = tracks[phrases[at]].update(given)
            rows = zip(out.data.get("row", ()), out.tracker_id, strict=True)
            shown |= {int(n) * len(phrases) + at: found.masks[int(row)] for row, n in rows if n >= 0}
        return shown

    return step


def carried(engine: TruthEngine, phrases: list[str], rate: float, every: int) -> Any:
    """Ours."""
    tracker = CarryTracker(engine, phrases, Cadence(every=every), rate=rate)

    def step(frame: Frame) -> dict[int, np.ndarray]:
        seen = tracker.update(frame).seen
        return dict(zip(map(int, seen.track_ids), seen.masks, strict=True))

    return step


def play(scene: MovingScene, step: Any, engine: TruthEngine) -> tuple[Scores, float]:
    """The scores of one clip and the seconds that tracking took."""
    scores, spent = Scores(), 0.0
    names = {thing: (cutout.concept,) for thing, cutout in enumerate(scene.cutouts, start=1)}
    for number in range(len(scene)):
        shot = scene.frame(number)
        engine.show(shot.image, shot.masks, names, shot.shares)
        frame = Frame(number, number / scene.options.rate, shot.image)
        start = time.perf_counter()
        found = step(frame)
        spent += time.perf_counter() - start
        scores.add(shot.masks, found)
    return scores, spent


def compare(clips: int, every: int, costs: Engine | None, options: MovingOptions) -> dict[str, Any]:
    """Both ways over the same clips."""
    kept: dict[str, list[Scores]] = {"reference": [], "carried": []}
    spent = {"reference": 0.0, "carried": 0.0}
    for seed in range(clips):
        scene = moving_scene(seed, options=options)
        phrases = list(dict.fromkeys(cutout.concept for cutout in scene.cutouts))
        for name in kept:
            engine = TruthEngine(Noise(), seed=seed, costs=costs)
            step = (
                reference(engine, phrases, options.rate)
                if name == "reference"
                else carried(engine, phrases, options.rate, every)
            )
            scores, seconds = play(scene, step, engine)
            kept[name].append(scores)
            spent[name] += seconds
    scored = {name: {k: round(v, 4) for k, v in evaluate(rows).items()} for name, rows in kept.items()}
    return {
        **scored,
        "hota_kept": round(scored["carried"]["HOTA"] / max(scored["reference"]["HOTA"], 1e-9), 4),
        "time_ratio": round(spent["carried"] / spent["reference"], 4),
        "clips": clips,
        "frames": clips * options.frames,
        "every": every,
    }


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--costs", default="", help="a checkpoint whose time each look takes")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    costs = None
    if asked.costs:
        from sam3.engines import load_engine

        costs = load_engine("auto", checkpoint=asked.costs)
    result = compare(asked.clips, asked.every, costs, MovingOptions(frames=asked.frames))
    result["costs"] = asked.costs or "none: the stand-in's own time"
    for name, value in result.items():
        print(f"{name}: {value}")
    if asked.out:
        from sam3.eval.provenance import checkpoint_line, hardware_line, versions
        from sam3.files import write_json

        weights = checkpoint_line(asked.costs) if asked.costs else None
        write_json(asked.out, {**result, "weights": weights, "hardware": hardware_line(), "versions": versions()})


if __name__ == "__main__":
    main()
