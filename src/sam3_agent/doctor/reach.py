"""Three short questions: does a host answer, does a URL answer, can a folder be written?

Each takes at most `TIMEOUT` seconds, except on a network drive that hangs; `doctor` gives up on that itself.
"""

from __future__ import annotations

import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from sam3_agent.hardware.disk import nearest_folder

TIMEOUT = 3.0  # seconds


def connects(host: str, port: int) -> str:
    """Open and close a TCP connection; "" when it worked, else the reason."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT):
            return ""
    except OSError as error:
        return f"{host}:{port} does not answer ({error.strerror or error})"


def answers(url: str) -> str:
    """GET an http(s) address; "" when any answer below 500 came, else the reason."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code < 500 else f"{without_secrets(url)} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{without_secrets(url)} does not answer ({getattr(error, 'reason', error)})"


def writable(folder: Path) -> str:
    """Make and remove a temporary file in `folder`, or above it where it does not exist; "" or the reason."""
    try:
        with tempfile.NamedTemporaryFile(dir=nearest_folder(folder), prefix=".doctor-"):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def without_secrets(url: str) -> str:
    """The address without a user name and password in it, for showing."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at and "://" in head else url
