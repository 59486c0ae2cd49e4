"""How long a job may take, as people and SLURM spell it."""

from __future__ import annotations

import re

from sam3.errors import BadConfig


def minutes(text: str) -> int:
    """SLURM's spelling of a time limit (minutes, H:MM:SS, D-HH:MM:SS, ...) in minutes.

    Raises:
        BadConfig: none of those.
    """
    found = re.fullmatch(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})", text.strip())
    if not found:
        raise BadConfig(f"--time {text}: expected minutes, H:MM:SS or D-HH:MM:SS.", field="time")
    parts = [int(part) for part in found["rest"].split(":")]
    if found["days"] is not None:
        hours, mins, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0, parts[0], parts[1] if len(parts) > 1 else 0
    total = int(found["days"] or 0) * 1440 + hours * 60 + mins + (seconds > 0)
    if not total:
        raise BadConfig(f"--time {text}: no time at all.", field="time")
    return total
