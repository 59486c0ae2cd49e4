"""A real RTSP server on loopback: the camera goes and comes back, changes its size, sends damaged packets; viewers are slow."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.types import Detections, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.sources import source_of

RATE = 15
SYSTEM_PYTHON = "/usr/bin/python3"
# prints for how long, in seconds, a thread that only wants to wake up was kept from it on any core, once nobody writes
HOLD_UPS = """
import os, sys, threading, time
late = {core: 0.0 for core in os.sched_getaffinity(0)}
def wake(core):
    os.sched_setaffinity(0, {core})
    while True:
        begun = time.monotonic()
        time.sleep(0.002)
        late[core] = max(late[core], time.monotonic() - begun - 0.002)
for core in late:
    threading.Thread(target=wake, args=(core,), daemon=True).start()
sys.stdin.read()
print(max(late.values()))
"""


def bindings() -> bool:
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    with contextlib.suppress(OSError):
        return subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True, check=False).returncode == 0
    return False


pytestmark = pytest.mark.skipif(not bindings(), reason="needs GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)")


class OrangeEngine:
    """Finds orange things by their colour."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        time.sleep(self.seconds)
        return list(images)

    def ground(self, embeddings: Sequence[np.ndarray], prompts: Sequence[Prompt]) -> list[Detections]:
        out = []
        for image in embeddings:
            red, _, blue = (image[..., c].astype(int) for c in range(3))
            mask = red - blue > 90
            mask[:34] = False
            ys, xs = np.nonzero(mask)
            if len(ys) < 100:
                out.append(Detections.empty(*image.shape[:2]))
                continue
            box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
            out.append(Detections(box, np.array([0.9], np.float32), mask[None], 0.95))
        return out


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Camera:
    """The server as a process that can be killed and started again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    def start(self, width: int = 320, height: int = 240) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        command = [SYSTEM_PYTHON, str(script), *map(str, (self.port, width, height, RATE))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def say(self, words: str) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def camera() -> Iterator[Camera]:
    one = Camera(free_port())
    one.start()
    yield one
    one.kill()


class Seen:
    """Everything that a stream showed: number, delay since the camera drew it, age, inference, result."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.held_up = 0.0

    def __call__(self, frame: Frame, result: FrameResult) -> None:
        now = time.monotonic()
        self.rows.append({
            "delay": now - drawn_at(frame.pixels), "age": now - frame.taken, "shape": frame.pixels.shape[:2],
            "inference": sum(result.milliseconds.values()) / 1000, "ids": result.seen.track_ids.tolist(), "number": frame.number,
            "taken": frame.taken,
        })  # fmt: skip

    def column(self, name: str) -> np.ndarray:
        return np.array([row[name] for row in self.rows])


def drawn_at(pixels: np.ndarray) -> float:
    """The clock in the picture's top rows, seconds."""
    block = pixels.shape[1] // 32
    bits = [int(pixels[10:22, at * block + 2 : (at + 1) * block - 2].mean() > 128) for at in range(32)]
    return int("".join(map(str, bits)), 2) / 1000


@contextlib.contextmanager
def streaming(port: int, engine: Any = None, every: float = 0.5) -> Iterator[tuple[Stream, Seen]]:
    source, seen = source_of(f"rtsp://127.0.0.1:{port}/barn", hosts={"127.0.0.1"}), Seen()
    tracker = CarryTracker(engine or OrangeEngine(), ["square"], Cadence(seconds=every), rate=RATE)
    watch = [sys.executable, "-c", HOLD_UPS]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        with Stream(Capture(source, first_wait=0.2), tracker, ["square"], shown=seen) as stream:
            yield stream, seen
        seen.held_up = float(machine.communicate()[0])


def assert_never_old(seen: Seen) -> None:
    """No frame is older than two frame intervals and the inference when it is shown, but for what the machine took."""
    late = seen.column("age") - seen.column("inference") - 2 / RATE
    at = int(late.argmax())
    assert late[at] <= 0.005 + seen.held_up, (
        f"frame {at} of {len(late)} was {late[at]:.3f} s too old, the machine slept {seen.held_up:.3f} s: {np.sort(late)[-5:]}"
    )


