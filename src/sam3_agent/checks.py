"""One finding of a check-up: what was looked at, how it stands, what to do about it.

`check-hardware` and `doctor` both end in a list of `Check`s, shown as one list, written as one
JSON shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "failed"]
COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what ("disk free").
        status: "failed" stops what was asked for, "warning" makes it slow or partial.
        found: how it stands, with units ("41 GB").
        advice: what to do; empty when all is well.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def worst(checks: Iterable[Check]) -> Status:
    """The gravest status among `checks`; "ok" when there are none."""
    statuses = {check.status for check in checks}
    return "failed" if "failed" in statuses else "warning" if "warning" in statuses else "ok"


def as_rows(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Plain dictionaries for JSON."""
    return [asdict(check) for check in checks]


def print_checks(title: str, checks: Sequence[Check]) -> None:
    """Show the findings on standard output, one a line and what to do below it; coloured when that is a terminal.

    No line is broken, however narrow the terminal: a path or a command can be copied as it stands.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    name_width = max((len(check.name) for check in checks), default=0)
    console.print(Text(title, style="italic"), soft_wrap=True)
    for check in checks:
        status = Text(f"{check.status:<7}", style=COLOURS[check.status])
        console.print(Text.assemble(f"{check.name:<{name_width}}  ", status, f"  {check.found}"), soft_wrap=True)
        if check.advice:
            console.print(Text(f"{'':{name_width + 11}}{check.advice}", style="dim"), soft_wrap=True)
