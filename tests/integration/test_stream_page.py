"""The stream's page on a real server: a browser's requests, a WebSocket, and a viewer that never reads."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import numpy as np
import pytest
from video_stage import Stage
from websockets.sync.client import connect

from sam3.scenes.truth import TruthEngine
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.live.verb import served
from sam3_agent.video.sources import Source

STAGE = Stage({"hen": lambda t: (20, 60), "duck": lambda t: (5 + abs(t % 80 - 40) * 2, 10)})
INTERVAL = 0.04


@pytest.fixture
def page() -> Iterator[tuple[Stream, str]]:
    engine = TruthEngine()

    def opened(damaged: Callable[[], None]) -> Iterator[np.ndarray]:
        number = 0
        while True:
            picture, masks = STAGE.frame(number)
            engine.show(picture, masks, {1: ("hen",), 2: ("duck",)})
            time.sleep(INTERVAL)
            yield picture
            number += 1

    tracker = CarryTracker(engine, ["duck", "hen"], Cadence(seconds=0.4), rate=25)
    capture = Capture(Source("rtsp", "rtsp://x", "x"), opened=opened)
    with Stream(capture, tracker, ["duck", "hen"]) as stream, served(stream, "127.0.0.1", 0) as address:
        loop = threading.Thread(target=stream.run)
        loop.start()
        yield stream, address
        stream.stop.set()
        loop.join(timeout=5)


def test_picture_results_and_numbers_over_the_wire(page: tuple[Stream, str]) -> None:
    _, address = page
    with connect(address.replace("http", "ws") + "/ws") as viewer:
        rows = [json.loads(viewer.recv(timeout=5)) for _ in range(25)]
    assert rows[-1]["counts"] == {"duck": 1, "hen": 1}
    frames = [row["frame"] for row in rows]
    assert frames == sorted(set(frames))
    with httpx.stream("GET", f"{address}/stream.mjpg", timeout=5) as picture:
        assert "multipart/x-mixed-replace" in picture.headers["content-type"]
        first = next(picture.iter_bytes(4096))
    assert first.startswith(b"--frame") and b"\xff\xd8\xff" in first
    assert httpx.get(f"{address}/healthz").json()["state"] == "connected"
    assert "sam3_stream_fps" in httpx.get(f"{address}/metrics").text


def test_viewers_that_never_read_hold_nobody_up(page: tuple[Stream, str]) -> None:
    stream, address = page
    port = int(address.rsplit(":", 1)[1])
    asleep = []
    for _ in range(5):
        viewer = socket.create_connection(("127.0.0.1", port))
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        asleep.append(viewer)
    before, shown = stream.capture.counts.dropped, stream.metrics.shown._value.get()
    with connect(address.replace("http", "ws") + "/ws") as viewer:
        ages = [json.loads(viewer.recv(timeout=5))["age"] for _ in range(50)]
    assert max(ages) < 2 * INTERVAL + 0.1
    assert stream.metrics.shown._value.get() - shown >= 45
    assert stream.capture.counts.dropped - before < 25
    for one in asleep:
        with suppress(OSError):
            one.close()
