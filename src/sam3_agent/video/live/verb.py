"""`sam3-agent stream rtsp://camera/barn --concept chicken --every 1s`: watch a camera, in a browser and in numbers."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadConfig, BadInput, Unavailable
from sam3_agent.video.options import BudgetMs, Checkpoint, EngineName, Method, Threshold

LOOPBACK = ("127.0.0.1", "localhost", "::1")
START_SECONDS = 10.0


def stream(
    video: Annotated[str, typer.Argument(help="rtsp://host/path, a webcam's number, or a file in a camera's place.")],
    concept: Annotated[list[str], typer.Option("--concept", help="What to follow; may be given several times.")],
    every: Annotated[str, typer.Option(help='Detector: every "1s", "500ms", or "5" frames.')] = "1s",
    budget_ms: BudgetMs = None,
    host: Annotated[str, typer.Option(help="Address of the page.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for none.")] = 8080,
    window: Annotated[bool, typer.Option("--window", help="A window on this machine's screen.")] = False,
    events: Annotated[Path | None, typer.Option(help="Write what happens here, as JSON lines.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this long.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="A file begins again at its end.")] = False,
    method: Method = "carry",
    checkpoint: Checkpoint = "sam3-lite",
    engine: EngineName = "auto",
    threshold: Threshold = 0.5,
) -> None:
    """Watch a camera: follow things live, tell what happens."""
    from sam3_agent.video.live.capture import Capture
    from sam3_agent.video.live.events import EventFile
    from sam3_agent.video.live.stream import Stream
    from sam3_agent.video.sources import source_of
    from sam3_agent.video.track import host_of, make_tracker, parse_every, phrases_of

    if port and host not in LOOPBACK and not os.environ.get("SAM3_STREAM_KEY"):
        raise BadConfig(f"--host {host}: others could watch without a key. Set SAM3_STREAM_KEY first.", field="host")
    phrases = phrases_of(concept)
    # whoever sits at the terminal may name a camera
    source = source_of(video, hosts={host_of(video)} if "://" in video else None)
    tracker = make_tracker(method, checkpoint, engine, phrases, parse_every(every, budget_ms), 25.0, threshold)
    log = EventFile(events) if events is not None else None
    shown = _window(source.name, phrases) if window else None
    with Stream(Capture(source, loop=loop), tracker, phrases, log=log, shown=shown) as live:
        with served(live, host, port) if port else _unserved():
            try:
                live.run(seconds)
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
        counts = live.capture.counts
        if not counts.decoded and live.capture.trouble is not None:
            raise live.capture.trouble
    shown_frames = int(live.metrics.shown._value.get())
    print(f"{counts.decoded} frames decoded, {shown_frames} shown, {counts.dropped} dropped, {counts.failed} failures")


@contextmanager
def _unserved() -> Iterator[None]:
    yield


@contextmanager
def served(live: Any, host: str, port: int) -> Iterator[str]:
    """The page while the block runs; gives its address.

    Raises:
        Unavailable: the port is taken.
    """
    import socket

    import uvicorn

    from sam3_agent.video.live.page import build

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(f"{host}:{port}: cannot listen there ({error.strerror}). Try another --port.") from error
    settings = uvicorn.Config(
        build(live), log_level="warning", access_log=False, timeout_graceful_shutdown=2, server_header=False
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)  # whoever is given the address may use it at once
    address = f"http://{host}:{listener.getsockname()[1]}"
    print(f"{address}  (picture /stream.mjpg, results /ws, numbers /metrics)", file=sys.stderr)
    try:
        yield address
    finally:
        live.board.close()
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()


def _window(name: str, phrases: list[str]) -> Any:
    """Draws every frame in a window; q or Esc closes it."""
    import cv2

    from sam3_agent.video.drawing import draw_tracks

    try:
        cv2.namedWindow(name, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise BadInput(
            "--window: this OpenCV has no windows (opencv-python-headless). Open the page in a browser instead.",
            field="window",
        ) from error

    def shown(frame: Any, result: Any) -> None:
        picture = draw_tracks(frame.pixels, result.seen, ", ".join(phrases))
        cv2.imshow(name, picture[..., ::-1])
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            raise KeyboardInterrupt

    return shown
