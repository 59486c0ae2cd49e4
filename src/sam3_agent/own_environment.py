"""Environments of servers that cannot live in the project's own: made once with uv from a hashed lock, found again.

    folder = own_environment("label-studio", Path("label-studio-requirements.lock"), "1 GB")

They lie in the user's cache; SAM3_AGENT_CACHE names another folder. A changed lock is another environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sam3.errors import Unavailable


def cache_folder() -> Path:
    """Where environments are kept: SAM3_AGENT_CACHE, or sam3-agent in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("SAM3_AGENT_CACHE") or Path(home) / "sam3-agent")


def own_environment(name: str, lock: Path, size: str, finish: Callable[[Path], None] = lambda folder: None) -> Path:
    """The folder of an environment, made now if need be.

    Args:
        name: of the server. lock: what to install, with hashes. size: what it takes, for people to know.
        finish: what else belongs to it; called with its folder before it counts as made.

    Raises:
        Unavailable: no uv, or the packages cannot be had.
    """
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    mark = hashlib.sha256(lock.read_bytes() + version.encode() + sys.base_prefix.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{mark}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{name}-{mark}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two starts at once make one environment
        if not (folder / "ready").is_file():
            print(f"setting up the environment of {name} in {folder} (once, {size})", file=sys.stderr)
            uv = _uv()
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            _run([uv, "pip", "sync", "--quiet", "--python", str(folder / "bin/python"), str(lock)])
            finish(folder)
            (folder / "ready").touch()
    return folder


def _uv() -> str:
    """uv from the path, or where `make setup` puts it."""
    beside = Path(sys.prefix) / "tool/bin/uv"
    found = shutil.which("uv") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise Unavailable("uv is not on the path. Run `make setup`, or install it: pip install uv", field="uv")
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no output"]
        raise Unavailable(f"{command[0]} {command[1]}: {last[0][:200]}. Is the package index within reach?")
