"""A stream's numbers for Prometheus: frames a second, age of the frame shown, drops, reconnections, stages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.live.capture import Capture

AGES = (0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.25, 0.35, 0.5, 0.75, 1, 2, 5)
WINDOW = 5.0  # seconds that frames a second are counted over


class StreamMetrics:
    """The numbers of one stream, in a registry of their own."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.registry = r = CollectorRegistry()
        self.age = Histogram("sam3_stream_frame_age_seconds", "Decoded until shown.", buckets=AGES, registry=r)
        self.last_age = Gauge("sam3_stream_last_frame_age_seconds", "Of the newest shown frame.", registry=r)
        self.shown = Counter("sam3_stream_frames_shown", "Frames with results.", registry=r)
        self.looks = Counter("sam3_stream_detector_looks", "Frames that the detector saw.", registry=r)
        self.stages = Histogram("sam3_stream_stage_seconds", "By stage.", ["stage"], buckets=AGES, registry=r)
        self.things = Gauge("sam3_stream_things", "There now.", ["phrase"], registry=r)
        self.events = Counter("sam3_stream_events", "By kind.", ["kind"], registry=r)
        self._times: deque[float] = deque(maxlen=2000)
        r.register(_Captured(self))  # type: ignore[arg-type]

    @property
    def fps(self) -> float:
        """Frames shown a second, over the last five."""
        now = time.monotonic()
        recent = [at for at in list(self._times) if now - at <= WINDOW]
        return (len(recent) - 1) / max(now - recent[0], 1e-3) if len(recent) > 1 else 0.0

    def showed(self, frame: Frame, result: FrameResult) -> float:
        """A frame has been shown; its age in seconds."""
        now = time.monotonic()
        age = now - frame.taken
        self._times.append(now)
        self.age.observe(age)
        self.last_age.set(age)
        self.shown.inc()
        if result.detected:
            self.looks.inc()
        for stage, milliseconds in result.milliseconds.items():
            self.stages.labels(stage).observe(milliseconds / 1000)
        return age

    def counted(self, counts: dict[str, int], phrases: Iterable[str]) -> None:
        """How many of each are there."""
        for phrase in phrases:
            self.things.labels(phrase).set(counts.get(phrase, 0))

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return bytes(generate_latest(self.registry))


class _Captured:
    """The capture's counts, read when somebody asks."""

    def __init__(self, metrics: StreamMetrics) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        counts: Any = self.metrics.capture.counts
        words = {
            "decoded": "Frames decoded.", "dropped": "Frames overwritten by newer ones.", "damaged": "Packets not decodable.",
            "connected": "Connections made.", "failed": "Connections failed or lost.",
        }  # fmt: skip
        for name, text in words.items():
            yield CounterMetricFamily(f"sam3_stream_{name}", text, value=getattr(counts, name))
        up = float(self.metrics.capture.state == "connected")
        yield GaugeMetricFamily("sam3_stream_up", "Whether frames are coming.", value=up)
        yield GaugeMetricFamily("sam3_stream_fps", "Frames shown a second.", value=self.metrics.fps)
