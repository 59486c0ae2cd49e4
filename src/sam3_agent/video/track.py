"""`sam3-agent track clip.mp4 "player wearing number 23"`: follow things through a video and write down where they are.

Several things can be named; one pass follows them all. Interrupt it and run the same command again: it goes on.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadInput
from sam3_agent.video.options import BudgetMs, Checkpoint, EngineName, Method, Threshold

FORMATS = ("video", "mot", "coco")


def track(
    video: Annotated[str, typer.Argument(help="A file, a folder of frames, a webcam's number, or rtsp://host/path.")],
    things: Annotated[list[str], typer.Argument(help='What to follow: "duck" "player wearing number 23".')],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; tracks/NAME when not given.")] = None,
    every: Annotated[str, typer.Option(help='Detector: every "5" frames, or every "1s" or "500ms".')] = "1s",
    budget_ms: BudgetMs = None,
    formats: Annotated[
        str, typer.Option(help="Beside results.jsonl: video, mot, coco, with commas.")
    ] = "video,mot,coco",
    start: Annotated[float, typer.Option(min=0, help="Seconds into the video.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="Stop there, seconds.")] = None,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames a second of a folder of pictures.")] = 10.0,
    method: Method = "carry",
    checkpoint: Checkpoint = "sam3-lite",
    engine: EngineName = "auto",
    threshold: Threshold = 0.5,
    fresh: Annotated[bool, typer.Option(help="Begin anew instead of going on.")] = False,
) -> None:
    """Follow things through a video."""
    from sam3_agent.video.following import Span, follow_file, header, write_formats
    from sam3_agent.video.reading import facts
    from sam3_agent.video.results import Record
    from sam3_agent.video.sources import source_of

    wanted = _formats(formats)
    phrases = phrases_of(things)
    cadence = parse_every(every, budget_ms)
    typed = {host_of(video)} if "://" in video else None  # whoever sits at the terminal may name a camera
    source = source_of(video, hosts=typed)
    span = Span(start, math.inf if end is None else end, fps)
    settings = {
        "method": method,
        "checkpoint": checkpoint,
        "every": every,
        "budget_ms": budget_ms,
        "threshold": threshold,
    }
    folder = out or Path("tracks") / Path(source.name).stem
    if source.live:
        tracker = make_tracker(method, checkpoint, engine, phrases, cadence, 25.0, threshold)
        _live(source, tracker, folder, phrases, span, settings, wanted, fresh)
        return
    known = facts(source, rate=fps)
    record = Record(folder / "results.jsonl", header(source, known, phrases, span, settings), fresh=fresh)
    with record, _bar() as bar:  # the record stays this run's alone until the formats are made from it
        tracker = make_tracker(method, checkpoint, engine, phrases, cadence, known.rate, threshold)
        task = bar.add_task("follow", total=_total(known, span))
        try:
            follow_file(source, tracker, record, span, progress=lambda done: bar.update(task, completed=done))
        finally:
            if hasattr(tracker, "close"):
                tracker.close()
        drawing = bar.add_task("write", total=record.done)
        made = write_formats(
            record.path, source, wanted, span, progress=lambda done: bar.update(drawing, completed=done)
        )
        bar.update(drawing, completed=record.done)
    _report(record, made)


def parse_every(text: str, budget_ms: float | None = None) -> Any:
    """ "5" (frames), "1s", "500ms" -> a cadence.

    Raises:
        BadInput: something else.
    """
    from sam3_agent.video.cadence import Cadence

    words = text.strip().lower()
    try:
        if words.endswith("ms"):
            return Cadence(seconds=float(words[:-2]) / 1000, budget_ms=budget_ms)
        if words.endswith("s"):
            return Cadence(seconds=float(words[:-1]), budget_ms=budget_ms)
        return Cadence(every=int(words), budget_ms=budget_ms)
    except ValueError as error:
        raise BadInput(f'--every {text!r}: expected frames ("5") or a time ("1s", "500ms").', field="every") from error


def make_tracker(
    method: str, checkpoint: str, engine: str, phrases: list[str], cadence: Any, rate: float, threshold: float
) -> Any:
    """A tracker by name: "carry", "memory" or "triton".

    Raises:
        BadInput: no such method.
    """
    if method == "memory":
        from sam3_agent.video.memory import MemoryTracker

        return MemoryTracker.load(checkpoint, phrases)
    if method == "triton":
        from sam3_agent.video.served import ServedTracker

        return ServedTracker(checkpoint, phrases, threshold=threshold)
    if method != "carry":
        raise BadInput(f"--method {method}: expected carry, memory or triton.", field="method")
    from sam3.engines import load_engine
    from sam3_agent.video.carry import CarryTracker

    found = load_engine(engine, checkpoint=checkpoint, threshold=threshold / 2)  # weak ones continue tracks
    return CarryTracker(found, phrases, cadence, rate=rate, birth=threshold)


def _live(
    source: Any,
    tracker: Any,
    folder: Path,
    phrases: list[str],
    span: Any,
    settings: dict[str, Any],
    wanted: list[str],
    fresh: bool,
) -> None:
    """A camera, until --end or Ctrl-C."""
    from sam3_agent.video.following import follow_camera

    path = folder / "results.jsonl"
    if path.exists() and not fresh:
        raise BadInput(
            f"{path}: exists, and a camera cannot go on from it. Give another --out, or --fresh.", field="out"
        )
    with _bar() as bar:
        task = bar.add_task("follow", total=None)
        record, made = follow_camera(
            source, tracker, path, phrases, span, settings, wanted, lambda done: bar.update(task, completed=done)
        )
    _report(record, made)


def phrases_of(things: list[str]) -> list[str]:
    """The names, each once.

    Raises:
        BadInput: one is empty, or not text.
    """
    phrases = list(dict.fromkeys(" ".join(thing.split()) for thing in things))
    if not all(phrases):
        raise BadInput("an empty name cannot be followed. Name a thing.", field="things")
    for phrase in phrases:
        try:
            phrase.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{phrase!r}: not UTF-8 text. Name a thing.", field="things") from error
    return phrases


def _formats(text: str) -> list[str]:
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in wanted if part not in FORMATS]
    if wrong:
        raise BadInput(f"--formats {wrong[0]}: expected some of {', '.join(FORMATS)}.", field="formats")
    return wanted


def host_of(url: str) -> str:
    """The host of an address, in lower case; empty where there is none."""
    from urllib.parse import urlsplit

    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _total(known: Any, span: Any) -> int | None:
    if not known.frames:
        return None
    seconds = min(span.end, known.frames / known.rate) - span.start
    return max(0, min(known.frames, round(seconds * known.rate)))


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _report(record: Any, made: list[Path]) -> None:
    seen: dict[int, str] = {}
    for row in record.rows():
        seen |= {track["id"]: track["label"] for track in row["tracks"]}
    counts = {label: list(seen.values()).count(label) for label in dict.fromkeys(seen.values())}
    told = ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"
    print(f"{record.done} frames; followed: {told}")
    for path in (record.path, *made):
        print(str(path).encode("utf-8", "backslashreplace").decode())  # a file's name need not be UTF-8
