"""What a query asks that cannot be: raised by whichever rule sees it, told to the person in one sentence.

`effort.understood` turns it into a `Reading` without drafts. A rule raises it only where no other reading of the
words could do better. Needs nothing of the grammar, so that every part of it can import it.
"""

from __future__ import annotations

from typing import Literal


class Objection(Exception):
    """The query cannot be carried out.

    Attributes:
        trouble: "impossible" (a number that cannot be), "strange" (no English, or no words), "nothing named".
        said: one sentence for the person; "" says the usual one.
    """

    def __init__(self, trouble: Literal["impossible", "strange", "nothing named"], said: str = "") -> None:
        super().__init__(said)
        self.trouble: Literal["impossible", "strange", "nothing named"] = trouble
        self.said = said


MOST_THINGS = 1_000_000  # more than pixels to show them with


def believable(number: int, written: str) -> int:
    """A number of things; `written` as the person wrote it.

    Raises:
        Objection: no picture holds so many.
    """
    if number > MOST_THINGS:
        raise Objection("impossible", f"No picture shows {written} of anything. Please ask with a smaller number.")
    return number


def believable_share(value: float) -> float:
    """A share of the picture, 1.0 being all of it.

    Raises:
        Objection: it is more than all of it.
    """
    if value > 1:
        raise Objection("impossible", f"Nothing takes up {100 * value:.15g}% of a picture: it ends at 100%.")
    return value
