"""`sam3-agent`: one verb for each thing a person or a pipeline stage does.

A verb is a plain typed function in its own room, listed in `VERBS` and imported only when it is called, so
that `sam3-agent --help` answers at once. Errors a person can mend are one line; `--debug` shows the trace.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

from sam3.errors import Sam3AgentError

# verb -> (module:function, one line for --help)
VERBS: dict[str, tuple[str, str]] = {}


class LazyVerbs(TyperGroup):
    """A command group that imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, function = VERBS[name][0].split(":")
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name=name)(getattr(importlib.import_module(module), function))
        return get_command(app)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


app = typer.Typer(cls=LazyVerbs, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def root(debug: bool = typer.Option(False, "--debug", help="Show the stack trace of an error.")) -> None:
    """Ask about pictures in plain words; measure, retrain and ship the model behind the answers."""
    if debug:
        os.environ["SAM3_AGENT_DEBUG"] = "1"


def main(argv: list[str] | None = None) -> Any:
    """Run a verb; a mendable error is printed as one line and exits with 1."""
    try:
        return app(args=argv, prog_name="sam3-agent")
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
