"""What Triton has counted of a model version, and whether a new one is worse than the one in use.

Three questions, each with the counters of the same minutes: does it fail more often (Fisher's exact test), is its
model time longer (microseconds a run of the image encoder and of the decoder: caches do not count; a bootstrap over the
looks), and does it see the concept more or less often (Kolmogorov-Smirnov on the distributions of presence). A
difference must be both too large and beyond chance.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from typing import Literal
from urllib.error import URLError

import numpy as np

from sam3.errors import Unavailable
from sam3.triton.meters import PRESENCE_EDGES
from sam3_agent.loop_settings import CanaryLimits

STAGES = ("image_encoder", "decoder")
LEAST_LOOKS = 10  # with traffic on both sides, from which on they tell chance
RESAMPLES = 5_000
LAST_ALPHA = 0.05
MOST_EXACT = 1_000_000  # product of two samples' sizes up to which the test is exact


@dataclass(frozen=True)
class Reading:
    """Counters of one version.

    Attributes:
        answered, failed: requests. pairs: pictures with a phrase.
        presence: pairs whose presence is at most each of `PRESENCE_EDGES`, cumulative.
        stage_us, stage_runs: of each of `STAGES`.
    """

    answered: float = 0
    failed: float = 0
    pairs: float = 0
    presence: tuple[float, ...] = (0.0,) * len(PRESENCE_EDGES)
    stage_us: Mapping[str, float] = field(default_factory=dict)
    stage_runs: Mapping[str, float] = field(default_factory=dict)

    def since(self, earlier: Reading) -> Reading:
        """What was counted after `earlier`; a model that was loaded anew counts from 0."""
        fallen = any(self.stage_runs.get(stage, 0.0) < runs for stage, runs in earlier.stage_runs.items())
        if fallen or self.answered < earlier.answered or self.pairs < earlier.pairs:
            return self
        return Reading(
            self.answered - earlier.answered,
            max(0.0, self.failed - earlier.failed),
            self.pairs - earlier.pairs,
            tuple(now - then for now, then in zip(self.presence, earlier.presence, strict=True)),
            {stage: value - earlier.stage_us.get(stage, 0.0) for stage, value in self.stage_us.items()},
            {stage: value - earlier.stage_runs.get(stage, 0.0) for stage, value in self.stage_runs.items()},
        )

    @property
    def requests(self) -> float:
        """Answered or failed."""
        return self.answered + self.failed

    def mean_us(self, stage: str) -> float | None:
        """Mean microseconds of a stage; None without a run."""
        runs = self.stage_runs.get(stage, 0.0)
        return self.stage_us.get(stage, 0.0) / runs if runs > 0 else None


Sides = tuple[Reading, Reading]  # of the version that serves, and of the one that is tried


@dataclass(frozen=True)
class Verdict:
    """fine: deploy. back: take it away. wait: too little was seen. `reasons`: a sentence a question."""

    state: Literal["fine", "back", "wait"]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class MetricsPage:
    """A Prometheus page: (name without "_total", labels) -> value."""

    rows: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def of(self, model: str, version: int | None) -> Reading:
        """The counters of one version of a model."""
        mine = {("model", model), ("version", str(version))}
        found = [(name, dict(labels), value) for (name, labels), value in self.rows.items() if mine <= labels]

        def total(name: str, **labels: str) -> float:
            return sum(value for one, said, value in found if one == name and labels.items() <= said.items())

        return Reading(
            total("nv_inference_request_success"),
            total("nv_inference_request_failure"),
            total("sam3_pairs"),
            tuple(total("sam3_presence", le=str(edge)) for edge in PRESENCE_EDGES),
            {stage: total("sam3_stage_microseconds", stage=stage) for stage in STAGES},
            {stage: total("sam3_stage_runs", stage=stage) for stage in STAGES},
        )


def judge(stable: Reading, tried: Reading, limits: CanaryLimits, sure: bool = True) -> Verdict:
    """Hold the version that is tried against the one in use.

    Args:
        sure: whether latency above the limit decides, or may be chance and is only said.
    """
    checks = [_errors(stable, tried, limits)]
    enough = min(stable.requests, tried.requests) >= limits.min_requests
    if enough:
        checks += [_latency(stable, tried, limits, sure), _presence(stable, tried, limits)]
    reasons = tuple(said for _, said in checks)
    if not all(fine for fine, _ in checks):
        return Verdict("back", reasons)
    if not enough:
        seen = f"{tried.requests:.0f} requests to the new version, {stable.requests:.0f} to the one in use"
        return Verdict("wait", (*reasons, f"{seen}: {limits.min_requests} of each are asked for."))
    return Verdict("fine", reasons)


def _errors(stable: Reading, tried: Reading, limits: CanaryLimits) -> tuple[bool, str]:
    from scipy.stats import fisher_exact

    if not tried.requests:
        return True, "errors: no request yet."
    old = stable.failed / stable.requests if stable.requests else 0.0
    new = tried.failed / tried.requests
    table = [[tried.failed, tried.answered], [stable.failed, stable.answered]]
    chance = float(fisher_exact(np.rint(table).astype(int), alternative="greater").pvalue) if stable.requests else 1.0
    worse = new - old > limits.max_error_gain and chance < limits.alpha
    hopeless = tried.failed >= 5 and not tried.answered  # nothing but errors needs no comparison
    said = f"errors: {old:.1%} -> {new:.1%} of {tried.requests:.0f} requests (p {chance:.2g})"
    return not (worse or hopeless), f"{said}: {'too many' if worse or hopeless else 'no more than before'}."


def counted(then: Sides, now: Sides) -> Sides:
    """What either version has counted between two looks."""
    return now[0].since(then[0]), now[1].since(then[1])


def slower_beyond_chance(seen: Sequence[Sides], limits: CanaryLimits, last: bool = False) -> bool | None:
    """Whether the new version's model time is above the limit, and not by one busy moment of the machine.

    A bootstrap over what was counted between two looks, since runs close to each other share the machine's load.

    Args:
        seen: counters of the version in use and of the one that is tried, look by look.
        last: no look follows, so that the level of a single test does.

    Returns:
        None: with fewer than `LEAST_LOOKS` looks nobody can tell.
    """
    between = [counted(*two) for two in pairwise(seen)]
    spent, runs = (
        np.array([[[getattr(side, kind).get(stage, 0.0) for stage in STAGES] for side in sides] for sides in between])
        for kind in ("stage_us", "stage_runs")
    )
    if not len(between) or np.count_nonzero(runs.all(axis=(1, 2))) < LEAST_LOOKS:
        return None
    weights = np.random.default_rng(0).multinomial(len(between), np.full(len(between), 1 / len(between)), RESAMPLES)
    old, new = np.moveaxis(np.tensordot(weights, spent, 1) / np.maximum(np.tensordot(weights, runs, 1), 1), 1, 0)
    ratios = new.sum(-1) / np.maximum(old.sum(-1), 1e-9)
    return bool(np.mean(ratios <= limits.max_latency_ratio) < (LAST_ALPHA if last else limits.alpha))


def slowdown(stable: Reading, tried: Reading, least: int) -> float | None:
    """Model time of the new version over that of the one in use, of the stages that both ran `least` times; None: of none.

    What is remembered is answered without a run.
    """
    known = [stage for stage in STAGES if min(one.stage_runs.get(stage, 0.0) for one in (stable, tried)) >= least]
    old, new = (sum(one.mean_us(stage) or 0.0 for stage in known) for one in (stable, tried))
    return new / old if old else None


def _latency(stable: Reading, tried: Reading, limits: CanaryLimits, sure: bool) -> tuple[bool, str]:
    ratio = slowdown(stable, tried, limits.min_requests)
    if ratio is None:
        return True, f"latency: no stage of the model ran {limits.min_requests} times in both."
    within = ratio <= limits.max_latency_ratio
    verdict = f"{'within' if within else 'above'} {limits.max_latency_ratio:g}"
    return (
        within or not sure,
        f"latency: model time {ratio:.2f} times that of the version in use: "
        f"{verdict}{'' if within or sure else ', which may be chance'}.",
    )


def _presence(stable: Reading, tried: Reading, limits: CanaryLimits) -> tuple[bool, str]:
    """Two-sample Kolmogorov-Smirnov over the bins; ties make it strict, so little evidence sends nothing back."""
    from scipy.stats import ks_2samp

    pairs = int(min(stable.pairs, tried.pairs))
    if pairs < limits.min_requests:  # an answer that is remembered counts as a request and not as a pair
        return True, f"presence: {pairs} pairs were looked at by one of the two, {limits.min_requests} are asked for."
    old, new = (np.clip(np.rint(np.diff((0.0, *one.presence))), 0, None).astype(int) for one in (stable, tried))
    if not (old.sum() and new.sum()):
        return True, "presence: the server does not say."
    exact = "exact" if old.sum() * new.sum() <= MOST_EXACT else "asymp"
    test = ks_2samp(*(np.repeat(np.arange(len(one)), one) for one in (old, new)), method=exact)
    shift, chance = float(test.statistic), float(test.pvalue)
    fine = shift <= limits.max_presence_shift or chance >= limits.alpha
    verdict = "no drift" if fine else "it has drifted"
    return (
        fine,
        f"presence: distributions differ by {shift:.2f} (p {chance:.2g}): {verdict}, {limits.max_presence_shift:g} is let pass.",
    )


def read_metrics(url: str) -> MetricsPage:
    """Read a Prometheus page.

    Raises:
        Unavailable: no such page.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            families = list(text_string_to_metric_families(reply.read().decode()))
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise Unavailable(f"{url}: Triton's metrics cannot be read ({error}). Give their URL: --metrics") from error
    rows: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples:
            # the parser puts "_total" behind the name of every counter, whether the page has it or not
            rows[sample.name.removesuffix("_total"), frozenset(sample.labels.items())] = float(sample.value)
    return MetricsPage(rows)


def metrics_url(address: str) -> str:
    """Where the metrics of a server at gRPC host:port usually are; SAM3_TRITON_METRICS when set."""
    import os

    host = re.sub(r":\d+$", "", address)
    return os.environ.get("SAM3_TRITON_METRICS") or f"http://{host}:8002/metrics"
