"""The one error that people see.

Whatever goes wrong because of what somebody gave us (a file, a row, a field, a setting) is raised as a
subclass of `Sam3AgentError`: one line that names the thing, what was expected and the way out. The CLI
prints that line, the API sends it as `{"error": {"code", "message", "field"}}`; a stack trace is for bugs.
"""

from __future__ import annotations


class Sam3AgentError(Exception):
    """Something a person can mend.

    Args:
        message: one line: what, where, what was expected, what to do next.
        field: the parameter, column or key at fault, if there is one.
    """

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.field = field


class BadInput(Sam3AgentError):
    """A value, file or picture that cannot be used."""

    code = "bad_input"


class BadCheckpoint(Sam3AgentError):
    """Weights that are missing, damaged, or of another model."""

    code = "bad_checkpoint"


class BadConfig(Sam3AgentError):
    """A setting in params.yaml, configs/ or the environment that cannot be used."""

    code = "bad_config"


class Unavailable(Sam3AgentError):
    """A device, server or optional part that is not there."""

    code = "unavailable"
