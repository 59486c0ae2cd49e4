"""How a server that we started ends: with us, when asked to, and in time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import Any


def end(process: subprocess.Popen[Any] | None, grace: float) -> None:
    """SIGTERM, and SIGKILL after `grace` seconds; nothing to do for one that has ended or never began."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """To be run in the new process. Linux: it gets SIGTERM when its parent dies; Ctrl-C reaches the parent only."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
