"""Times in questions: which part of a clip is meant, and what is asked about time."""

from __future__ import annotations

import pytest

from sam3_agent.understanding import understand
from sam3_agent.understanding.plan import Count, Segment, When
from sam3_agent.understanding.times import timed
from sam3_agent.understanding.wording import describe_plan


@pytest.mark.parametrize(("query", "between", "rest"), [
    ("how many ducks are there between 0:10 and 0:20?", (10, 20), "how many ducks are there?"),
    ("track the hens from 1:05 to 1:10.5", (65, 70.5), "track the hens"),
    ("Between 10 and 20 seconds, count the cars", (10, 20), "count the cars"),
    ("count the cars from second 3 to 7 in the video", (3, 7), "count the cars"),
    ("count the cars between 0:20 and 0:10", (10, 20), "count the cars"),
    ("is there a duck in the first 5 seconds of the clip?", (0, 5), "is there a duck?"),
    ("how many hens in the last 2 minutes?", (-120, None), "how many hens?"),
    ("follow the duck after 0:30", (30, None), "follow the duck"),
    ("how many ducks are there at 0:07?", (7, 7), "how many ducks are there?"),
    ("show the hens before 90 seconds", (0, 90), "show the hens"),
    ("is a car there at 1:00:00?", (3600, 3600), "is a car there?"),
])  # fmt: skip
def test_a_part_of_the_clip(query: str, between: tuple, rest: str) -> None:
    found = timed(query)
    assert found is not None and found.moment is None
    assert (found.between, found.rest) == (between, rest)


@pytest.mark.parametrize("query", [
    "how many ducks are between the barn and the tractor?", "the third duck from the left",
    "how many of the 10 ducks are white?", "are there between 3 and 5 dogs?", "the person wearing number 23",
    "show everything after the red one", "count the first two ducks", "what is at the top left?", "find cars from 2 pictures",
    "ducks at 45 degrees", "the first 5 ducks from the left",
])  # fmt: skip
def test_what_is_no_time_stays(query: str) -> None:
    assert timed(query) is None


@pytest.mark.parametrize(("query", "moment", "last", "thing"), [
    ("when does the first duck appear?", "appears", False, "ducks"),
    ("When do the ducks show up in the video?", "appears", False, "ducks"),
    ("at what time does a red car enter the picture?", "appears", False, "red cars"),
    ("when does the last hen leave?", "leaves", True, "hens"),
    ("when do the hens disappear", "leaves", True, "hens"),
    ("when does the first person go out of view?", "leaves", False, "people"),
    ("when can I first see a duck?", "appears", False, "ducks"),
    ("when is the dog visible for the first time?", "appears", False, "dogs"),
    ("at which second does the last truck come into view?", "appears", True, "trucks"),
    ("in which frame does the dog first appear?", "appears", False, "dogs"),
    ("how long is the duck visible?", "shows", False, "ducks"),
    ("for how long can the red car be seen in the clip?", "shows", False, "red cars"),
])  # fmt: skip
def test_when(query: str, moment: str, last: bool, thing: str) -> None:
    plan = understand(query, 1).plan
    assert plan is not None and isinstance(plan.action, When)
    assert (plan.action.moment, plan.action.last) == (moment, last)
    from sam3_agent.understanding.wording import name

    assert name(plan.action.target) == thing


@pytest.mark.parametrize(("query", "kind"), [
    ("how many ducks are there between 0:10 and 0:20?", Count),
    ("track the red car from 0:01 to 0:03", Segment),
])  # fmt: skip
def test_the_part_is_in_the_plan_and_in_its_words(query: str, kind: type) -> None:
    plan = understand(query, 1).plan
    assert plan is not None and isinstance(plan.action, kind)
    assert plan.scope.between is not None
    assert " s to " in describe_plan(plan)


def test_when_within_a_part() -> None:
    plan = understand("when does the first duck appear after 0:10?", 1).plan
    assert plan is not None and isinstance(plan.action, When) and plan.scope.between == (10, None)
