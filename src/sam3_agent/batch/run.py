"""`sam3-agent batch "how many chickens?" photos/ 'more/**/*.jpg' --out results`: one question, many pictures.

Pictures are read in parallel ahead of the model and encoded a few at a time. What is done is noted picture by picture,
so an interrupted batch goes on; a picture that cannot be read is a row with its reason and stops nothing.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3.errors import BadInput, Sam3AgentError
from sam3.images import is_picture

if TYPE_CHECKING:
    from sam3_agent.batch.journal import Journal, Line
    from sam3_agent.conversation import Agent
    from sam3_agent.execution.media import Medium

GROUP = 8  # pictures encoded in one go
AHEAD = 3  # groups read ahead


def batch(
    query: Annotated[str, typer.Argument(help="A question or request in plain words, about each picture alone.")],
    pictures: Annotated[list[str], typer.Argument(help="Files, folders (all inside) and globs (quoted).")],
    out: Annotated[Path, typer.Option(help="Folder for the results; the same one goes on.")] = Path("batch"),
    form: Annotated[str, typer.Option("--format", help="coco, csv or both.")] = "both",
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lower scores are not believed.")] = 0.5,
    readers: Annotated[int, typer.Option(min=1, max=64, help="Pictures read at the same time.")] = 4,
) -> None:
    """Ask one question about many pictures; COCO and CSV come out."""
    from sam3_agent.batch.tables import printable
    from sam3_agent.conversation import Agent
    from sam3_agent.understanding.language_model import LanguageModel

    if form not in ("coco", "csv", "both"):
        raise BadInput(f"--format {form}: expected coco, csv or both.", field="format")
    files = listed(pictures)
    agent = Agent(
        checkpoint=checkpoint, engine_name=engine, threshold=threshold, planner=LanguageModel.from_environment()
    )
    journal = carry_out(agent, query, files, out, readers)
    for path in write(journal, files, out, form):
        print(path)
    lines = (journal.lines[str(file)] for file in files)  # the journal may hold more than was asked for now
    problems = [line for line in lines if line.problem]
    for line in problems[:10]:
        print(f"left out: {printable(line.problem)}")
    print(f"{len(files) - len(problems)} pictures answered, {len(problems)} left out")


def listed(words: Sequence[str]) -> list[Path]:
    """The picture files behind paths, folders and globs, each once, in order.

    Raises:
        BadInput: one of the words leads to no picture.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        some: list[Path] = []
        if not word.strip():
            pass  # the empty path would be this folder
        elif path.is_dir():
            some = sorted(p for p in path.rglob("*") if is_picture(p) and p.is_file())
        elif path.is_file():
            some = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(word, recursive=True))  # noqa: PTH207  may be absolute
            some = [match for match in matches if is_picture(match) and match.is_file()]
        if not some:
            raise BadInput(f"{word}: no picture there. Give a file, a folder, or a glob in quotes.", field="pictures")
        found.update(dict.fromkeys(some))
    return list(found)


def carry_out(agent: Agent, query: str, files: Sequence[Path], out: Path, readers: int = 4) -> Journal:
    """Ask about every picture that has no answer yet.

    Raises:
        BadInput: the question is not understood; `out` holds answers to another one.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sam3_agent.batch.journal import Asked, Journal
    from sam3_agent.execution.seeing import version_of
    from sam3_agent.understanding import understand

    if not understand(query).drafts and agent.planner is None:
        raise BadInput(f"{query!r}: not understood. Ask, for example, 'how many dogs?' or 'find the red cars'.")
    journal = Journal(out / "journal.jsonl", Asked(query, agent.threshold, version_of(agent.engine)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with journal.writing() as stream, Progress(*columns, transient=True) as progress:
        todo = [file for file in files if not journal.done(str(file), stamp(file))]
        bar = progress.add_task("asking", total=len(files), completed=len(files) - len(todo))
        for group in read_ahead(todo, readers):
            _encode(agent, [medium for _, medium in group if not isinstance(medium, Sam3AgentError)])
            for file, medium in group:
                journal.add(stream, answered(agent, query, file, medium))
                progress.advance(bar)
    return journal


def read_ahead(files: Sequence[Path], readers: int) -> Iterator[list[tuple[Path, Medium | Sam3AgentError]]]:
    """Groups of pictures, read by several threads a few groups ahead; memory stays bounded however many there are."""
    rest = iter(files)
    under_way: deque[tuple[Path, Future[Medium | Sam3AgentError]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as crew:
        try:
            while True:
                for file in islice(rest, GROUP * AHEAD - len(under_way)):
                    under_way.append((file, crew.submit(_read, file)))
                if not under_way:
                    return
                group = [under_way.popleft() for _ in range(min(GROUP, len(under_way)))]
                yield [(file, future.result()) for file, future in group]
        finally:
            crew.shutdown(wait=False, cancel_futures=True)


def answered(agent: Agent, query: str, file: Path, medium: Medium | Sam3AgentError) -> Line:
    """One picture's line."""
    from sam3_agent.batch.journal import Line

    if isinstance(medium, Sam3AgentError):
        return Line(str(file), stamp(file), problem=str(medium))
    height, width = medium.frames[0].original or medium.pixels.shape[:2]
    reply = agent.process(query, [medium])
    return Line(
        str(file), stamp(file), int(height), int(width), reply.status, reply.text, reply.answer, reply.uncertain,
        [row for result in reply.results for row in result.to_coco()],
    )  # fmt: skip


def write(journal: Journal, files: Sequence[Path], out: Path, form: str) -> list[Path]:
    """The tables, in the order of the files."""
    from sam3_agent.batch.tables import write_coco, write_csv

    lines = [journal.lines[str(file)] for file in files if str(file) in journal.lines]
    written = [write_coco(out / "found.coco.json", lines)] if form in ("coco", "both") else []
    return written + (write_csv(out, lines) if form in ("csv", "both") else [])


def stamp(file: Path) -> str:
    """What changes when a file does."""
    try:
        status = file.stat()
    except OSError:
        return "gone"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _read(file: Path) -> Medium | Sam3AgentError:
    from sam3_agent.execution.media import medium

    try:
        return medium(file)
    except Sam3AgentError as error:
        return error


def _encode(agent: Agent, media: list[Medium]) -> None:
    """All pictures of a group in one call; the answers find them in the cache."""
    from sam3_agent.execution.seeing import Eyes

    if media:
        Eyes(agent.engine, agent.threshold, agent.caches.embeddings).encode([one.frames[0] for one in media])
