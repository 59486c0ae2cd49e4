"""A real Label Studio with our backend, for tests: made with the command a user uses, on free ports, ended by its pid."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sam3.errors import Unavailable
from sam3_agent.annotation.backend import create_app
from sam3_agent.annotation.environment import label_studio
from sam3_agent.annotation.prompting import Prompter, load_prompter
from sam3_agent.annotation.server import StudioServer, free_port
from sam3_agent.annotation.studio import Studio


@dataclass
class Studios:
    """The server, how to reach it, and where things lie."""

    server: StudioServer
    studio: Studio
    files: Path
    out: Path
    prompters: list[Prompter] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def prompter(self) -> Prompter:
        with self.turn:
            if not self.prompters:
                self.prompters.append(load_prompter("sam3-lite"))
        return self.prompters[0]

    def annotate(self, task: int, result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """What an annotator's "Submit" does."""
        return self.studio.call("POST", f"/api/tasks/{task}/annotations/", json={"result": result, **more})


@contextmanager
def studios(folder: Path) -> Iterator[Studios]:
    """Both servers; the test is skipped where the packages of Label Studio cannot be had."""
    try:
        label_studio()
    except Unavailable as error:
        pytest.skip(f"Label Studio's packages cannot be installed here: {error}")
    port = free_port()
    server = StudioServer(folder / "home", folder / "to_annotate", backend=f"http://127.0.0.1:{port}")
    made = Studios(server, server.start(), folder / "to_annotate", folder / "annotated")
    app = create_app(made.prompter, lambda: made.studio, made.out)
    backend = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=backend.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        backend.should_exit = True
        thread.join(10)
        server.stop()


def wait_for(condition: Any, seconds: float = 30.0) -> Any:
    """The first true value of `condition()`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"nothing in {seconds:.0f} s")
