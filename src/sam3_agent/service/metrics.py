"""Numbers for Prometheus: requests, stages, queue, caches, memory. Served at /metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from sam3_agent.cache.budget import Usage

if TYPE_CHECKING:
    from sam3_agent.reply import Reply

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The service's own registry, so that two apps in one process do not mix.

    Args:
        caches: usage by name, read at each scrape.
        gauges: further numbers by name, read at each scrape.
    """

    def __init__(self, caches: Callable[[], Mapping[str, Usage]], gauges: Mapping[str, Callable[[], float]]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        r = self.registry
        self.requests = Counter("sam3_agent_requests", "Requests.", ["route", "method", "status"], registry=r)
        self.seconds = Histogram(
            "sam3_agent_request_seconds", "Time to the last byte.", ["route"], buckets=SECONDS, registry=r
        )
        self.running = Gauge("sam3_agent_requests_running", "Requests under way.", registry=r)
        self.stages = Histogram("sam3_agent_stage_seconds", "By stage.", ["stage"], buckets=SECONDS, registry=r)
        self.overhead = Histogram(
            "sam3_agent_overhead_seconds", "An answer's time outside the engine.", buckets=SECONDS, registry=r
        )
        self.answers = Counter("sam3_agent_answers", "Answers.", ["status"], registry=r)
        self.uncertain = Counter("sam3_agent_uncertain_answers", "Answers with something not sure.", registry=r)
        self.feedback = Counter("sam3_agent_feedback", "What people thought.", ["verdict"], registry=r)
        r.register(_Scraped(caches, gauges))  # type: ignore[arg-type]

    def answered(self, reply: Reply) -> None:
        """Count one reply."""
        timings = reply.timings
        for stage, value in timings.items():
            self.stages.labels(stage).observe(value / 1000)
        engine = timings.get("encode", 0.0) + timings.get("ground", 0.0)
        self.overhead.observe(max(0.0, timings.get("total", 0.0) - engine) / 1000)
        self.answers.labels(reply.status).inc()
        if reply.uncertain:
            self.uncertain.inc()

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return bytes(generate_latest(self.registry))


class _Scraped:
    """What is only known when somebody asks."""

    def __init__(self, caches: Callable[[], Mapping[str, Usage]], gauges: Mapping[str, Callable[[], float]]) -> None:
        self.caches, self.gauges = caches, gauges

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        family: dict[str, Any] = {
            name: GaugeMetricFamily(f"sam3_agent_cache_{name}", words, labels=["cache"])
            for name, words in {
                "bytes": "Held.", "max_bytes": "Budget.", "entries": "Held.", "hits": "Found.",
                "misses": "Not found.", "evicted": "Dropped for want of room.",
            }.items()
        }  # fmt: skip
        for cache, usage in self.caches().items():
            for name, one in family.items():
                one.add_metric([cache], getattr(usage, name))
        yield from family.values()
        for name, read in self.gauges.items():
            yield GaugeMetricFamily(f"sam3_agent_{name}", name.replace("_", " "), value=read())
        yield GaugeMetricFamily("sam3_agent_gpu_bytes", "GPU memory in use by this process.", value=gpu_bytes())


def gpu_bytes() -> float:
    """GPU memory that PyTorch holds; 0 where there is no GPU or no PyTorch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    return float(sum(torch.cuda.memory_reserved(at) for at in range(torch.cuda.device_count())))
