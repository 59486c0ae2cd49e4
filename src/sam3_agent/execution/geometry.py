"""Where things are: rules on boxes and masks, one function each, each defined in its docstring.

All lengths are pixels of the original image, y grows downwards. A picture has no depth: "behind" and "in front of"
go by who stands lower in the image. `RELATIONS` is the table of the rules; `between` takes two landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sam3_agent.execution.pool import Thing

NEAR = 0.08  # "next to": a gap of at most this share of the picture's diagonal, or half the smaller thing
TOUCH = 2  # pixels between two masks that touch


@dataclass(frozen=True)
class Frame:
    """The picture's size in pixels; `scale`: original pixels per pixel."""

    height: int
    width: int
    scale: float = 1.0

    @property
    def diagonal(self) -> float:
        """Length of the diagonal."""
        return float(np.hypot(self.height, self.width))


Rule = Callable[[Thing, Thing, Frame], bool]


def left_of(a: Thing, b: Thing, frame: Frame) -> bool:
    """The centre of `a` is left of all of `b`, or all of `a` is left of `b`'s centre."""
    return a.cx < b.x0 or a.x1 <= b.cx


def right_of(a: Thing, b: Thing, frame: Frame) -> bool:
    """The mirror image of `left_of`."""
    return a.cx > b.x1 or a.x0 >= b.cx


def above(a: Thing, b: Thing, frame: Frame) -> bool:
    """The centre of `a` is higher than all of `b`, or all of `a` is higher than `b`'s centre."""
    return a.cy < b.y0 or a.y1 <= b.cy


def below(a: Thing, b: Thing, frame: Frame) -> bool:
    """`above`, upside down."""
    return a.cy > b.y1 or a.y0 >= b.cy


def share_inside(a: Thing, b: Thing) -> float:
    """The share of `a`'s box that lies in `b`'s box."""
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(wide, 0.0) * max(high, 0.0) / max(a.width * a.height, 1e-6)


def on(a: Thing, b: Thing, frame: Frame) -> bool:
    """`a` stands on `b` or lies within it.

    Stands: its centre is over `b`'s width, its foot is between `b`'s top and bottom edge (with a slack of 3 % of the
    picture's height) and its centre is higher than `b`'s. Lies: at least 70 % of its box is in `b`'s box.
    """
    slack = 0.03 * frame.height
    stands = b.x0 <= a.cx <= b.x1 and b.y0 - slack <= a.y1 <= b.y1 + slack and a.cy < b.cy
    return stands or (share_inside(a, b) >= 0.7 and a.area < b.width * b.height)


def under(a: Thing, b: Thing, frame: Frame) -> bool:
    """The centre of `a` is within `b`'s width (and a tenth), lower than `b`'s centre, and `a` begins below `b`'s top."""
    margin = 0.1 * b.width
    return b.x0 - margin <= a.cx <= b.x1 + margin and a.cy > b.cy and a.y0 >= b.y0 and a.y1 > b.y1 - 0.02 * frame.height


def inside(a: Thing, b: Thing, frame: Frame) -> bool:
    """At least 70 % of `a`'s box is in `b`'s box and `a` is the smaller one."""
    return share_inside(a, b) >= 0.7 and a.area < b.width * b.height


def partly_inside(a: Thing, b: Thing, frame: Frame) -> bool:
    """Second best for `inside`: `a` sticks out of `b` ("flowers in a vase") with its foot and 30 % of it within."""
    return share_inside(a, b) >= 0.3 and b.x0 <= a.cx <= b.x1 and b.y0 <= a.y1 <= b.y1 + 0.03 * frame.height


def gap(a: Thing, b: Thing) -> float:
    """The distance between two boxes; 0 where they meet."""
    wide = max(b.x0 - a.x1, a.x0 - b.x1, 0.0)
    high = max(b.y0 - a.y1, a.y0 - b.y1, 0.0)
    return float(np.hypot(wide, high))


def next_to(a: Thing, b: Thing, frame: Frame) -> bool:
    """The gap is at most 8 % of the diagonal, or half the length of the smaller thing."""
    return gap(a, b) <= max(NEAR * frame.diagonal, 0.5 * min(a.length, b.length))


