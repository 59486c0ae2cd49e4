"""Rules on masks: what "left of", "on", "between", "the second from the left" mean."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_agent.execution.geometry import RELATIONS, Frame, between, related, touching
from sam3_agent.execution.orders import in_part, in_region, outstanding, ranked, within
from sam3_agent.execution.pool import Pool, Thing, box_iou
from sam3_agent.understanding.plan import Rank, Region, Size

FRAME = Frame(300, 400)
Box = tuple[int, int, int, int]


def at(*box: int, number: int = 0) -> Thing:
    mask = np.zeros((300, 400), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Thing(number, mask, tuple(map(float, box)), 0.9, "thing")  # type: ignore[arg-type]


TABLE: Box = (100, 150, 300, 170)


@pytest.mark.parametrize(
    ("name", "thing", "landmark", "holds"),
    [
        ("left of", (10, 100, 60, 150), (200, 100, 250, 150), True),
        ("left of", (300, 100, 350, 150), (200, 100, 250, 150), False),
        ("left of", (180, 100, 230, 150), (170, 100, 260, 150), False),
        ("right of", (300, 10, 350, 50), (200, 100, 250, 150), True),
        ("above", (100, 10, 150, 50), (100, 100, 150, 150), True),
        ("below", (100, 10, 150, 50), (100, 100, 150, 150), False),
        ("on", (150, 110, 180, 152), TABLE, True),  # stands on it
        ("on", (150, 200, 180, 240), TABLE, False),  # lies under it
        ("on", (20, 110, 60, 152), TABLE, False),  # beside it
        ("on", (120, 100, 140, 120), (100, 80, 200, 200), True),  # lies within it
        ("under", (150, 200, 180, 240), TABLE, True),
        ("under", (150, 110, 180, 152), TABLE, False),
        ("under", (20, 200, 60, 240), TABLE, False),
        ("inside", (120, 100, 140, 120), (100, 80, 200, 200), True),
        ("inside", (20, 100, 40, 120), (100, 80, 200, 200), False),
        ("next to", (60, 150, 95, 170), TABLE, True),
        ("next to", (320, 20, 340, 40), (60, 150, 95, 170), False),
        ("touching", (60, 150, 99, 170), TABLE, True),
        ("touching", (60, 150, 90, 170), TABLE, False),
        ("in front of", (150, 160, 180, 240), TABLE, True),
        ("behind", (150, 100, 180, 160), TABLE, True),
        ("with", (100, 100, 200, 200), (190, 120, 220, 160), True),
    ],
)
def test_relation(name: str, thing: Box, landmark: Box, holds: bool) -> None:
    assert RELATIONS[name](at(*thing), at(*landmark, number=1), FRAME) is holds


@pytest.mark.parametrize(
    ("thing", "holds"),
    [
        ((180, 100, 210, 200), True),
        ((350, 100, 380, 200), False),
        ((180, 280, 210, 298), False),
        ((10, 100, 20, 200), False),
    ],
)
def test_between(thing: Box, holds: bool) -> None:
    assert between(at(*thing), at(40, 100, 80, 200, number=1), at(300, 100, 340, 200, number=2)) is holds


def test_a_thing_stands_in_no_relation_to_itself() -> None:
    one = at(10, 10, 50, 50)
    assert related("touching", [one], [one], FRAME, of_all=False) == []


def test_next_to_takes_the_nearest_when_nothing_is_quite_near() -> None:
    near, far, mark = at(10, 100, 40, 140, number=0), at(320, 100, 390, 140, number=1), at(100, 100, 160, 140, number=2)
    assert related("next to", [near, far], [mark], FRAME, of_all=False) == [near]


def test_masks_that_only_meet_in_their_boxes_do_not_touch() -> None:
    one, other = at(0, 0, 100, 100), at(60, 60, 160, 160, number=1)
    one.mask[50:, 50:] = False
    other.mask[:110, :110] = False
    assert not touching(one, other, FRAME)


@pytest.mark.parametrize(
    ("name", "box", "holds"),
    [
        ("left", (10, 10, 50, 50), True), ("left", (250, 10, 290, 50), False), ("top", (10, 10, 50, 50), True),
        ("bottom right", (300, 200, 350, 280), True), ("bottom right", (300, 20, 350, 80), False),
        ("left third", (150, 10, 170, 50), False), ("middle", (180, 130, 220, 170), True),
        ("middle", (10, 130, 40, 170), False), ("edge", (0, 100, 30, 140), True), ("edge", (100, 100, 130, 140), False),
        ("corner", (5, 5, 40, 40), True), ("bottom left corner", (115, 225, 177, 271), False),
    ],
)  # fmt: skip
def test_region(name: str, box: Box, holds: bool) -> None:
    assert in_region(at(*box), name, FRAME) is holds


def test_the_one_on_the_left_is_the_leftmost() -> None:
    row = [at(x, 100, x + 30, 140, number=i) for i, x in enumerate((20, 120, 220, 320))]
    assert in_part(row, Region(name="left", pick=True), FRAME) == [row[0]]
    assert in_part(row, Region(name="left"), FRAME) == row[:2]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (Rank(by="left"), [0]), (Rank(by="right"), [3]), (Rank(by="left", first=2), [1]),
        (Rank(by="right", count=2), [3, 2]), (Rank(by="area"), [3]), (Rank(by="area", reverse=True), [0]),
        (Rank(by="area", first=2), [2]), (Rank(by="height", count=3), [3, 2, 1]), (Rank(by="left", first=5), []),
    ],
)  # fmt: skip
def test_rank(rank: Rank, expected: list[int]) -> None:
    row = [at(20 + 90 * i, 100, 40 + 95 * i, 120 + 10 * i, number=i) for i in range(4)]
    assert [thing.number for thing in ranked(row, rank, [], FRAME)] == expected


@pytest.mark.parametrize(
    ("size", "holds"),
    [
        (Size(comparison=">", value=0.1), True), (Size(comparison=">", value=0.2), False),
        (Size(comparison=">=", value=0.1, upper=0.2), True), (Size(comparison="<", value=0.1, negated=True), True),
        (Size(measure="width", comparison=">", value=150, unit="pixels"), False),
    ],
)  # fmt: skip
def test_size(size: Size, holds: bool) -> None:
    assert within(at(0, 0, 150, 100), size, FRAME) is holds  # 12.5 % of the picture


def test_the_big_ones_are_those_before_the_widest_step() -> None:
    things = [at(0, 0, 100, 100, number=0), at(0, 0, 90, 100, number=1), at(0, 0, 20, 20, number=2)]
    assert [thing.number for thing in outstanding(things, small=False)] == [0, 1]
    assert [thing.number for thing in outstanding(things, small=True)] == [2]
    assert outstanding(things[:1], small=False) == []


def test_one_thing_found_by_two_phrases_is_in_the_pool_once() -> None:
    pool, one = Pool(300, 400), at(10, 10, 60, 60)
    found = Pool(300, 400).detections([], 0.9, {})
    found.boxes, found.scores, found.masks = (
        np.array([one.box], np.float32),
        np.array([0.9], np.float32),
        one.mask[None],
    )
    pool.add("car", found, 0.5)
    pool.add("red car", found, 0.5)
    pool.add("unlikely car", found, 0.95)
    assert len(pool.things) == 1
    assert pool.found == {"car": (0,), "red car": (0,), "unlikely car": ()}


def test_box_iou() -> None:
    assert box_iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0
    assert box_iou((0, 0, 10, 10), (20, 20, 30, 30)) == 0.0
