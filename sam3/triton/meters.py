"""What the models count for Prometheus, beside what the server counts itself.

sam3_stage_microseconds_total{stage}   where the time of the whole model goes   (sam3_stage_runs_total{stage})
sam3_embedding_cache_total{kind, outcome}    image and text embeddings: hit or miss
sam3_presence_total{le}                a histogram of presence, cumulative as Prometheus wants it: its drift
sam3_presence_sum, sam3_pairs_total    their mean
sam3_streams                           open video streams
"""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

Key = tuple[str, tuple[tuple[str, str], ...]]  # name and labels
PRESENCE_EDGES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
FAMILIES = {
    "sam3_stage_microseconds_total": ("COUNTER", "Time spent in a stage of the whole model, microseconds"),
    "sam3_stage_runs_total": ("COUNTER", "Runs of a stage of the whole model"),
    "sam3_cache_total": ("COUNTER", "Embeddings and responses looked up, by kind and outcome"),
    "sam3_presence_total": ("COUNTER", "Pairs whose presence was at most le"),
    "sam3_presence_sum": ("COUNTER", "Sum of presence over pairs"),
    "sam3_pairs_total": ("COUNTER", "Pairs of picture and phrase answered"),
    "sam3_streams": ("GAUGE", "Open video streams"),
}


def server() -> Any:
    """`triton_python_backend_utils`, which only exists inside the server."""
    return importlib.import_module("triton_python_backend_utils")


class Clock:
    """Microseconds and runs by stage, until somebody takes them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.runs: dict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[stage] += (time.perf_counter() - start) * 1e6
            self.runs[stage] += 1

    def take(self) -> Iterator[tuple[str, float, int]]:
        """Stage, microseconds and runs since the last time; starts anew."""
        spent, runs = self.spent, self.runs
        self.spent, self.runs = defaultdict(float), defaultdict(int)
        for stage, value in spent.items():
            yield stage, value, runs[stage]


class Meters:
    """Counters of one model version. Families must live as long as the model, or the server crashes.

    To tell the server of one number costs a message to its process and back, of which an answer may need thirty: what is
    counted is told by a thread of its own, twice a second, and no answer waits for it.
    """

    def __init__(self, model: str, version: str, every: float = 0.5) -> None:
        kinds = server().MetricFamily
        self.labels = {"model": model, "version": version}
        self.families = {
            name: kinds(name=name, description=text, kind=getattr(kinds, kind))
            for name, (kind, text) in FAMILIES.items()
        }
        self.metrics: dict[Key, Any] = {}
        self._counted: dict[Key, float] = defaultdict(float)
        self._levels: dict[Key, float] = {}
        self._lock, self._over = Lock(), Event()
        self._thread = Thread(target=self._tell, args=(every,), name="meters", daemon=True)
        self._thread.start()

    def add(self, name: str, value: float, **labels: str) -> None:
        """Count `value` more."""
        with self._lock:
            self._counted[name, tuple(sorted(labels.items()))] += value

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._levels[name, tuple(sorted(labels.items()))] = value

    def presence(self, value: float) -> None:
        """One more pair with this presence."""
        self.add("sam3_pairs_total", 1)
        self.add("sam3_presence_sum", value)
        for edge in PRESENCE_EDGES:
            if value <= edge:
                self.add("sam3_presence_total", 1, le=str(edge))

    def stages(self, clock: Clock) -> None:
        """Move what a clock has measured."""
        for stage, spent, runs in clock.take():
            self.add("sam3_stage_microseconds_total", spent, stage=stage)
            self.add("sam3_stage_runs_total", runs, stage=stage)

    def close(self) -> None:
        """Tell no more: the model is being unloaded."""
        self._over.set()
        self._thread.join(5)

    def flush(self) -> None:
        """Tell the server what has been counted since the last time."""
        with self._lock:
            counted, levels = self._counted, self._levels
            self._counted, self._levels = defaultdict(float), {}
        for key, value in counted.items():
            if value or key not in self.metrics:  # a counter is there from its first mention
                self._metric(key).increment(value)
        for key, value in levels.items():
            self._metric(key).set(value)

    def _tell(self, every: float) -> None:
        while not self._over.wait(every):
            self.flush()

    def _metric(self, key: Key) -> Any:
        if key not in self.metrics:
            name, labels = key
            self.metrics[key] = self.families[name].Metric(labels=self.labels | dict(labels))
        return self.metrics[key]