def touching(a: Thing, b: Thing, frame: Frame) -> bool:
    """At most two pixels lie between the masks (no path is searched: a square neighbourhood is compared)."""
    if gap(a, b) > TOUCH:
        return False
    x0, y0 = int(max(min(a.x0, b.x0) - TOUCH, 0)), int(max(min(a.y0, b.y0) - TOUCH, 0))
    x1, y1 = int(max(a.x1, b.x1)) + TOUCH + 1, int(max(a.y1, b.y1)) + TOUCH + 1
    first, second = a.mask[y0:y1, x0:x1], b.mask[y0:y1, x0:x1]
    grown = first.copy()
    for axis in (0, 1):
        wider = grown.copy()
        for shift in range(1, TOUCH + 1):
            lower, upper = [slice(None)] * 2, [slice(None)] * 2
            lower[axis], upper[axis] = slice(shift, None), slice(None, -shift)
            wider[tuple(lower)] |= grown[tuple(upper)]
            wider[tuple(upper)] |= grown[tuple(lower)]
        grown = wider
    return bool((grown & second).any())


def in_front_of(a: Thing, b: Thing, frame: Frame) -> bool:
    """`a` is near `b` across the picture, and its foot is lower in the image than `b`'s."""
    return _same_column(a, b, frame) and a.y1 > b.y1


def behind(a: Thing, b: Thing, frame: Frame) -> bool:
    """`a` is near `b` across the picture, and its foot is higher in the image than `b`'s."""
    return _same_column(a, b, frame) and a.y1 < b.y1


def _same_column(a: Thing, b: Thing, frame: Frame) -> bool:
    return columns_meet(a, b) and gap(a, b) <= 0.25 * frame.diagonal


def around(a: Thing, b: Thing, frame: Frame) -> bool:
    """`a` holds `b` in its box, or is next to it."""
    return inside(b, a, frame) or next_to(a, b, frame)


def having(a: Thing, b: Thing, frame: Frame) -> bool:
    """ "a with b": `b` is on, in or at `a`; the boxes meet or nearly so (2 % of the diagonal)."""
    return gap(a, b) <= 0.02 * frame.diagonal


RELATIONS: dict[str, Rule] = {
    "left of": left_of, "right of": right_of, "above": above, "below": below, "on": on, "under": under,
    "inside": inside, "next to": next_to, "touching": touching, "in front of": in_front_of, "behind": behind,
    "around": around, "with": having,
}  # fmt: skip


def columns_meet(a: Thing, b: Thing) -> bool:
    """Whether the boxes share a column of pixels."""
    return a.x0 < b.x1 and b.x0 < a.x1


def rows_meet(a: Thing, b: Thing) -> bool:
    """Whether the boxes share a row of pixels."""
    return a.y0 < b.y1 and b.y0 < a.y1


def related(
    name: str, things: Sequence[Thing], landmarks: Sequence[Thing], frame: Frame, *, of_all: bool, one: bool = False
) -> list[Thing]:
    """The things that stand in a relation to the landmarks (to all of them, for directions, with `of_all`).

    Where `one` thing is meant, "above" and "below" prefer what is in the landmark's column; "next to" prefers what is
    beside it to what is over it. Where the strict rule finds nothing, "inside" has a second best, and "next to" takes
    the nearest (and what is hardly farther).
    """
    quantifier = all if of_all and name in ("left of", "right of", "above", "below") else any

    def holding(rule: Rule) -> list[Thing]:
        chosen = []
        for thing in things:
            others = [mark for mark in landmarks if mark.number != thing.number]
            if others and quantifier(rule(thing, mark, frame) for mark in others):
                chosen.append(thing)
        return chosen

    found = holding(RELATIONS[name])
    if name == "next to" or (one and name in ("above", "below")):
        meets = rows_meet if name == "next to" else columns_meet
        beside = [t for t in found if any(meets(t, mark) for mark in landmarks if mark.number != t.number)]
        found = beside or found
    if not found and name == "inside":
        found = holding(partly_inside)
    if not found and name == "next to":
        found = _nearest(things, landmarks, 0.25 * frame.diagonal)
    return found


def _nearest(things: Sequence[Thing], landmarks: Sequence[Thing], limit: float) -> list[Thing]:
    gaps = {t.number: min((gap(t, m) for m in landmarks if m.number != t.number), default=limit + 1) for t in things}
    best = min(gaps.values(), default=limit + 1)
    return [t for t in things if best <= limit and gaps[t.number] <= 1.2 * best]


def between(thing: Thing, first: Thing, second: Thing) -> bool:
    """The thing's centre lies between the centres of the two, and near the line that joins them.

    Along the line from centre to centre it projects inside; across, it is no farther off than half the largest extent.
    """
    start, end = np.array([first.cx, first.cy]), np.array([second.cx, second.cy])
    way = end - start
    length = float(np.hypot(*way))
    if length == 0:
        return False
    along = float((np.array([thing.cx, thing.cy]) - start) @ way) / length**2
    off = abs(float(way[0] * (thing.cy - start[1]) - way[1] * (thing.cx - start[0]))) / length
    return 0.0 < along < 1.0 and off <= max(first.length, second.length, thing.length) / 2 + 1
