"""A query that would take for ever to read, or nest for ever, is not understood, at once.

Work is counted, not timed; `benchmarks/parser_latency.py` has the milliseconds.
"""

from __future__ import annotations

import random

import pytest
from counted_calls import calls_of

from sam3_agent.understanding import understand
from sam3_agent.understanding.tokens import EFFORT

TIMES = "and between 0:10 and 0:20 "
MOST = 80_000  # calls; a question of nine words takes some 3,500


@pytest.mark.parametrize(
    "query",
    ["find the " + "not the " * 400, "dogs left of " * 300, "find dogs " + "without the " * 300, "(" * 4000, "1 2 3 " * 600,
     "dogs that are " * 280, "is there a dog or " * 200, "a" * 4000, "🐕" * 4000, "🐕🐈" * 2000, "chickn dgo ctas " * 250, '"' * 4000,
     "a.b.c." * 600, "the the the " * 300, TIMES * 150, "and count " * 400, "how many dogs? " * 250, "find dogs " + "that are not " * 300],
    ids=lambda query: query[:16],
)  # fmt: skip
def test_a_query_without_end_is_given_up_early(query: str) -> None:
    assert calls_of(lambda: understand(query)) < MOST
    drafts = understand(query).drafts
    assert not drafts or len(str(drafts[0].plan)) < 20_000


def test_no_mixture_of_words_takes_long() -> None:
    chance = random.Random(5)
    words = "find the a dogs not without left of and or how many is there picture first all at 0:10 , ? them only car red".split()
    for _ in range(200):
        few = chance.sample(words, 5)
        text = " ".join(chance.choice(few) for _ in range(500))[:2000]
        assert calls_of(lambda text=text: understand(text)) < MOST, text


def test_words_that_nobody_knows_are_not_mended_without_end() -> None:
    chance = random.Random(2)
    text = " ".join("".join(chance.choices("aeinorst", k=7)) for _ in range(250))
    assert calls_of(lambda: understand(text)) < MOST
    assert str(understand("how mny dogs are ther?").drafts[0].plan) == "count the dogs"


@pytest.mark.parametrize("sentences", [4, 10])
def test_a_long_text_of_plain_sentences_is_still_read(sentences: int) -> None:
    text = "There is a red car on the left and two people stand next to it. " * sentences
    assert len(understand(text).drafts) == sentences


def test_too_much_is_said_as_such() -> None:
    from sam3_agent.conversation import Agent

    reading = understand("find the " + "not the " * 240)
    assert reading.trouble == "too much" and reading.drafts == ()
    reply = Agent(engine=object()).process("find the " + "not the " * 240)  # type: ignore[arg-type]
    assert reply.status == "clarify" and "at once" in reply.text


def test_what_one_query_used_up_the_next_has_again() -> None:
    for _ in range(3):
        understand("find the " + "not the " * 400)
        assert EFFORT.left > 1e9
        assert str(understand("how many red cars are left of the bus?").drafts[0].plan) == (
            "count the red cars left of the bus"
        )
