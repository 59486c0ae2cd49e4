"""Places, orders and sizes: "in the top half", "closest to the knife", "more than 10 % of the picture".

Each rule takes the cursor and gives a filter (or a rank), or None with the cursor unmoved. Called by
`modifiers.py`, for what stands behind a noun and for what is said about it.
"""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.determiners import number_at
from sam3_agent.understanding.objection import believable_share
from sam3_agent.understanding.plan import Comparison, Region, Size
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_BOUND = PhraseTable(
    [
        *(
            (p, ">")
            for p in (
                "more than",
                "over",
                "greater than",
                "larger than",
                "bigger than",
                "above",
                "exceeding",
                "in excess of",
                "upwards of",
            )
        ),
        *((p, "<") for p in ("less than", "under", "smaller than", "below", "fewer than", "not even")),
        *((p, ">=") for p in ("at least", "no less than", "not less than", "a minimum of", "no smaller than")),
        *(
            (p, "<=")
            for p in (
                "at most",
                "no more than",
                "not more than",
                "up to",
                "a maximum of",
                "no larger than",
                "no bigger than",
            )
        ),
    ]
)
_COVERS = PhraseTable.of(
    "take up|takes up|taking up|cover|covers|covering|occupy|occupies|occupying|fill|fills|filling|make up|"
    "makes up|making up|span|spans|spanning|account for|accounts for|with an area of|whose area is|"
    "with an area|whose size is|have an area of|has an area of|having an area of|use|uses|with a size of|"
    "of size|with area|is|are|taking|take|measuring|that is|that are|with a size|whose area exceeds|"
    "comprise|comprises",
    True,
)


def region(cursor: Cursor, *, bare: bool = False) -> tuple[Region, bool] | None:
    """ "in the top half (of the picture)": the region, and whether its bounds are strict ("half", "third").

    "on the left of the laptop" is a relation and not matched. With `bare` no preposition is needed.
    """
    start = cursor.at
    preposition = cursor.take(
        "over in",
        "over on",
        "over at",
        "in",
        "on",
        "at",
        "to",
        "towards",
        "toward",
        "along",
        "near",
        "from",
        "within",
        "around",
        "inside",
        "touching",
        "by",
        "up in",
        "down in",
        "down at",
        "up at",
    )
    if preposition is None and not bare:
        return None
    cursor.take("the very", "the", "its", "a", "one", "any", "an")
    match = lex.REGIONS.take(cursor)
    strict = cursor.word(-1) in lex.STRICT_AREAS
    image = cursor.peek()
    if match is None:
        cursor.at = start
        return None
    if image is not None and image.kind == "image":
        cursor.at += 1
    elif cursor.take("of the frame", "of the screen", "of the shot", "of the view", "of frame"):
        pass
    elif cursor.word() == "of" or (cursor.word() not in lex.STOP and cursor.word().isalpha() and bare):
        cursor.at = start
        return None
    return Region(name=match), strict  # type: ignore[arg-type]


def size(cursor: Cursor) -> Size | None:
    """ "take up more than 10 % of the picture", "wider than 100 pixels", "larger than a quarter of the image"."""
    start = cursor.at
    if cursor.word() in ("of", "with") and _BOUND.match(cursor, ahead=1):
        cursor.at += 1
    _COVERS.take(cursor)
    measure, comparison = "area", None
    word = cursor.word()
    if word in lex.COMPARATIVES and cursor.word(1) == "than":
        measure, bigger = lex.COMPARATIVES[word]
        comparison = ">" if bigger else "<"
        cursor.at += 2
    else:
        comparison = _BOUND.take(cursor)
    if comparison is None and measure == "area" and cursor.take("between"):
        return _span(cursor, start)
    amount = share(cursor) if comparison else None
    if comparison is None or amount is None:
        cursor.at = start
        return None
    value, unit = amount
    cursor.take("coverage", "of coverage", "area", "in area", "in size")
    if unit == "share":
        believable_share(value)
    if unit == "pixels" and measure == "area":
        named = cursor.take("tall", "high", "wide", "long", "in height", "in width", "across")
        measure = {
            "tall": "height",
            "high": "height",
            "in height": "height",
            "wide": "width",
            "across": "width",
            "in width": "width",
            "long": "length",
        }.get(named or "", "area")
    bound: Comparison = comparison  # type: ignore[assignment]
    return Size(measure=measure, comparison=bound, value=value, unit=unit)  # type: ignore[arg-type]


def _span(cursor: Cursor, start: int) -> Size | None:
    """ "between 1 percent and 5 percent": kept as the lower bound with the upper one beside it."""
    low = share(cursor) or _bare_number(cursor)
    high = share(cursor) if low and cursor.take("and") else None
    if low is None or high is None:
        cursor.at = start
        return None
    if low[1] == "as above":
        low = (low[0] / 100 if high[1] == "share" else low[0], high[1])
    if high[1] == "share":
        believable_share(max(low[0], high[0]))
    return Size(comparison=">=", value=low[0], upper=high[0], unit=low[1])  # type: ignore[arg-type]


def _bare_number(cursor: Cursor) -> tuple[float, str] | None:
    """ "between 2 | and 5 percent": the unit comes with the second number."""
    number = number_at(cursor)
    if number is None or cursor.word(1) != "and":
        return None
    cursor.at += 1
    return float(number), "as above"


def share(cursor: Cursor) -> tuple[float, str] | None:
    """ "10 percent of the picture", "a quarter of it", "half the image", "500 pixels": value and unit."""
    start = cursor.at
    value = fraction(cursor)
    if value is not None:
        _of_the_picture(cursor)
        return value, "share"
    token = cursor.peek()
    number = token.value if token is not None and token.kind == "number" else number_at(cursor)
    if number is not None:
        cursor.at += 1
        if cursor.take("square pixels", "pixels", "pixel", "px", "px2", "square px"):
            return float(number), "pixels"
    cursor.at = start
    return None


def fraction(cursor: Cursor) -> float | None:
    """ "10 percent", "a third", "two thirds", "half", "0.1"; as a number from 0 to 1."""
    start = cursor.at
    token = cursor.peek()
    number = token.value if token is not None and token.kind == "number" else number_at(cursor)
    if number is not None:
        cursor.at += 1
        if cursor.take("percent", "per cent", "pct"):
            return float(number) / 100
        if cursor.word() in lex.FRACTIONS:
            cursor.at += 1
            return float(number) * lex.FRACTIONS[cursor.word(-1)]
        following = cursor.peek()
        if 0 < number < 1 and following is not None and following.preposition == "of":
            return float(number)
        cursor.at = start
    cursor.take("a", "an", "one", "the")
    if (cursor.word() in lex.FRACTIONS and cursor.word() != "third") or (cursor.take("third") and _steps_back(cursor)):
        cursor.at += 1
        return lex.FRACTIONS[cursor.word(-1)]
    cursor.at = start
    return None


def _steps_back(cursor: Cursor) -> bool:
    cursor.at -= 1
    return True


def _of_the_picture(cursor: Cursor) -> None:
    token = cursor.peek()
    if token is not None and token.kind == "image":
        cursor.at += 1
        return
    cursor.take(
        "the picture",
        "the image",
        "the photo",
        "the frame",
        "the whole picture",
        "the whole image",
        "of the area",
        "of the total area",
        "of the whole",
        "of it",
        "of the frame",
        "of the total",
        "of the space",
    )
    token = cursor.peek()
    if token is not None and token.kind == "image" and token.preposition == "of":
        cursor.at += 1
