"""A query that would take for ever to read, or nest for ever, is not understood, at once."""

from __future__ import annotations

import time

import pytest

from sam3_agent.understanding import understand


@pytest.mark.parametrize(
    "query",
    ["find the " + "not the " * 400, "dogs left of " * 300, "find dogs " + "without the " * 300, "(" * 4000, "1 2 3 " * 600,
     "dogs that are " * 280, "is there a dog or " * 200, "a" * 4000, "🐕" * 4000, "chickn dgo ctas " * 250, '"' * 4000],
    ids=lambda query: query[:16],
)  # fmt: skip
def test_a_query_without_end_is_read_in_no_time(query: str) -> None:
    start = time.process_time()
    reading = understand(query)
    assert time.process_time() - start < 1.0 and (not reading.drafts or len(str(reading.drafts[0].plan)) < 20_000)


def test_what_one_query_used_up_the_next_has_again() -> None:
    for _ in range(3):
        understand("find the " + "not the " * 400)
        assert str(understand("how many red cars are left of the bus?").drafts[0].plan) == (
            "count the red cars left of the bus"
        )
