"""Streams: the newest frame wins, cameras come back, events are said once, slow viewers hold nobody up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from video_stage import Stage

from sam3.errors import Unavailable
from sam3.scenes.truth import TruthEngine
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.live.board import Board
from sam3_agent.video.live.capture import Capture
from sam3_agent.video.live.events import EventFile, Events
from sam3_agent.video.live.stream import Stream
from sam3_agent.video.sources import Source

CAMERA = Source("rtsp", "rtsp://cam/x", "cam")
PICTURE = np.zeros((48, 64, 3), np.uint8)


def paced(frames: int, interval: float = 0.01, end: Exception | None = None) -> Callable[..., Iterator[np.ndarray]]:
    def opened(damaged: Callable[[], None]) -> Iterator[np.ndarray]:
        for _ in range(frames):
            time.sleep(interval)
            yield PICTURE
        if end is not None:
            raise end

    return opened


def result(time: float, **things: int) -> FrameResult:
    n = len(things)
    seen = TrackedDetections(
        np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.zeros((n, 4, 4), bool), 1.0,
        [name.rstrip("0123456789") for name in things], track_ids=np.array(list(things.values()), int),
    )  # fmt: skip
    return FrameResult(round(time * 10), time, seen, True)


def test_a_slow_consumer_gets_the_newest_frame_and_drops_are_counted() -> None:
    with Capture(CAMERA, opened=paced(400, 0.005)) as capture:
        last = -1
        for _ in range(6):
            decoded = capture.counts.decoded
            frame = capture.newest(last)
            assert frame is not None
            assert frame.number >= decoded - 1, "never an old frame, however long the last one took"
            last = frame.number
            while capture.counts.decoded < decoded + 20:  # the slow consumer
                time.sleep(0.005)
        assert capture.counts.dropped > 50
        assert capture.counts.decoded == pytest.approx(capture.counts.dropped + 6, abs=2 + 20)


def test_a_camera_that_goes_away_is_tried_again_and_numbers_go_on() -> None:
    tries: list[float] = []

    def opened(damaged: Callable[[], None]) -> Iterator[np.ndarray]:
        tries.append(time.monotonic())
        if len(tries) in (2, 3):
            raise Unavailable("cam: does not answer. Is the camera on?")
        yield from paced(5, 0.01)(damaged)
        raise Unavailable("cam: broke off.")

    with Capture(CAMERA, opened=opened, first_wait=0.05) as capture:
        numbers, last, deadline = [], -1, time.monotonic() + 5
        while len(tries) < 5 and time.monotonic() < deadline:
            frame = capture.newest(last, timeout=0.1)
            if frame is not None:
                last = frame.number
                numbers.append((frame.number, frame.time))
    assert len(tries) >= 5
    gaps = np.diff(tries)
    assert gaps[2] > 1.3 * 0.05 * 0.8, "each new try waits longer"
    assert numbers == sorted(numbers) and capture.counts.connected >= 2 and capture.counts.failed >= 4


def test_a_file_in_a_cameras_place_ends() -> None:
    source = Source("file", "x", "x")
    with Capture(source, opened=paced(5)) as capture:
        seen, last = 0, -1
        while (frame := capture.newest(last, timeout=2)) is not None:
            seen, last = seen + 1, frame.number
        assert not capture.running and last == 4


def test_events_are_said_once_and_flicker_is_none() -> None:
    events = Events(appeared=0.3, left=1.0)
    happened = []
    for t in range(50):
        now = t / 10
        things = {"duck1": 1} if 5 <= t < 20 and t != 12 else {}
        if t == 8:
            things["hen1"] = 2  # for one frame only
        happened += events.watch(result(now, **things))
    told = [(e["event"], e["label"], e.get("count")) for e in happened]
    assert told == [
        ("appeared", "duck", None),
        ("count changed", "duck", 1),
        ("left", "duck", None),
        ("count changed", "duck", 0),
    ]
    assert [e["time"] for e in happened if e["event"] in ("appeared", "left")] == [0.5, 1.9]


def test_events_are_written_and_the_file_stays_bounded(tmp_path: Path) -> None:
    log = EventFile(tmp_path / "events.jsonl", largest=2000)
    for number in range(200):
        log.add([{"event": "appeared", "id": number}])
    log.close()
    assert (tmp_path / "events.jsonl").stat().st_size < 2100
    kept = [json.loads(line) for name in ("events.jsonl.old", "events.jsonl") for line in (tmp_path / name).open()]
    assert kept[-1]["id"] == 199


def test_a_viewer_that_sleeps_misses_posts_and_gets_the_newest() -> None:
    async def watch() -> list[int]:
        board = Board()
        board.attach(asyncio.get_running_loop())
        seen, last = [], -1
        for _ in range(3):
            for _ in range(10):
                board.put(Frame(0, 0, PICTURE), result(0), {})
            await asyncio.sleep(0)
            post = await board.newer(last, timeout=1)
            assert post is not None
            last = post.number
            seen.append(last)
        board.close()
        assert await board.newer(last) is None
        return seen

    assert asyncio.run(watch()) == [9, 19, 29]


@pytest.fixture
def live(crossing: Stage, tmp_path: Path) -> Iterator[Stream]:
    engine = TruthEngine()

    def opened(damaged: Callable[[], None]) -> Iterator[np.ndarray]:
        for number in range(500):
            picture, masks = crossing.frame(abs(number % 80 - 40))
            engine.show(picture, masks, {1: ("hen",), 2: ("duck",)})
            time.sleep(0.02)
            yield picture

    tracker = CarryTracker(engine, ["duck", "hen"], Cadence(seconds=0.2), rate=50)
    log = EventFile(tmp_path / "events.jsonl")
    with Stream(Capture(CAMERA, opened=opened), tracker, ["duck", "hen"], log=log) as stream:
        yield stream


def test_the_page_the_picture_the_results_and_the_numbers(live: Stream) -> None:
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    from sam3_agent.video.live.page import build

    loop = threading.Thread(target=live.run)
    loop.start()
    try:
        with TestClient(build(live)) as client:
            with client.websocket_connect("/ws?masks=1") as socket:
                rows = [socket.receive_json() for _ in range(30)]
            assert rows[-1]["counts"] == {"duck": 1, "hen": 1} and rows[-1]["age"] < 0.5
            assert {t["label"] for t in rows[-1]["tracks"]} == {"duck", "hen"} and "rle" in rows[-1]["tracks"][0]
            assert {e["event"] for row in rows for e in row["events"]} == {"appeared", "count changed"}
            told = [json.dumps(e) for row in rows for e in row["events"]]
            assert len(told) == len(set(told)), "each once"
            assert "stream.mjpg" in client.get("/").text
            assert client.get("/healthz").json()["state"] == "connected"
            assert client.get("/events").json()[0]["event"] == "appeared"
            numbers = client.get("/metrics").text
            for name in ("fps", "last_frame_age_seconds", "dropped_total", "up 1.0"):
                assert f"sam3_stream_{name}" in numbers
            assert 'sam3_stream_things{phrase="duck"} 1.0' in numbers
            with (
                pytest.raises(WebSocketDisconnect) as refused,
                client.websocket_connect("/ws", headers={"origin": "http://elsewhere"}),
            ):
                pass
            assert refused.value.code == 1008
    finally:
        live.stop.set()
        loop.join(timeout=5)


def test_with_a_key_nobody_watches_without_it(live: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    from sam3_agent.video.live.page import build

    monkeypatch.setenv("SAM3_STREAM_KEY", "barn-7")
    with TestClient(build(live)) as client:
        assert [client.get(path).status_code for path in ("/", "/metrics", "/events?key=barn-8")] == [401] * 3
        assert client.get("/?key=barn-7").status_code == 200
        assert client.get("/metrics", headers={"authorization": "Bearer barn-7"}).status_code == 200
        assert client.get("/healthz").status_code in (200, 503)
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
            pass


def test_there_are_only_so_many_seats_and_who_leaves_frees_one(live: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    from sam3_agent.video.live.page import build

    monkeypatch.setattr("sam3_agent.video.live.page.MOST_VIEWERS", 1)
    with TestClient(build(live)) as client:  # the stream does not run: nothing is sent to anybody
        with client.websocket_connect("/ws"):
            with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/ws"):
                pass
            assert refused.value.code == 1013
            busy = client.get("/stream.mjpg")
            assert busy.status_code == 503 and busy.headers["retry-after"]
        with client.websocket_connect("/ws"):
            pass


def test_others_may_not_watch_without_a_key_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from sam3.errors import BadConfig
    from sam3_agent.video.live.verb import stream

    monkeypatch.delenv("SAM3_STREAM_KEY", raising=False)
    with pytest.raises(BadConfig, match="SAM3_STREAM_KEY"):
        stream("x.mp4", ["duck"], host="0.0.0.0")


def test_the_mjpeg_parts_are_pictures(live: Stream) -> None:
    import cv2

    from sam3_agent.video.live.page import _mjpeg

    async def parts() -> list[bytes]:
        live.board.attach(asyncio.get_running_loop())
        loop = threading.Thread(target=live.run, kwargs={"frames": 40})
        loop.start()
        out = []
        async for part in _mjpeg(live):
            out.append(part)
            if len(out) == 3:
                break
        live.stop.set()
        await asyncio.to_thread(loop.join)
        return out

    for part in asyncio.run(parts()):
        head, _, body = part.partition(b"\r\n\r\n")
        assert b"image/jpeg" in head
        assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (96, 128, 3)
