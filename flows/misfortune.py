"""What happens to servers: `python -m flows.loop_demo --kill` kills each participant once, at work.

The loop has to end as if nothing had happened: servers are started again (`flows.demo_site`), lost runs go back into the
queue (`flows.resume`), a training goes on from its last step, and no step is done twice (`flows.journal`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows.demo_site import Site
from sam3.files import read_json

STEPS = ("model", "mine", "push", "annotated", "merge", "retrain", "done")
BLOWS = (  # turn, the step that is under way, who is killed
    (1, "mine", "triton"),
    (1, "annotated", "label-studio"),
    (1, "merge", "worker"),
    (1, "retrain", "trainer"),
    (2, "annotated", "redis"),
    (2, "merge", "prefect"),
    (2, "retrain", "mlflow"),
    (2, "retrain", "trainer"),
)
AT_IT = 15.0  # seconds after which a training has begun
BINARIES = {"label-studio": "label-studio", "triton": "tritonserver"}  # where a command of ours starts the server


@dataclass
class Misfortune:
    """Strikes as `BLOWS` says; each blow once.

    Attributes:
        tell: where it is said.
    """

    site: Site
    tell: Callable[[str], None]
    struck: set[tuple[int, str, str]] = field(default_factory=set)

    def look(self) -> None:
        """Kill whoever's hour has come."""
        turn, step = under_way(self.site.project)
        for blow in BLOWS:
            if blow[:2] == (turn, step) and blow not in self.struck:
                killed = self._kill(blow[2])
                if killed:
                    self.struck.add(blow)
                    self.tell(f"kill -9 of {blow[2]} ({killed}), in {step} of turn {turn}")

    def _kill(self, name: str) -> int | None:
        """The process's id, or None where there is none yet."""
        chosen = trainer_of(self.site.project) if name == "trainer" else self._server(name)
        if chosen is None:
            return None
        try:
            os.kill(chosen.pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return chosen.pid

    def _server(self, name: str) -> psutil.Process | None:
        """The server itself, not the leash that holds it, nor the command that set it up."""
        try:
            held = psutil.Process(self.site.running[name].pid).children(recursive=True)
        except psutil.Error:
            return None
        named = [one for one in held if any(BINARIES.get(name, "") in word for word in command_line(one)[:3])]
        return named[0] if named else None


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none of a process that is gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def under_way(project: Path) -> tuple[int, str]:
    """The turn that is not finished, and its first step that is not in the journal; (0, "") between turns."""
    for path in sorted((project / "outputs/loop").glob("turn-*.json")):
        done = read_json(path)
        if "done" not in done:
            return int(path.stem.removeprefix("turn-")), next(step for step in STEPS if step not in done)
    return 0, ""


def trainer_of(project: Path) -> psutil.Process | None:
    """The process that trains in this checkout, when it has been at it for a while."""
    for process in psutil.process_iter():
        words = command_line(process)
        if words and "python" in words[0] and any(word.endswith("sam3/train/train.py") for word in words):
            try:
                if process.cwd() == str(project) and time.time() - process.create_time() > AT_IT:
                    return process
            except psutil.Error:
                continue
    return None
