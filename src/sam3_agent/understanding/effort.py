"""How much work a query may cause. People's questions need a few hundred looks at the word tables; a stranger's trick
("not the not the not the ...") could need billions, or nest deeper than Python does. Such a query is not understood.
"""

from __future__ import annotations

import math
from typing import Any

from sam3_agent.understanding.grammar import Reading, read
from sam3_agent.understanding.objection import Objection
from sam3_agent.understanding.sense import object_to, object_to_plan
from sam3_agent.understanding.tokens import EFFORT, TooMuch

MOST_LOOKS = 2_500  # five times what the longest question of the tests needs; a look takes some 2 microseconds
DEEPEST = 60  # levels of a plan as data; a "left of the ..." takes three


def understood(text: str, images: int = 1) -> Reading:
    """`grammar.read`, within bounds: what is beyond them is "too much", what cannot be has its own sentence."""
    EFFORT.left = MOST_LOOKS
    try:
        object_to(text)
        reading = read(text, images)
        for draft in reading.drafts:
            object_to_plan(draft.plan)
    except (RecursionError, TooMuch):
        return Reading((), "too much")
    except Objection as objection:
        return Reading((), objection.trouble, said=objection.said)
    finally:
        EFFORT.left = math.inf
    if any(_depth(draft.plan.model_dump()) > DEEPEST for draft in reading.drafts):
        return Reading((), "too much")
    return reading


def _depth(part: Any) -> int:
    """How deeply a plan is nested; one far deeper than people speak would exhaust whoever walks it later."""
    if isinstance(part, dict):
        return 1 + max((_depth(value) for value in part.values()), default=0)
    if isinstance(part, list | tuple):
        return max((_depth(value) for value in part), default=0)
    return 0
