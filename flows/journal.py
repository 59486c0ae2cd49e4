"""What a run has done already, so that it goes on instead of beginning again; and who is at it.

    with alone("loop") as held, Journal(Path("outputs/loop/turn-1.json")) ...
    batch = journal.once("mine", lambda: mine(...))      # a step that is in the journal is not done again

A step is written down when it is over. Killed between a step's effect and its line, the step is done again, so every
step is one that ends the same when repeated. Locks are the kernel's: they end with the process, however it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sam3.errors import Unavailable
from sam3.files import read_json, write_json
from sam3.locks import is_free

LOCKS = Path("outputs/flows")


class Journal:
    """The steps of one turn, by name, with what each returned (plain values)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: dict[str, Any] = read_json(path) if path.is_file() else {}

    def once(self, step: str, work: Callable[[], Any]) -> Any:
        """What the step returned; done now unless it is done."""
        if step not in self.steps:
            outcome = work()
            self.steps[step] = outcome
            write_json(self.path, self.steps)
        return self.steps[step]

    def forget(self, *steps: str) -> None:
        """Let steps be done again."""
        self.steps = {name: value for name, value in self.steps.items() if name not in steps}
        write_json(self.path, self.steps)


@contextmanager
def alone(name: str, *, patience: float = 0.0, every: float = 1.0, locks: Path = LOCKS) -> Iterator[None]:
    """One process at a time for what `name` says, on this machine or shared disk.

    Args:
        patience: seconds to wait for another one to end.

    Raises:
        Unavailable: another one is at it still.
    """
    locks.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience
    with (locks / f"{name}.lock").open("a") as guard:
        while not is_free(guard):
            if time.monotonic() >= end:
                raise Unavailable(f"{name}: another one is at it. Wait until it is over.", field=name)
            time.sleep(every)
        yield


def is_alive(name: str, locks: Path = LOCKS) -> bool | None:
    """Whether a process holds `name`; None where nobody ever did."""
    path = locks / f"{name}.lock"
    if not path.is_file():
        return None
    with path.open("a") as guard:
        return not is_free(guard)
