"""The next pictures are read and decoded while the model is at work on the last ones."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3_agent.mining import shard
from sam3_agent.mining.ahead import fetched, in_order
from sam3_agent.mining.inbox import Part
from sam3_agent.mining.plan import Plan
from sam3_agent.mining.shard import BATCH, rows

PLAN = Plan("inbox", "hen", "sam3-lite", "abc", 0.3, 1000)


def test_results_come_in_the_order_of_the_items_whoever_is_first() -> None:
    slow_first = lambda at: time.sleep(0.02 if at % 4 == 0 else 0) or at  # noqa: E731
    assert list(in_order(slow_first, range(20), threads=4, most=8)) == list(range(20))
    assert list(fetched(range(20), 3)) == list(range(20))


def test_no_more_is_held_than_was_asked_for() -> None:
    taken: list[int] = []
    results = in_order(lambda at: at, (taken.append(at) or at for at in range(100)), threads=2, most=5)  # type: ignore[func-returns-value]
    next(results)
    assert len(taken) == 6
    results.close()
    given = fetched((taken.append(at) or at for at in range(1000)), 4)  # type: ignore[func-returns-value]
    next(given)
    time.sleep(0.05)
    assert len(taken) <= 6 + 1 + 4 + 1


@pytest.mark.parametrize("of", ["items", "work"])
def test_a_failure_reaches_the_caller(of: str) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        if of == "items":
            raise OSError("the store is gone")
        yield 3

    def work(at: int) -> int:
        if at == 3:
            raise OSError("the store is gone")
        return at

    seen = []
    with pytest.raises(OSError, match="store is gone"):
        for at in in_order(work, fetched(items(), 2), threads=2, most=4):
            seen.append(at)
    assert seen == ([0, 1, 2] if of == "work" else [])


def test_a_caller_that_leaves_takes_the_threads_with_it() -> None:
    given = fetched(iter(int, 1), 2)  # without end
    next(given)
    given.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(thread.name == "fetching" for thread in threading.enumerate()):
        time.sleep(0.02)
    assert not any(thread.name == "fetching" for thread in threading.enumerate())


def test_a_read_that_never_ends_holds_up_no_exit() -> None:
    """As by Ctrl-C while a store is silent: the process ends although a thread of it is in a read."""
    script = """
import threading
from sam3_agent.mining.ahead import in_order
begun = threading.Event()
def silent(_):
    begun.set()
    threading.Event().wait()
def items():
    yield 0
    begun.wait()
    raise KeyboardInterrupt
list(in_order(silent, items(), threads=2, most=4))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_while_the_model_is_at_work_the_next_pictures_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"{at:02d}.png" for at in range(3 * BATCH))
    for name in names:
        Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / name)
    decoded: list[str] = []
    next_ones = threading.Event()
    plain = shard.decode

    def decode(data: bytes, name: str) -> Any:
        decoded.append(name)
        if len(decoded) >= 2 * BATCH:
            next_ones.set()
        return plain(data, name)

    waited: list[bool] = []

    def judge(images: Any) -> list[dict[str, Any]]:
        waited.append(next_ones.wait(20))  # one thread alone would wait for itself
        return [{"presence": 0.0}] * len(images)

    monkeypatch.setattr(shard, "decode", decode)
    found = list(rows(Part(str(tmp_path), names), PLAN, judge))
    assert waited == [True] * 3 and [row["name"] for row in found] == list(names)
