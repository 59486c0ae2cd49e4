"""Ten thousand frames of a real RTSP camera: does memory stay flat, and is the frame shown ever old?

    python benchmarks/stream_memory.py [--frames 10000] [--rate 60] [--out benchmarks/results/stream_memory.json]

The camera is GStreamer's RTSP server on loopback (`tests/integration/rtsp_server.py`), small and fast so that ten thousand frames
take three minutes: H.264, decoding thread, tracker, events, JSON, and the JPEG of one viewer now and then. The detector is a stand-in
that finds orange things by their colour; what is measured is everything but the model. An orange square walks to and fro and goes
out of sight when the detector is told to be blind for a while, so that tracks end and begin. Memory is this process's own.
"""

from __future__ import annotations

import argparse
import gc
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sam3.types import Detections, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.sources import source_of

SYSTEM_PYTHON = "/usr/bin/python3"  # the one with GStreamer's bindings
SERVER = Path(__file__).resolve().parents[1] / "tests/integration/rtsp_server.py"
POINTS = 20  # looks at the memory
BLIND = (300, 90)  # of so many looks the last so many find nothing
SETTLED = 0.2  # share of the frames after which memory should not grow any more


class Orange:
    """Finds orange things by their colour, and is blind at times."""

    def __init__(self) -> None:
        self.looks = 0

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The pictures themselves."""
        self.looks += len(images)
        return list(images)

    def ground(self, embeddings: Sequence[np.ndarray], prompts: Sequence[Prompt]) -> list[Detections]:
        """One thing at most."""
        return [self._found(image) for image in embeddings]

    def _found(self, image: np.ndarray) -> Detections:
        mask = image[..., 0].astype(np.int16) - image[..., 2] > 90
        mask[:34] = False
        ys, xs = np.nonzero(mask)
        if len(ys) < 100 or self.looks % BLIND[0] >= BLIND[0] - BLIND[1]:
            return Detections.empty(*image.shape[:2])
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        return Detections(box, np.array([0.9], np.float32), mask[None], 0.95)


@contextmanager
def camera(width: int, height: int, rate: int) -> Iterator[str]:
    """Its address; ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [SYSTEM_PYTHON, str(SERVER), *map(str, (port, width, height, rate))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("the camera does not start: install gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins")
        yield f"rtsp://127.0.0.1:{port}/barn"
    finally:
        process.kill()
        process.wait()


def measure(frames: int, rate: int, width: int, height: int) -> dict[str, Any]:
    """Memory along the way, ages, and what came and went."""
    process, held = psutil.Process(), []
    ages: list[float] = []
    tracker = CarryTracker(Orange(), ["square"], Cadence(every=3), rate=rate)

    def shown(frame: Frame, result: FrameResult) -> None:
        inference = sum(result.milliseconds.values()) / 1000
        ages.append((stream.metrics.last_age._value.get() - inference) * rate)
        if len(ages) % rate == 0:
            stream.board.jpeg(stream.board._post)  # type: ignore[arg-type]
        if len(ages) % max(1, frames // POINTS) == 0:
            gc.collect()
            held.append(round(process.memory_info().rss / 1e6, 1))
            print(f"{len(ages):6d} frames: {held[-1]:.1f} MB", flush=True)

    with camera(width, height, rate) as address:
        source = source_of(address, hosts={"127.0.0.1"})
        with Stream(Capture(source), tracker, ["square"], shown=shown) as stream:
            stream.run(frames=frames)
            counts = vars(stream.capture.counts)
    settled = held[int(SETTLED * len(held))]
    steady = np.array(ages[int(SETTLED * len(ages)) :])
    return {
        "frames_shown": len(ages),
        **{f"frames_{name}": counts[name] for name in ("decoded", "dropped", "damaged")},
        "connections": counts["connected"],
        "resident_mb": held,
        "growth_mb": round(held[-1] - settled, 1),
        "age_in_frame_intervals": {
            p: round(float(np.percentile(steady, int(p[1:]))), 2) for p in ("p50", "p99", "p100")
        },
        "highest_track_number": max((event["id"] for event in stream.events.recent if "id" in event), default=0),
        "camera_rate": rate,
        "size": f"{width}x{height}",
    }


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=60)
    parser.add_argument("--size", default="160x128")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    width, height = (int(part) for part in asked.size.split("x"))
    result = measure(asked.frames, asked.rate, width, height)
    for name, value in result.items():
        print(f"{name}: {value}")
    if asked.out:
        from sam3.eval.provenance import hardware_line, versions
        from sam3.files import write_json

        command = f"python benchmarks/stream_memory.py --frames {asked.frames} --rate {asked.rate} --size {asked.size}"
        write_json(asked.out, {**result, "hardware": hardware_line(), "versions": versions(), "command": command})


if __name__ == "__main__":
    main()
