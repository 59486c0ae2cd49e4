"""Parts of the picture and orders of things: "in the top half", "the second from the left", "the largest".

Things are compared by their centres, extents (pixels) and mask areas (pixels). Called by `select.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from sam3_agent.execution.geometry import Frame, gap
from sam3_agent.execution.pool import Thing
from sam3_agent.understanding.plan import Measure, Rank, Region, Size

_POINTS = {
    "left": (0.0, 0.5), "right": (1.0, 0.5), "top": (0.5, 0.0), "bottom": (0.5, 1.0), "middle": (0.5, 0.5),
    "top left": (0.0, 0.0), "top right": (1.0, 0.0), "bottom left": (0.0, 1.0), "bottom right": (1.0, 1.0),
}  # fmt: skip
_MEASURES: dict[str, Callable[[Thing], float]] = {
    "area": lambda thing: float(thing.area), "width": lambda thing: thing.width, "height": lambda thing: thing.height,
    "length": lambda thing: thing.length,
}  # fmt: skip


def extent(thing: Thing, measure: Measure) -> float:
    """A thing's area, width, height or longer side, in pixels of the original picture."""
    return _MEASURES[measure](thing) * thing.scale ** (2 if measure == "area" else 1)


def in_region(thing: Thing, name: str, frame: Frame) -> bool:
    """Whether the thing's centre is in the named part of the picture.

    Sides are halves, corners quarters, "third" is a third; "middle" is the central half in both directions; "edge"
    means that the box reaches within 1 % of the border; "corner" that the centre is in an outer third both ways,
    and a named corner that it is in the outer 35 % both ways.
    """
    x, y = thing.cx / frame.width, thing.cy / frame.height
    if name == "middle":
        return 0.25 <= x <= 0.75 and 0.25 <= y <= 0.75
    if name == "edge":
        near = 0.01 * frame.diagonal
        return thing.x0 <= near or thing.y0 <= near or thing.x1 >= frame.width - near or thing.y1 >= frame.height - near
    if name == "corner":
        return min(x, 1 - x) < 1 / 3 and min(y, 1 - y) < 1 / 3
    limit = 1 / 3 if name.endswith("third") else 0.35 if name.endswith("corner") else 0.5
    tests = {"left": x < limit, "right": x > 1 - limit, "top": y < limit, "bottom": y > 1 - limit}
    return all(tests[word] for word in name.split() if word in tests)


def in_part(things: Sequence[Thing], region: Region, frame: Frame) -> list[Thing]:
    """The things in a region; with `pick` the single one that the words single out."""
    inside = [thing for thing in things if in_region(thing, region.name, frame) != region.negated]
    if not region.pick:
        return inside
    if region.name == "middle":
        return _middle(things, frame)
    candidates = inside or (list(things) if len(things) > 1 else [])
    point = _POINTS.get(region.name.removesuffix(" corner"))
    if point is None or len(candidates) < 2:
        return candidates[:1]
    if " " in region.name:
        return [min(candidates, key=lambda t: _distance(t, point, frame))]
    axis = 0 if region.name in ("left", "right") else 1
    return [min(candidates, key=lambda t: abs((t.cx, t.cy)[axis] - point[axis] * (frame.width, frame.height)[axis]))]


def _middle(things: Sequence[Thing], frame: Frame) -> list[Thing]:
    """The middle one of an odd number in a row, else the one nearest to the picture's centre."""
    if not things:
        return []
    if len(things) % 2:
        spread = np.ptp([t.cx for t in things]), np.ptp([t.cy for t in things])
        row = sorted(things, key=lambda t: t.cx if spread[0] >= spread[1] else t.cy)
        return [row[len(row) // 2]]
    return [min(things, key=lambda t: _distance(t, (0.5, 0.5), frame))]


def _distance(thing: Thing, point: tuple[float, float], frame: Frame) -> float:
    return float(np.hypot(thing.cx - point[0] * frame.width, thing.cy - point[1] * frame.height))


def within(thing: Thing, size: Size, frame: Frame) -> bool:
    """Whether a measure keeps its bound; shares are of the picture's area, width or height."""
    whole = {
        "area": frame.height * frame.width * frame.scale**2,
        "width": frame.width * frame.scale,
        "height": frame.height * frame.scale,
        "length": max(frame.height, frame.width) * frame.scale,
    }
    value = extent(thing, size.measure) / (whole[size.measure] if size.unit == "share" else 1)
    holds = compare(value, size.comparison, size.value) and (size.upper is None or value <= size.upper)
    return holds != size.negated


def compare(value: float, comparison: str, bound: float) -> bool:
    """`value` `comparison` `bound`."""
    if comparison == "=":
        return value == bound
    return {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}[comparison]


def ranked(things: Sequence[Thing], rank: Rank, landmarks: Sequence[Thing], frame: Frame) -> list[Thing]:
    """The things at the places that a rank asks for, in its order."""
    key = _key(rank, landmarks, frame)
    order = sorted(things, key=key, reverse=rank.reverse)
    first = rank.first - 1
    return order[first : first + rank.count] if rank.count is not None else order[:1]


def _key(rank: Rank, landmarks: Sequence[Thing], frame: Frame) -> Callable[[Thing], tuple[float, ...]]:
    if rank.by in ("area", "width", "height", "length"):
        return lambda thing: (-extent(thing, rank.by), thing.number)  # type: ignore[arg-type]
    if rank.by in ("left", "right"):
        sign = 1 if rank.by == "left" else -1
        return lambda thing: (sign * thing.cx, thing.cy)
    if rank.by in ("top", "bottom"):
        sign = 1 if rank.by == "top" else -1
        return lambda thing: (sign * thing.cy, thing.cx)
    if rank.by == "score":
        return lambda thing: (-thing.score,)
    if rank.by == "near" and landmarks:
        return lambda thing: min(
            (gap(thing, mark), float(np.hypot(thing.cx - mark.cx, thing.cy - mark.cy)))
            for mark in landmarks if mark.number != thing.number
        ) if any(mark.number != thing.number for mark in landmarks) else (float("inf"), 0.0)  # fmt: skip
    point = _POINTS.get(rank.region or "middle", (0.5, 0.5))
    return lambda thing: (_distance(thing, point, frame),)


def outstanding(things: Sequence[Thing], *, small: bool) -> list[Thing]:
    """The big (or small) ones of a group: the areas are cut at the widest relative gap.

    Used for "the big dogs" when the engine knows no big dog; a single thing is neither big nor small.
    """
    order = sorted(things, key=lambda thing: thing.area, reverse=not small)
    if len(order) < 2:
        return []
    steps = [abs(np.log(max(a.area, 1) / max(b.area, 1))) for a, b in itertools.pairwise(order)]
    widest = int(np.argmax(steps))
    return order[: widest + 1] if steps[widest] > 0.1 else []
