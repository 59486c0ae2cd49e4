"""Tracks through clips: what moves, hides, passes and leaves keeps one number."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "understanding"))
from stage import StageEngine, Thing, masks_of, thing

from sam3_agent.conversation import Agent, Reply

SIZE = (200, 300)


def clip(frames: list[list[Thing]]) -> tuple[StageEngine, np.ndarray]:
    engine = StageEngine()
    return engine, np.stack([engine.draw(things, *SIZE) for things in frames])


def moved(one: Thing, dx: float, dy: float = 0) -> Thing:
    x0, y0, x1, y1 = one.box
    return Thing(one.id, one.names, one.words, (round(x0 + dx), round(y0 + dy), round(x1 + dx), round(y1 + dy)))


def ask(frames: list[list[Thing]], query: str) -> tuple[Reply, dict[int, list[str]]]:
    """The reply, and the ids that each track covers, frame by frame."""
    engine, pixels = clip(frames)
    reply = Agent(engine=engine).process(query, [pixels])
    tracks: dict[int, list[str]] = {}
    (result,) = reply.results
    assert result.frames is not None and len(result.frames) == len(frames)
    for shown, things in zip(result.frames, frames, strict=True):
        masks = masks_of(things, *SIZE)
        for track, mask in zip(shown.track_ids, shown.masks, strict=True):
            best = max(range(len(masks)), key=lambda i: (mask & masks[i]).sum() / (mask | masks[i]).sum())
            tracks.setdefault(int(track), []).append(things[best].id)
    return reply, tracks


RED = thing("red", "car vehicle", "red", 10, 40, 70, 74)
BLUE = thing("blue", "car vehicle", "blue", 190, 110, 250, 144)
TRUCK = thing("truck", "truck vehicle", "grey", 120, 150, 190, 194)
PLAYERS = [
    thing(f"p{n}", "player person", f"wearing number {n} red jersey", 20, 10 + 60 * i, 50, 60 + 60 * i)
    for i, n in enumerate((23, 10, 7))
]


def traffic() -> list[list[Thing]]:
    return [[moved(RED, 14 * t), moved(BLUE, -14 * t), TRUCK] for t in range(10)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("track the red car", ["red"]),
        ("Follow all the cars.", ["blue", "red"]),
        ("follow every vehicle except the truck", ["blue", "red"]),
        ("track the vehicles that are not red", ["blue", "truck"]),
        ("keep an eye on the truck in the video", ["truck"]),
        ("Segment the cars throughout the clip", ["blue", "red"]),
        ("track cars and trucks", ["blue", "red", "truck"]),
        ("please trace the blue car from start to finish", ["blue"]),
        ("track the grey truck over the whole clip", ["truck"]),
        ("track the largest vehicle", ["truck"]),
    ],
)
def test_what_is_followed(query: str, expected: list[str]) -> None:
    reply, tracks = ask(traffic(), query)
    assert reply.status == "ok"
    assert sorted(seen[0] for seen in tracks.values()) == expected
    assert all(len(set(seen)) == 1 and len(seen) == 10 for seen in tracks.values())


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("how many distinct cars appear in the clip?", 2),
        ("How many different vehicles are in the video?", 3),
        ("count the unique trucks in this clip", 1),
        ("how many vehicles can be seen over the course of the video", 3),
        ("Is there a truck in the video?", True),
        ("does a bus appear in the clip?", False),
        ("Are there more cars than trucks in the video?", True),
        ("how many cars pass by?", 2),
    ],
)
def test_questions_about_a_clip(query: str, answer: object) -> None:
    reply, _ = ask(traffic(), query)
    assert reply.answer == answer and type(reply.answer) is type(answer)


def test_a_number_on_a_jersey_is_a_person() -> None:
    frames = [[moved(p, 10 * t) for p in PLAYERS] for t in range(8)]
    reply, tracks = ask(frames, "track number 23 through the clip")
    assert [set(seen) for seen in tracks.values()] == [{"p23"}], reply.plan


def test_two_alike_that_pass_each_other_keep_their_numbers() -> None:
    left, right = thing("a", "duck", "brown", 10, 50, 50, 80), thing("b", "duck", "brown", 250, 60, 290, 90)
    frames = [[moved(left, 24 * t), moved(right, -24 * t)] for t in range(11)]
    _, tracks = ask(frames, "follow the ducks")
    assert sorted(set(seen).pop() for seen in tracks.values()) == ["a", "b"]
    assert all(len(set(seen)) == 1 for seen in tracks.values())


def test_a_thing_that_hides_for_a_while_is_the_same_afterwards() -> None:
    wall = thing("wall", "wall", "grey", 120, 0, 170, 200)
    ball = thing("ball", "ball", "red", 10, 90, 30, 110)
    frames = [[moved(ball, 20 * t), wall] for t in range(12)]
    reply, tracks = ask(frames, "how many balls appear in the video?")
    assert reply.answer == 1
    assert len(tracks) == 1


def test_a_newcomer_is_not_taken_for_one_that_left() -> None:
    leaving = thing("old", "duck", "white", 220, 20, 270, 60)
    coming = thing("new", "duck", "white", -40, 120, 10, 160)
    frames = [
        [*([moved(leaving, 20 * t)] if t < 4 else []), *([moved(coming, 12 * t)] if t > 4 else [])] for t in range(10)
    ]
    reply, _ = ask(frames, "how many ducks are there in the clip?")
    assert reply.answer == 2
