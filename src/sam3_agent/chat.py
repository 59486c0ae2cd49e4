"""`sam3-agent chat farm.jpg`: a conversation about pictures at the terminal.

Words are questions; a line that starts with a slash is for the program: /add PICTURE, /save PICTURE.png, /json FILE,
/explain, /threshold 0.4, /pictures, /help, /quit. Pictures dragged into the terminal (a line that is a path) are added.
"""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3.errors import BadInput, Sam3AgentError

if TYPE_CHECKING:
    from rich.console import Console

    from sam3_agent.conversation import Reply, Session

HELP = "/add PICTURE  /pictures  /save FILE.png  /json FILE  /explain  /threshold 0.4  /quit"


def chat(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures to talk about.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lower scores are not believed.")] = 0.5,
) -> None:
    """Talk about pictures."""
    from rich.console import Console

    from sam3_agent.conversation import Agent
    from sam3_agent.understanding.language_model import LanguageModel

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  arrow keys and history in input()

    agent = Agent(
        checkpoint=checkpoint, engine_name=engine, threshold=threshold, floor=min(0.2, threshold),
        planner=LanguageModel.from_environment(),
    )  # fmt: skip
    talk = Talk(agent.session(), Console(highlight=False))
    for picture in pictures or []:
        talk.add(picture)
    talk.console.print(f"Ask about your pictures. {HELP}", style="dim")
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            talk.console.print()
            return
        if not talk.hear(line):
            return


class Talk:
    """One conversation at a terminal.

    Args:
        session: who answers. console: where it is shown.
    """

    def __init__(self, session: Session, console: Console) -> None:
        self.session, self.console = session, console
        self.waiting: list[Any] = []  # pictures that go with the next question
        self.names: list[str] = []
        self.reply: Reply | None = None

    def hear(self, line: str) -> bool:
        """Do what a line says; False when it says goodbye. What goes wrong is one line, and the talk goes on."""
        words = line.strip()
        try:
            if words in ("/quit", "/exit", "/q"):
                return False
            if words and (path := _path(words)) is not None:
                self.add(path)
            elif words.startswith("/"):
                self._command(words)
            elif words:
                self._ask(words)
        except Sam3AgentError as error:
            self.console.print(str(error), style="red", markup=False)
        except KeyboardInterrupt:
            self.console.print("stopped", style="yellow")
        return True

    def add(self, path: Path) -> None:
        """One more picture; it is read now, so that a wrong one is known at once."""
        from sam3_agent.execution.media import medium

        self.waiting.append(medium(path))
        self.names.append(path.name)
        self.console.print(f"picture {len(self.names)}: {path.name}", style="dim", markup=False)

    def _ask(self, query: str) -> None:
        from sam3_agent.ask import far, show

        media, self.waiting = self.waiting, []
        with self.console.status("looking") as status:
            found = lambda plan, outcome: status.update(f"{outcome.text}  outlining")  # noqa: E731
            self.session.watching = lambda news: status.update(far(news))
            self.reply = self.session.ask(query, media, found=found)
        show(self.reply, [], self.console)

    def _command(self, line: str) -> None:
        from sam3.files import write_json
        from sam3_agent.ask import write_overlay

        try:
            verb, *rest = shlex.split(line)
        except ValueError as error:
            raise BadInput(f"{line}: {error}.") from error
        value = rest[0] if rest else ""
        if verb == "/add" and value:
            for path in rest:
                self.add(Path(path))
        elif verb == "/pictures":
            self.console.print("\n".join(f"{n}: {name}" for n, name in enumerate(self.names, 1)) or "none yet")
        elif verb == "/threshold" and value:
            self.session.threshold = _share(value)
        elif verb in ("/save", "/json", "/explain") and self.reply is None:
            raise BadInput("ask something first.")
        elif verb == "/save" and value and self.reply is not None:
            if not self.reply.results:
                raise BadInput("there is nothing to draw in the last answer.")
            for drawn in write_overlay(self.reply, Path(value)):
                self.console.print(str(drawn), markup=False)
        elif verb == "/json" and value and self.reply is not None:
            write_json(value, self.reply.to_json(), indent=1)
            self.console.print(value, markup=False)
        elif verb == "/explain" and self.reply is not None:
            self.console.print_json(data=self.reply.explain())
        else:
            self.console.print(HELP, style="dim")


def _path(words: str) -> Path | None:
    """A line that is the path of a file, as terminals write dragged ones."""
    bare = words.strip("'\"").replace("\\ ", " ").removeprefix("file://")
    with contextlib.suppress(OSError, ValueError):
        if Path(bare).is_file():
            return Path(bare)
    return None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadInput(f"/threshold {text}: expected a number from 0 to 1.")
    return value
