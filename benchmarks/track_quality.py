"""Tracking apart from the weights: detector every N frames and flow in between, against detector on every frame.

    python benchmarks/track_quality.py [--clips 6] [--every 5] [--costs sam3-lite] [--out benchmarks/results/track_quality.json]

The clips are moving photographed cut-outs over photographs with occlusion, exits and camera shake (`sam3.scenes.moving`);
the detector knows the truth and blurs it (`sam3.scenes.truth`). The reference is plain ByteTrack on every frame's
detections. With `--costs` a real engine works at each look for its time alone, so that the ratio of times is that of real
runs; HOTA and its kin are TrackEval's, on masks. Each clip is followed both ways side by side, frame by frame: `time_ratio` is by the
clock on the wall, `processor_ratio` by processor seconds, which a busy machine does not blur. A clip is kept in `--pieces` when it is
done: interrupt the command and run it again, and it goes on with the next one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.track_scores import Scores, evaluate
from sam3.scenes.moving import MovingOptions, moving_scene
from sam3.scenes.truth import Noise, TruthEngine
from sam3.types import Engine, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame

WAYS = ("reference", "carried")


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


def one_clip(seed: int, every: int, costs: Engine | None, options: MovingOptions) -> dict[str, Any]:
    """A clip both ways, frame by frame side by side, so that whatever else the machine does slows both alike."""
    scene = moving_scene(seed, options=options)
    phrases = list(dict.fromkeys(cutout.concept for cutout in scene.cutouts))
    names = {thing: (cutout.concept,) for thing, cutout in enumerate(scene.cutouts, start=1)}
    engines = {name: TruthEngine(Noise(), seed=seed, costs=costs) for name in WAYS}
    steps = {
        "reference": reference(engines["reference"], phrases, options.rate),
        "carried": carried(engines["carried"], phrases, options.rate, every),
    }
    scores = {name: Scores() for name in WAYS}
    spent = {name: np.zeros(2) for name in WAYS}
    for number in range(len(scene)):
        shot = scene.frame(number)
        frame = Frame(number, number / options.rate, shot.image)
        for name in WAYS[:: -1 if number % 2 else 1]:
            engines[name].show(shot.image, shot.masks, names, shot.shares)
            before = clocks()
            found = steps[name](frame)
            spent[name] += clocks() - before
            scores[name].add(shot.masks, found)
    piece: dict[str, Any] = {"seed": seed, "every": every, "frames": options.frames}
    for name in WAYS:
        one = scores[name]
        similarity = [np.round(rows, 5).tolist() for rows in one.similarity]
        times = dict(zip(("seconds", "processor_seconds"), spent[name].tolist(), strict=True))
        piece[name] = {**times, "truth": one.truth, "found": one.found, "similarity": similarity}
    return piece


def clocks() -> np.ndarray:
    """(2,) seconds on the wall, and of this process on all cores."""
    return np.array([time.perf_counter(), time.process_time()])


def scores_of(piece: dict[str, Any]) -> Scores:
    """The scores of one clip as they were kept."""
    scores = Scores()
    scores.truth, scores.found = piece["truth"], piece["found"]
    shapes = zip(piece["similarity"], scores.truth, scores.found, strict=True)
    scores.similarity = [np.array(rows, float).reshape(len(truth), len(found)) for rows, truth, found in shapes]
    return scores


def compare(
    clips: int, every: int, costs: Engine | None, options: MovingOptions, folder: Path | None = None
) -> dict[str, Any]:
    """Both ways over the same clips; `folder` keeps those that are done."""
    from sam3.files import write_json

    kept: dict[str, list[Scores]] = {name: [] for name in WAYS}
    spent = {name: np.zeros(2) for name in WAYS}
    for seed in range(clips):
        place = folder / f"pair-{seed}-{every}-{options.frames}-{'real' if costs else 'own'}.json" if folder else None
        if place is not None and place.is_file():
            piece = json.loads(place.read_text())
        else:
            piece = one_clip(seed, every, costs, options)
            if place is not None:
                write_json(place, piece)
        print(f"clip {seed + 1} of {clips}", *(f"{name} {piece[name]['seconds']:.0f} s" for name in WAYS), flush=True)
        for name in WAYS:
            kept[name].append(scores_of(piece[name]))
            spent[name] += piece[name]["seconds"], piece[name]["processor_seconds"]
    scored = {name: {k: round(v, 4) for k, v in evaluate(rows).items()} for name, rows in kept.items()}
    ratios = spent["carried"] / spent["reference"]
    return {
        **scored,
        "hota_kept": round(scored["carried"]["HOTA"] / max(scored["reference"]["HOTA"], 1e-9), 4),
        "time_ratio": round(float(ratios[0]), 4),
        "processor_ratio": round(float(ratios[1]), 4),
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
    parser.add_argument("--pieces", type=Path, help="folder that keeps the clips that are done")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    costs = None
    if asked.costs:
        from sam3.engines import load_engine

        costs = load_engine("auto", checkpoint=asked.costs)
    if asked.pieces:
        asked.pieces.mkdir(parents=True, exist_ok=True)
    result = compare(asked.clips, asked.every, costs, MovingOptions(frames=asked.frames), asked.pieces)
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
