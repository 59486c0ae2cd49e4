"""How long the metric takes on a data set of realistic size.

    python benchmarks/cgf1_scale.py --pairs 10000

Draws ellipses as instances, shifted ellipses as detections and false alarms, writes both files, and times each
step on its own. Prints seconds and pairs a second.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sam3.eval.bootstrap import intervals
from sam3.eval.cgf1 import overlaps, score_overlaps
from sam3.eval.predictions import read_predictions
from sam3.eval.provenance import hardware_line
from sam3.eval.saco import read_ground_truth
from sam3.eval.sweep import sweep
from sam3.files import write_json

HEIGHT, WIDTH = 360, 480
SHAPES = 300  # distinct masks; drawing more would time the drawing


def write_world(folder: Path, pairs: int, seed: int) -> tuple[Path, Path]:
    """Write gt.json and pred.json with `pairs` pairs, half of them negatives, 1 to 5 instances on the others."""
    rng = np.random.default_rng(seed)
    shapes = [_shape(rng) for _ in range(SHAPES)]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for pair in range(pairs):
        row = {"id": pair, "file_name": f"{pair // 2}.jpg", "text_input": "ellipse", "height": HEIGHT, "width": WIDTH}
        images.append(row | {"is_instance_exhaustive": 1})
        chosen = rng.integers(SHAPES, size=rng.integers(1, 6)) if pair % 2 else []
        for shape in chosen:
            common = {"image_id": pair, "category_id": 1}
            annotations.append({"id": len(annotations) + 1, "iscrowd": 0, **common, **shapes[shape][0]})
            predictions.append({"score": float(rng.random()), **common, **shapes[shape][1]})
        if rng.random() < 0.2:
            alarm = shapes[rng.integers(SHAPES)][1]
            predictions.append({"score": float(rng.random()), "image_id": pair, "category_id": 1, **alarm})
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ellipse"}]}
    write_json(folder / "gt.json", truth, indent=None)
    write_json(folder / "pred.json", predictions, indent=None)
    return folder / "gt.json", folder / "pred.json"


def _shape(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """An ellipse, and the same a little elsewhere."""
    import cv2
    from pycocotools import mask as coco_mask

    x, y = int(rng.integers(80, WIDTH - 80)), int(rng.integers(80, HEIGHT - 80))
    axes, angle = (int(rng.integers(10, 70)), int(rng.integers(10, 70))), float(rng.uniform(0, 180))
    made = []
    for dx, dy in ((0, 0), rng.integers(-6, 7, size=2)):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(mask, (x + int(dx), y + int(dy)), axes, angle, 0, 360, 1, -1)
        rle = coco_mask.encode(np.asfortranarray(mask))
        left, top, w, h = coco_mask.toBbox(rle).tolist()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode("ascii")}
        bbox = [left / WIDTH, top / HEIGHT, w / WIDTH, h / HEIGHT]
        made.append({"bbox": bbox, "segmentation": segmentation})
    return made[0], made[1]


@contextmanager
def timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long a block took."""
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


def main(
    pairs: Annotated[int, typer.Option(min=2, help="How many pairs.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time reading, scoring, sweep and bootstrap."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        truth_path, predictions_path = write_world(Path(folder), pairs, seed)
        with timed("read", seconds):
            truth = read_ground_truth(truth_path)
            predictions = read_predictions(predictions_path, truth.pairs)
    with timed("overlap", seconds):
        by_pair = overlaps([truth], predictions, "segm", min_score=0.05)
    with timed("match and score", seconds):
        score = score_overlaps(by_pair, "segm")
        _ = score.figures
    with timed("sweep, 19 thresholds", seconds):
        sweep(by_pair)
    with timed("bootstrap, 1000 resamples", seconds):
        intervals(score, resamples=1000)
    result = {"pairs": pairs, "cgF1": score.cgf1, "hardware": hardware_line(), "seconds": seconds}
    if as_json:
        print(json.dumps(result))
        return
    for step, took in seconds.items():
        print(f"{step:28}{took:8.2f} s")
    core = sum(seconds[step] for step in ("read", "overlap", "match and score"))
    print(f"{'the metric, files to figures':28}{core:8.2f} s  ({pairs / core:,.0f} pairs a second)")
    print(f"cgF1 {score.cgf1:.4f}; {result['hardware']}")


if __name__ == "__main__":
    typer.run(main)
