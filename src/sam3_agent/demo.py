"""`sam3-agent demo`: what came out of the run, in one table, three answers and a next step.

The end of `make demo`. Asks the exported model (or the fine-tuned weights, where nothing was exported) about
the pictures in data/demo, whose questions are built around the concept, and keeps the overlays in reports/demo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3.errors import BadConfig, BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from sam3_agent.conversation import Agent, Reply


@dataclass(frozen=True, slots=True)
class Question:
    """A picture and what is asked about it."""

    picture: Path
    text: str


def demo(
    pictures: Annotated[Path, typer.Option(help="Folder with pictures and questions.yaml.")] = Path("data/demo"),
    out: Annotated[Path, typer.Option(help="Where the overlays go.")] = Path("reports/demo"),
    checkpoint: Annotated[str | None, typer.Option(help="Who answers [models/export, else models/finetuned].")] = None,
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Show the run's summary, ask three questions about bundled pictures, and say what to do next."""
    from rich.console import Console

    from sam3_agent.conversation import Agent
    from sam3_agent.finished_run import Places, read_run
    from sam3_agent.params import load_params
    from sam3_agent.report.summary import summary_table, verdict

    settings = load_params(params)
    run = read_run(Places(images=Path(settings.data.raw) / "images"))
    questions = read_questions(pictures, settings.concept)
    weights = checkpoint or exported_or_trained()
    console = Console()
    console.print(summary_table(run, console.width))
    console.print(verdict(run), highlight=False)
    answer_all(Agent(checkpoint=weights), questions, out, console)
    console.print(f"answered by {weights}", style="dim", highlight=False)
    _say_what_next(settings.concept, console)


def read_questions(folder: Path, concept: str) -> list[Question]:
    """The questions of a folder, asked about `concept`.

    Raises:
        BadConfig: questions.yaml is missing, or an entry is not a picture of the folder and a question.
    """
    import yaml

    from sam3.scenes.phrases import plural

    path = folder / "questions.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        words = {"thing": concept, "things": plural(concept)}
        found = [Question(folder / Path(e["picture"]).name, e["ask"].format_map(words)) for e in entries]
    except FileNotFoundError as error:
        raise BadConfig(f"{path}: not found. It is part of the repository: git checkout {path}") from error
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadConfig(
            f"{path}: expected a list of picture and ask, with {{thing}} or {{things}} ({error!r:.60})."
        ) from error
    for question in found:
        if not question.picture.is_file():
            raise BadConfig(f"{path}: {question.picture} is not there. Make it: python -m sam3_agent.demo_pictures")
    return found


def exported_or_trained() -> str:
    """The exported model's folder, else that of the fine-tuned weights.

    Raises:
        BadInput: neither is there.
    """
    for folder, file in (("models/export", "decoder.onnx"), ("models/finetuned", "model.safetensors")):
        if (Path(folder) / file).is_file():
            return folder
    raise BadInput("models/export: not there yet. The stage export writes it: dvc repro export", field="export")


def answer_all(agent: Agent, questions: list[Question], out: Path, console: Console) -> list[Path]:
    """Ask every question, print the answers, and keep one overlay each; returns where they are."""
    from rich.table import Table

    table = Table(show_header=True, title="three questions", title_justify="left")
    for heading in ("question", "answer", "ms", "picture"):
        table.add_column(heading, justify="right" if heading == "ms" else "left", overflow="fold")
    drawn = []
    with console.status("loading the model"):
        _ = agent.engine  # so that the first answer's time is the answer's
    with console.status("looking"):
        for question in questions:
            reply = agent.process(question.text, media=[str(question.picture)])
            drawn.append(_keep(reply, question.picture, out / f"{question.picture.stem}.jpg"))
            table.add_row(question.text, reply.text, f"{reply.timings.get('total', 0):.0f}", str(drawn[-1]))
    console.print(table)
    return drawn


def _keep(reply: Reply, picture: Path, target: Path) -> Path:
    """The answer drawn on its picture; the picture as it is when there is nothing to draw."""
    from PIL import Image

    from sam3.files import atomic_write
    from sam3.images import read_image

    drawn = reply.plot() if reply.results else Image.fromarray(read_image(picture))
    with atomic_write(target, "wb") as stream:
        drawn.save(stream, "JPEG", quality=90)
    return target


def _say_what_next(concept: str, console: Console) -> None:
    console.print("\nNext", style="bold")
    for line in (
        "open reports/report.html: curves, pictures before and after, the worst pairs",
        f'sam3-agent segment "{concept}" your_picture.jpg',
        "point data.raw in params.yaml at a folder of your own, then: dvc repro",
    ):
        console.print(f"  {line}", highlight=False)
