"""Is a new version slower? Both engines on the same pictures in one run, in turns, as a ratio with its interval.

Each picture is looked at by both, the order changing from picture to picture (A B, B A, ...), so that what the machine
does meanwhile hits both alike. The ratio is the geometric mean over pictures; its interval is a bootstrap over
pictures (`scipy.stats.bootstrap`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sam3.errors import BadInput
from sam3.types import Engine, Prompt, UInt8Array

Look = Callable[[UInt8Array], object]


@dataclass(frozen=True)
class LatencyRatio:
    """Seconds of the candidate / seconds of the champion, and the 95 % interval of that."""

    ratio: float
    low: float
    high: float
    pictures: int
    champion_ms: float
    candidate_ms: float


def compare_latency(
    champion: Engine, candidate: Engine, images: Sequence[UInt8Array], phrase: str, *, rounds: int = 3, warm: int = 1
) -> LatencyRatio:
    """Time both engines side by side.

    Args:
        images: uint8 RGB (H, W, 3), at least 4.
        rounds: looks at each picture; the shortest counts, since what disturbs only ever adds.
        warm: pictures looked at before, untimed.

    Raises:
        BadInput: fewer than 4 pictures.
    """
    return timed(_looker(champion, phrase), _looker(candidate, phrase), images, rounds=rounds, warm=warm)


def timed(
    champion: Look, candidate: Look, images: Sequence[UInt8Array], *, rounds: int = 3, warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyRatio:  # fmt: skip
    """`compare_latency` for anything that looks at a picture."""
    if len(images) < 4:
        raise BadInput(f"{len(images)} pictures are too few to compare latency; give at least 4.", field="images")
    sides = (champion, candidate)
    for image in images[:warm]:
        for look in sides:
            look(image)
    best = np.full((len(images), 2), np.inf)
    for turn in range(rounds):
        for at, image in enumerate(images):
            for side in (0, 1) if (at + turn) % 2 == 0 else (1, 0):
                start = clock()
                sides[side](image)
                best[at, side] = min(best[at, side], clock() - start)
    return ratio_of(best[:, 0], best[:, 1])


def ratio_of(champion: np.ndarray, candidate: np.ndarray) -> LatencyRatio:
    """The ratio from seconds a picture, both (N,)."""
    from scipy.stats import bootstrap

    logs = np.log(np.maximum(candidate, 1e-9)) - np.log(np.maximum(champion, 1e-9))
    mean = float(logs.mean())
    low = high = mean
    if np.ptp(logs) > 0:
        drawn = bootstrap((logs,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
        low, high = map(float, drawn.confidence_interval)
    return LatencyRatio(
        float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), len(logs),
        float(np.median(champion) * 1000), float(np.median(candidate) * 1000),
    )  # fmt: skip


def _looker(engine: Engine, phrase: str) -> Look:
    prompt = Prompt(phrase)
    return lambda image: engine.ground(engine.encode([image]), [prompt])