def test_the_shown_frame_is_never_old_and_the_delay_does_not_grow(camera: Camera) -> None:
    with streaming(camera.port) as (stream, seen):
        stream.run(seconds=30, frames=6 * RATE)
    assert len(seen.rows) == 6 * RATE
    assert np.median(np.diff(seen.column("taken"))) < 1.5 / RATE, "as fast as the camera"
    assert_never_old(seen)
    delay = seen.column("delay")[RATE:]
    assert np.median(delay[-RATE:]) < np.median(delay[:RATE]) + 0.05 and np.percentile(delay, 95) < 0.5
    assert {tuple(row["ids"]) for row in seen.rows[5:]} == {(1,)}


def test_a_slow_tracker_drops_frames_and_stays_at_the_present(camera: Camera) -> None:
    with streaming(camera.port, OrangeEngine(0.3), every=0.0) as (stream, seen):
        stream.run(seconds=8)
        assert stream.capture.counts.dropped > 2 * RATE
    assert_never_old(seen)
    assert seen.column("inference").mean() > 0.29
    delay = seen.column("delay")[4:]
    assert delay[-4:].mean() < delay[:4].mean() + 0.1, "no growing delay"


@pytest.mark.slow
def test_a_camera_that_drops_out_comes_back(camera: Camera) -> None:
    with streaming(camera.port) as (stream, seen):
        stream.run(frames=RATE)
        before = len(seen.rows)
        camera.kill()
        stream.run(seconds=1.5)
        silent = len(seen.rows)
        assert stream.capture.state != "connected" and stream.health()["trouble"]
        camera.start()
        stream.run(seconds=12, frames=RATE)
        assert stream.capture.counts.connected == 2 and stream.capture.counts.failed >= 1
    assert silent - before < RATE and len(seen.rows) >= silent + RATE - 1
    numbers = seen.column("number")
    assert (np.diff(numbers) > 0).all(), "numbers go on"
    assert_never_old(seen)


def test_another_size_in_mid_stream_is_followed_on(camera: Camera) -> None:
    with streaming(camera.port) as (stream, seen):
        stream.run(frames=2 * RATE)
        camera.say("size 480 360")
        stream.run(seconds=10, frames=4 * RATE)
        assert stream.capture.counts.connected <= 2
    shapes = [row["shape"] for row in seen.rows]
    assert shapes[0] == (240, 320) and shapes[-1] == (360, 480)
    assert seen.rows[-1]["ids"], "still followed"


class Proxy:
    """Stands between camera and viewer, and damages one in `share` of the video packets."""

    def __init__(self, target: int, share: float) -> None:
        self.target, self.share, self.damaged = target, share, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                viewer, _ = self.listener.accept()
                camera = socket.create_connection(("127.0.0.1", self.target))
                for job, ends in ((self._plain, (viewer, camera)), (self._damaging, (camera, viewer))):
                    threading.Thread(target=job, args=ends, daemon=True).start()

    def _plain(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def _damaging(self, source: socket.socket, sink: socket.socket) -> None:
        rng, buffer = np.random.default_rng(0), b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                buffer += data
                out = bytearray()
                while buffer:
                    if buffer[0] != 0x24:  # an answer in words
                        end = buffer.find(b"$")
                        cut = len(buffer) if end < 0 else end
                        out += buffer[:cut]
                        buffer = buffer[cut:]
                        continue
                    if len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[2:4], "big"):
                        break
                    length = 4 + int.from_bytes(buffer[2:4], "big")
                    packet, buffer = bytearray(buffer[:length]), buffer[length:]
                    if packet[1] == 0 and length > 40 and rng.random() < self.share:
                        at = int(rng.integers(20, length - 8))
                        packet[at : at + 8] = rng.integers(0, 256, 8, np.uint8).tobytes()
                        self.damaged += 1
                    out += packet
                sink.sendall(out)

    def close(self) -> None:
        self.listener.close()


def test_damaged_packets_cost_frames_and_not_the_stream(camera: Camera) -> None:
    proxy = Proxy(camera.port, share=0.1)
    try:
        with streaming(proxy.port) as (stream, seen):
            stream.run(seconds=8)
            assert proxy.damaged > 5
            assert stream.capture.running
        assert len(seen.rows) > 3 * RATE
        assert np.mean([bool(row["ids"]) for row in seen.rows]) > 0.7
    finally:
        proxy.close()


def test_a_camera_that_is_not_there_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    source = source_of(f"rtsp://127.0.0.1:{free_port()}/barn", hosts={"127.0.0.1"})
    with Capture(source, first_wait=0.1) as capture:
        assert capture.newest(timeout=1.0) is None
        assert capture.trouble is not None and "does not answer" in str(capture.trouble)
