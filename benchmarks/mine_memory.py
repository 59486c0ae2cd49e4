"""`sam3-agent mine` on 5,000 pictures: how fast, how much memory, and what 100,000 would take.

    python benchmarks/mine_memory.py [--pictures 5000 --with-model 60]

Two things are measured apart and said so: the model's own time, on a few pictures with the starter weights, and everything
else (reading, decoding, hashing, signals, rows, ranking, the batch) on all pictures with a stand-in for the model that
finds two ellipses. Pictures are generated, 480 x 360, all different. Memory is this process' resident set after each
shard and after the batch; `slope` is what it grows by, a thousand pictures, in the second half of the run.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import cv2
import numpy as np
import psutil
import typer

from sam3.eval.provenance import hardware_line
from sam3.files import write_json
from sam3.types import Detections, Prompt
from sam3_agent.mining import shard as shards
from sam3_agent.mining.mine import looked_at, mine_batch
from sam3_agent.mining.rank import candidates, choose
from sam3_agent.mining.settings import MineSettings

EACH = 250  # pictures of a shard


class Ellipses:
    """A stand-in that finds two ellipses, not quite the same ones in the mirror."""

    threshold = 0.3

    def encode(self, images: Sequence[np.ndarray[Any, Any]]) -> list[Any]:
        """The picture itself."""
        return list(images)

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        """Presence from the mean colour."""
        out = []
        for image in embeddings:
            height, width = image.shape[:2]
            masks = np.zeros((2, height, width), np.uint8)
            cv2.ellipse(masks[0], (width // 3, height // 2), (60, 40), 20, 0, 360, 1, -1)
            cv2.ellipse(masks[1], (2 * width // 3, height // 3), (30, 50), 0, 0, 360, 1, -1)
            boxes = np.array([[c.min(1), c.max(1) + 1] for c in (np.array(np.nonzero(m))[::-1] for m in masks)])
            scores = np.array([0.8, 0.4], np.float32)
            presence = float(image.mean() % 1)
            out.append(Detections(boxes.reshape(2, 4).astype(np.float32), scores, masks.astype(bool), presence))
        return out


def draw(folder: Path, count: int) -> None:
    """Different pictures, photograph-like enough to cost what photographs cost."""
    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 255, (18, 24, 3)).astype(np.uint8)
        image = cv2.resize(small, (480, 360), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


def figures(
    pictures: int,
    batch: int,
    whole: float,
    ranking: float,
    size: int,
    model: float | None,
    resident: list[float],
    after: float,
) -> dict[str, Any]:
    """What was measured, and what 100,000 pictures would take; seconds, bytes and megabytes in."""
    half = resident[len(resident) // 2 :]
    slope = (half[-1] - half[0]) / max(1, len(half) - 1) / EACH * 1000
    each = whole / pictures
    row = {
        "hardware": hardware_line(), "pictures": pictures, "batch": batch, "size": "480 x 360",
        "ms_a_picture_without_model": round(1000 * each, 2),
        "ms_a_picture_with_sam3_lite": None if model is None else round(1000 * model, 1),
        "seconds_of_ranking": round(ranking, 2),
        "bytes_of_rows_a_picture": round(size / pictures),
        "resident_mb": [round(one, 1) for one in resident], "resident_mb_after_the_batch": round(after, 1),
        "slope_mb_a_thousand": round(slope, 3),
        "projected_100_000": {
            "hours_without_model": round(100_000 * each / 3600, 2),
            "hours_with_sam3_lite_here": None if model is None else round(100_000 * model / 3600, 1),
            "ranking_seconds": round(ranking * 100_000 / pictures, 1),
            "rows_gb": round(size / pictures * 100_000 / 1e9, 2),
            "resident_mb": round(max(after, resident[-1]) + max(0.0, slope) * (100_000 - pictures) / 1000),
        },
    }  # fmt: skip
    return row


def main(
    pictures: Annotated[int, typer.Option(help="Pictures of the inbox.")] = 5000,
    with_model: Annotated[int, typer.Option(help="Of them, with the starter weights.")] = 60,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("benchmarks/results/mine_memory.json"),
) -> None:
    """Measure mining."""
    resident: list[float] = []
    real = shards.run_shard

    def watched(*args: Any) -> Any:
        done = real(*args)
        gc.collect()
        resident.append(psutil.Process().memory_info().rss / 1e6)
        return done

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inbox").mkdir()
        draw(folder / "inbox", pictures)
        about: dict[str, Any] = {"inbox": str(folder / "inbox"), "concept": "chicken", "pictures_each": EACH}
        settings = MineSettings(**about, out=folder / "out", work=folder / "work", looks=0, budget=100)
        with (
            mock.patch.object(shards, "run_shard", watched),
            mock.patch("sam3.engines.load_engine", lambda *_, **__: Ellipses()),
        ):
            start = time.perf_counter()
            batch = mine_batch(settings)
            whole = time.perf_counter() - start
        gc.collect()
        after = psutil.Process().memory_info().rss / 1e6
        [work] = (folder / "work").iterdir()
        start = time.perf_counter()
        held = candidates(looked_at(work, settings), settings)
        choose(held.rows, [], settings, held.seen_in / held.looked_at)
        ranking = time.perf_counter() - start
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        model = None
        if with_model:
            start = time.perf_counter()
            few = MineSettings(**{**about, "pictures_each": with_model}, out=folder / "m", work=folder / "mw",
                               looks=with_model, budget=5, fill=True)  # fmt: skip
            mine_batch(few)
            model = (time.perf_counter() - start) / with_model
    row = figures(pictures, batch.pictures, whole, ranking, size, model, resident, after)
    write_json(out, row)
    print({key: value for key, value in row.items() if key != "resident_mb"})
    print("resident MB along the way:", row["resident_mb"][:: max(1, len(resident) // 10)])


if __name__ == "__main__":
    typer.run(main)
