"""One finding of a check-up: what was looked at, how it stands, what to do about it.

`check-hardware` and `doctor` both end in a list of `Check`s, shown as one table, written as one
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


def print_table(title: str, checks: Sequence[Check]) -> None:
    """Show the findings on standard output, coloured when that is a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("what", "status", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        status = f"[{COLOURS[check.status]}]{check.status}[/]"
        table.add_row(check.name, status, escape(check.found), escape(check.advice))
    Console().print(table)
