"""A webcam by its number: OpenCV's capture with a file behind it, so that everything but the device is real."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_service import FARM, NAMES, write_farm

from sam3.errors import Unavailable
from sam3.scenes.truth import TruthEngine
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.reading import webcam
from sam3_agent.video.sources import source_of


class Device:
    """What `cv2.VideoCapture(2)` is: reads like a camera, at a pace, until it is unplugged."""

    opened: list[Device] = []  # noqa: RUF012

    def __init__(self, index: object, open_file: Callable[[str], Any], path: Path) -> None:
        assert index == 2
        self.inner, self.released = open_file(str(path)), False
        Device.opened.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self.inner.isOpened())

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.02)
        return self.inner.read()  # type: ignore[no-any-return]

    def release(self) -> None:
        self.released = True
        self.inner.release()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path, real = write_farm(tmp_path), cv2.VideoCapture
    Device.opened = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: Device(index, real, path))
    return path


def knowing(path: Path) -> TruthEngine:
    """An engine that knows the frames as OpenCV decodes them."""
    engine, frames = TruthEngine(), cv2.VideoCapture(2)
    for number in range(60):
        there, pixels = frames.read()
        assert there
        engine.show(np.ascontiguousarray(pixels[..., ::-1]), FARM.frame(number)[1], NAMES)
    Device.opened.clear()
    return engine


def test_a_camera_gives_frames_until_it_is_unplugged(device: Path) -> None:
    frames = []
    with pytest.raises(Unavailable, match="plugged in"):
        for frame in webcam(source_of("2")):
            frames.append(frame)
    assert len(frames) == 60 and frames[0].pixels.shape == (96, 128, 3)
    assert all(a.time <= b.time and a.number < b.number for a, b in itertools.pairwise(frames))
    assert Device.opened[0].released


def test_a_camera_that_comes_back_is_taken_up_again(device: Path) -> None:
    with Capture(source_of("2"), first_wait=0.05) as capture:
        until = time.monotonic() + 10
        while capture.counts.connected < 2 and time.monotonic() < until:
            capture.newest(timeout=0.5)
    assert capture.counts.connected >= 2 and all(one.released for one in Device.opened[:-1])


def test_a_camera_is_tracked_by_its_number(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam3_agent.video.track import track

    engine = knowing(device)
    monkeypatch.setattr("sam3.engines.load_engine", lambda *_, **__: engine)
    options = {"budget_ms": None, "fps": 10.0, "method": "carry", "checkpoint": "x", "engine": "auto", "threshold": 0.5}
    out = tmp_path / "out"
    track("2", ["duck"], out=out, every="100ms", formats="mot", start=0.0, end=1.3, fresh=False, **options)
    head, *rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert head["video"] == "webcam 2" and (head["width"], head["height"]) == (128, 96)
    assert len(rows) >= 10 and [row["frame"] for row in rows] == list(range(len(rows)))
    assert any(row["tracks"] for row in rows) and (out / "mot.txt").stat().st_size
