"""How many label files a minute the etl reads on one core, and whether its memory stays flat.

Writes N and 2N label files of each kind with their pictures into a temporary folder and runs the etl stage
over them in a process of its own. Picture headers are read; decoding the pixels (`--verify-pixels`) is left
out: it costs what the decoder costs, not what the labels do. Files a minute are of CPU time, one core.
Run: `python benchmarks/etl_rate.py --files 20000`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

KINDS = ("yolo-box", "yolo-polygon", "labelme")
WIDTH, HEIGHT, SHAPES = 480, 360, 4  # what the barnyard has


def label_text(kind: str, random_: random.Random) -> str:
    """A label file with four shapes: boxes, 12-point polygons, or one of each LabelMe outline."""
    centres = [(random_.uniform(0.2, 0.8), random_.uniform(0.2, 0.8)) for _ in range(SHAPES)]
    if kind == "yolo-box":
        return "".join(f"{i % 2} {x:.6f} {y:.6f} 0.2 0.3\n" for i, (x, y) in enumerate(centres))
    rings = [
        [(x + random_.uniform(0.05, 0.15) * dx, y + random_.uniform(0.05, 0.15) * dy) for dx, dy in _directions()]
        for x, y in centres
    ]
    if kind == "yolo-polygon":
        return "".join(
            f"{i % 2} " + " ".join(f"{v:.6f}" for point in ring for v in point) + "\n" for i, ring in enumerate(rings)
        )
    shapes = []
    for kind_, ring in zip(("polygon", "polygon", "rectangle", "circle"), rings, strict=True):
        points = [[x * WIDTH, y * HEIGHT] for x, y in (ring if kind_ == "polygon" else ring[:2])]
        shapes.append({"label": "hen", "points": points, "group_id": None, "shape_type": kind_, "flags": {}})
    sheet = {"version": "5.4", "flags": {}, "shapes": shapes, "imagePath": "x.jpg", "imageData": None}
    return json.dumps(sheet | {"imageHeight": HEIGHT, "imageWidth": WIDTH}, indent=2)


def _directions() -> list[tuple[float, float]]:
    from math import cos, pi, sin

    return [(cos(i * pi / 6), sin(i * pi / 6)) for i in range(12)]


def make_folder(raw: Path, kind: str, count: int) -> None:
    """`count` pictures of one kind of label, one in five without any shape."""
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "green").save(stream, "JPEG", quality=30)
    picture, random_ = stream.getvalue(), random.Random(7)
    (raw / "images/hen").mkdir(parents=True)
    (raw / "labels").mkdir()
    (raw / "labels/classes.txt").write_text("hen\nduck\n")
    suffix = ".json" if kind == "labelme" else ".txt"
    for index in range(count):
        (raw / f"images/hen/farm{index % 50:02d}_{index:07d}.jpg").write_bytes(picture)
        text = label_text(kind, random_) if index % 5 else ""
        (raw / f"labels/farm{index % 50:02d}_{index:07d}{suffix}").write_text(text)


def measure_here(raw: Path) -> None:
    """Run the stage in this process; print seconds and peak memory in MB."""
    from sam3_agent.etl.catalogue import Catalogue
    from sam3_agent.etl.convert import class_names, run_etl
    from sam3_agent.etl.naming import Vocabulary
    from sam3_agent.etl.pairing import Pairing

    start = time.process_time()
    catalogue = Catalogue(raw)
    pairing = Pairing(raw, Vocabulary.of("hen"), class_names(raw, catalogue), 16.0, re.compile(r"^(farm\d+)"), False)
    tally = run_etl(catalogue, pairing, raw / "pairs.json", raw / "reports")
    assert tally.kinds["positive"], "the benchmark's labels were not read"
    print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(kind: str, count: int) -> tuple[float, float]:
    """(CPU seconds, peak MB) of the stage over `count` label files of one kind."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        make_folder(raw, kind, count)
        command = [sys.executable, __file__, "--measure", str(raw)]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def main() -> None:
    """Print one row a kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_here(options.measure)
        return
    print(f"{'labels':<14}{'files':>8}{'files/minute':>14}{'peak MB, N':>12}{'peak MB, 2N':>13}")
    for kind in KINDS:
        _, small = measure(kind, options.files)
        seconds, large = measure(kind, 2 * options.files)
        rate = 2 * options.files / seconds * 60
        print(f"{kind:<14}{2 * options.files:>8,}{rate:>14,.0f}{small:>12.0f}{large:>13.0f}")


if __name__ == "__main__":
    main()
