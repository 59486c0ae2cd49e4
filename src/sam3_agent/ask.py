"""`sam3-agent ask "how many chickens are left of the tractor?" farm.jpg`: a question about pictures, answered.

Prints the answer, what was understood and a table of what was found; `--out` keeps the overlay, `--json` prints
everything as JSON with masks as COCO RLE; the exit status is 3 where there is no answer. `sam3-agent segment` and
`count` (in `segment.py`) are the short forms.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3.errors import BadInput
from sam3_agent.video.sources import looks_like_video

if TYPE_CHECKING:
    from rich.console import Console

    from sam3_agent.conversation import Reply
    from sam3_agent.video.clip import FrameSeen

DECLINED = 3  # exit status: understood as no question about pictures, not understood, or a question back
WEAKER = 0.3  # a threshold at which a model that is unsure of a thing often shows it


def ask(
    query: Annotated[str, typer.Argument(help="A question or request in plain words.")],
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="Pictures and clips that it is about, in order.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lower scores are not believed.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Write the picture with masks and labels here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Only say what is understood; look at nothing.")] = False,
) -> None:
    """Ask about pictures in plain words.

    Exit status: 0 an answer, "none found" among them; 1 an error; 2 a wrong option; 3 no answer: a question back, a
    question that was not understood, or one that no picture answers.
    """
    if explain:
        said, understood = explained(query)
        print(said)
        if not understood:
            raise typer.Exit(DECLINED)
        return
    reply = answered(query, pictures or [], checkpoint, engine, threshold)
    kept = write_overlay(reply, out) if out is not None and reply.results else []
    if as_json:
        print(json.dumps(reply.to_json(), ensure_ascii=False, indent=1))
    else:
        show(reply, kept, threshold=threshold)
    leave(reply)


def leave(reply: Reply) -> None:
    """End with `DECLINED` where there is no answer.

    Raises:
        typer.Exit: the reply asks back or declines.
    """
    if reply.status in ("clarify", "unsupported"):
        raise typer.Exit(DECLINED)


def explained(query: str) -> tuple[str, bool]:
    """What the grammar makes of a query, one line a plan, and True; or what the person is told instead, and False."""
    from sam3_agent.understanding import understand
    from sam3_agent.understanding.references import open_question
    from sam3_agent.understanding.refusal import sentence

    reading = understand(query)
    if not reading.drafts:
        return sentence(reading.trouble, reading.said), False
    asked = open_question(reading.drafts[0])
    return (asked, False) if asked else ("\n".join(str(draft.plan) for draft in reading.drafts), True)


def answered(query: str, pictures: list[Path], checkpoint: str, engine: str, threshold: float) -> Reply:
    """One question to a fresh agent; how far a clip is, is told on standard error.

    Raises:
        BadInput: a picture is not there or cannot be read, or the threshold is no probability.
    """
    from rich.console import Console

    from sam3_agent.conversation import Agent
    from sam3_agent.understanding.language_model import LanguageModel

    if not 0 <= threshold <= 1:
        raise BadInput(f"--threshold {threshold}: expected a number from 0 to 1.", field="threshold")
    for picture in pictures:
        if not picture.is_file() and not looks_like_video(picture):
            raise BadInput(f"{picture}: no such file. Give the path of a picture or clip.", field="pictures")
    planner = LanguageModel.from_environment()
    agent = Agent(checkpoint=checkpoint, engine_name=engine, threshold=threshold, planner=planner)
    session = agent.session()
    with Console(stderr=True).status("looking") as status:
        session.watching = lambda news: status.update(far(news))
        return session.ask(query, list(pictures))


def far(news: FrameSeen) -> str:
    """How far a clip is: "12 of 48 frames, 2 duck"."""
    counts = ", ".join(f"{count} {phrase}" for phrase, count in news.counts.items())
    return f"{news.done} of {news.of} frames, {counts}"


def spent(milliseconds: float) -> str:
    """ "17.2 s" from a second on, "51.2 ms" below."""
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.1f} ms"


def write_overlay(reply: Reply, out: Path) -> list[Path]:
    """The overlay(s); several pictures become `name-1.png`, `name-2.png`. Nothing half-written."""
    from sam3.files import atomic_write

    drawn = reply.plot()
    images = drawn if isinstance(drawn, list) else [drawn]
    kept = []
    for number, image in enumerate(images, start=1):
        target = out if len(images) == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        with atomic_write(target, "wb") as stream:
            image.save(stream, format="JPEG" if target.suffix.lower() in (".jpg", ".jpeg") else "PNG")
        kept.append(target)
    return kept


def show(reply: Reply, kept: list[Path], console: Console | None = None, *, threshold: float | None = None) -> None:
    """The reply for a person at a terminal; `threshold` is what to lower where nothing was found."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    console.print(reply.text, style="bold" if reply.status == "ok" else "yellow")
    if reply.plan is not None:
        console.print(f"understood: {reply.plan}", style="dim")
    table = Table("picture", "what", "score", "box (x0 y0 x1 y1) or time", "area px")
    for result in reply.results:
        if result.frames is not None:
            times = reply.media[result.media].times
            unit = " s" if times else ""
            for one in result.spans(times):
                when = f"{one['first']:g} to {one['last']:g}{unit}"
                table.add_row(str(result.media + 1), f"#{one['id']} {one['label']}", f"{one['score']:.2f}", when, "")
            continue
        rows = result.detections
        names = rows.labels or [""] * len(rows)
        for at, (label, score, box, mask) in enumerate(zip(names, rows.scores, rows.boxes, rows.masks, strict=True)):
            corners = " ".join(f"{value:.0f}" for value in box)
            sure = "" if at not in result.doubtful else " not sure"
            table.add_row(str(result.media + 1), label, f"{score:.2f}{sure}", corners, str(int(mask.sum())))
    if table.row_count:
        console.print(table)
    elif reply.status == "ok" and threshold is not None and threshold > WEAKER:
        console.print(
            f"nothing scored {threshold:g} or more; --threshold {WEAKER:g} shows weaker candidates, if there are any",
            style="dim",
        )
    console.print("  ".join(f"{stage} {spent(value)}" for stage, value in reply.timings.items()), style="dim")
    for path in kept:
        console.print(f"overlay: {path}")
