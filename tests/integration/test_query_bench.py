"""The query benchmark, played through its own runner: what the agent must understand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sam3_agent import Agent

ACCURACY = 0.97


@pytest.fixture
def bench(shared_dir: Path) -> Iterator[Any]:
    """The benchmark's runner as a module."""
    folder = shared_dir / "query_bench"
    sys.path.insert(0, str(folder))
    try:
        import run  # type: ignore[import-not-found]

        yield run
    finally:
        sys.path.remove(str(folder))


def test_the_agent_understands_the_bench(bench: Any, shared_dir: Path) -> None:
    outcomes = bench.run_cases(bench.load_cases(shared_dir / "query_bench" / "dev.jsonl"), Agent)
    summary = bench.summarise(outcomes)
    failures = "\n".join(bench.failures(outcomes))
    assert summary.accuracy >= ACCURACY, failures
    assert summary.encodes_per_image == 1.0
    assert not summary.wasteful
