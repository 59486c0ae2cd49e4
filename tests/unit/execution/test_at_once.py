"""Numbers at one moment of a clip, against the number of distinct things: "how many ducks at the same time?"."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "understanding"))
from stage import StageEngine, Thing, thing

from sam3_agent.conversation import Agent, Reply
from sam3_agent.understanding import understand
from sam3_agent.understanding.plan import Count

# three ducks of four shown at different times: a in frames 0 to 5, b in 3 to 7, c in 4 to 5, d in 8 to 9
WHEN = {"a": range(6), "b": range(3, 8), "c": range(4, 6), "d": range(8, 10)}
PLACES = {"a": (10, 10, 40, 40), "b": (100, 20, 130, 50), "c": (200, 120, 230, 150), "d": (60, 150, 90, 180)}


def frame(at: int) -> list[Thing]:
    ducks = [thing(name, "duck bird", "white", *PLACES[name]) for name, shown in WHEN.items() if at in shown]
    return [*ducks, thing("hen", "hen bird", "brown", 250, 20, 280, 50)]


@pytest.fixture(scope="module")
def asked() -> object:
    engine = StageEngine()
    pixels = np.stack([engine.draw(frame(at), 200, 300) for at in range(10)])

    def ask(query: str) -> Reply:
        return Agent(engine=engine).process(query, [pixels])

    return ask


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("how many different ducks are there in the clip?", 4),
        ("how many ducks are there at the same time?", 3),
        ("How many ducks are visible at once?", 3),
        ("what is the largest number of ducks visible at the same time?", 3),
        ("at most how many ducks can be seen simultaneously", 3),
        ("whats the maximum number of white ducks in a single frame pls", 3),
        ("what's the smallest number of ducks on screen at once?", 1),
        ("how many birds at any one time?", 4),
        ("are there ever three ducks at the same time?", True),
        ("are there ever two ducks at once?", True),
        ("is there a moment with four ducks?", False),
        ("are there more than three ducks in the video?", True),
        ("when are the most ducks visible?", 4.0),
        ("at what time do you see the most ducks?", 4.0),
        ("In which frame are the fewest ducks?", 0.0),
        ("Could you tell me when the number of ducks is highest?", 4.0),
        ("when are there two ducks?", 3.0),
        ("when is there more than one duck?", 3.0),
        ("when does the last duck appear?", 8.0),
    ],
)
def test_at_once(asked, query: str, answer: object) -> None:  # type: ignore[no-untyped-def]
    reply = asked(query)
    assert (reply.status, reply.answer, type(reply.answer)) == ("ok", answer, type(answer)), reply.text


def test_what_was_counted_comes_with_the_number(asked) -> None:  # type: ignore[no-untyped-def]
    reply = asked("how many ducks are there at the same time?")
    assert reply.text == "At most 3 ducks are seen at the same time."
    ids = {number for shown in reply.results[0].frames for number in shown.track_ids}
    assert len(ids) == 3


def test_so_many_are_never_there(asked) -> None:  # type: ignore[no-untyped-def]
    reply = asked("when are there five ducks?")
    assert reply.status == "empty" and reply.answer is None and "at most 3 ducks" in reply.text


def test_a_picture_is_one_moment() -> None:
    engine = StageEngine()
    picture = engine.draw(frame(4), 200, 300)
    assert Agent(engine=engine).process("how many ducks are there at the same time?", [picture]).answer == 3
    assert Agent(engine=engine).process("when are the most ducks visible?", [picture]).status == "clarify"


@pytest.mark.parametrize(
    ("query", "plan"),
    [
        ("segment the dogs at once", "find the dogs"),
        ("track the ducks and the geese at the same time", "follow the ducks and geese"),
        ("find the people that are sitting and smiling at the same time", "find the smiling sitting people"),
        ("which picture has the largest number of boats?", "compare the pictures by their boats (most)"),
    ],
)
def test_at_once_may_also_mean_now(query: str, plan: str) -> None:
    assert str(understand(query).plan) == plan


def test_the_plan_is_read_back_from_json() -> None:
    plan = understand("how many ducks at once?").plan
    assert plan is not None and isinstance(plan.action, Count) and plan.action.at_once == "most"
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan
