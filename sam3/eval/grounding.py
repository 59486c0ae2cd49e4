"""An engine over the pairs of a file: every picture encoded once, all its phrases grounded together.

The slow part of an evaluation, with a progress bar. Pictures that cannot be used are collected with their
reasons, so that one run names all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sam3.errors import BadInput
from sam3.eval.saco import Pair
from sam3.images import image_size, read_image, resolve_inside
from sam3.types import Detections, Engine, Prompt, UInt8Array

_NAMED = 5  # pictures named in an error; the rest is counted


@dataclass
class Grounded:
    """What an engine found.

    Attributes:
        rows: COCO result rows; `bbox` xywh is a share of the picture, like SA-Co's.
        presence: pair id -> probability that the phrase is in the picture.
        skipped: file name -> why it could not be used.
        images: pictures encoded.
        seconds: spent reading, encoding and grounding.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    presence: dict[int, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    images: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "encode": 0.0, "ground": 0.0})


def ground_pairs(
    engine: Engine,
    pairs: Sequence[Pair],
    images: Path,
    *,
    batch: int = 8,
    min_score: float = 0.05,
    skip_bad: bool = False,
    normalised: bool = True,
) -> Grounded:
    """Ask an engine for every pair.

    Args:
        pairs: each with `file_name` and `text_input`.
        images: folder that `file_name` is relative to.
        batch: pictures encoded at a time.
        min_score: detections below are left out.
        skip_bad: go on without pictures that cannot be used.
        normalised: write boxes as shares of the picture, else in pixels.

    Raises:
        BadInput: a picture is missing, damaged or of another size than its pair says, unless `skip_bad`.
    """
    found = Grounded()
    by_file: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_file.setdefault(pair.file_name, []).append(pair)
    for name, group in by_file.items():
        _check(name, group, images, found.skipped)
    if found.skipped and not skip_bad:  # headers are read in a moment: say so before minutes of work
        for name in by_file.keys() - found.skipped.keys():
            _read(images / name, name, found)  # so that the damaged ones are named in the same breath
        refuse_skipped(found.skipped)

    usable = iter([name for name in by_file if name not in found.skipped])
    with _progress() as bar:
        task = bar.add_task("grounding", total=len(by_file) - len(found.skipped))
        while names := list(islice(usable, batch)):
            read = [(name, image) for name in names for image in _read(images / name, name, found)]
            if read:
                _ground_batch(engine, read, by_file, found, min_score, normalised)
            bar.advance(task, len(names))
    if not skip_bad:
        refuse_skipped(found.skipped)
    return found


def refuse_skipped(skipped: dict[str, str]) -> None:
    """Raise `BadInput` that names the pictures which could not be used, if any."""
    if not skipped:
        return
    named = " ".join(f"({i + 1}) {reason}" for i, reason in enumerate(islice(skipped.values(), _NAMED)))
    more = f" ... and {len(skipped) - _NAMED} more." if len(skipped) > _NAMED else ""
    count = f"{len(skipped)} pictures" if len(skipped) > 1 else "1 picture"
    raise BadInput(f"{count} cannot be used: {named}{more} Mend them, or leave them out with --skip-bad.")


def _ground_batch(
    engine: Engine,
    read: Sequence[tuple[str, UInt8Array]],
    by_file: dict[str, list[Pair]],
    found: Grounded,
    min_score: float,
    normalised: bool,
) -> None:
    start = time.perf_counter()
    embeddings = engine.encode([image for _, image in read])
    encoded = time.perf_counter()
    asked = [(pair, e) for (name, _), e in zip(read, embeddings, strict=True) for pair in by_file[name]]
    answers = engine.ground([e for _, e in asked], [Prompt(pair.text_input) for pair, _ in asked])
    found.seconds["encode"] += encoded - start
    found.seconds["ground"] += time.perf_counter() - encoded
    found.images += len(read)
    for (pair, _), detections in zip(asked, answers, strict=True):
        found.presence[pair.image_id] = float(detections.presence)
        found.rows.extend(_rows(pair, detections.select(detections.scores >= min_score), normalised))


def _rows(pair: Pair, detections: Detections, normalised: bool) -> Iterator[dict[str, Any]]:
    wide, high = (pair.width, pair.height) if normalised else (1, 1)
    for row in detections.to_coco(pair.image_id):
        x, y, w, h = row["bbox"]
        yield row | {"bbox": [x / wide, y / high, w / wide, h / high]}


def _check(name: str, group: Sequence[Pair], images: Path, skipped: dict[str, str]) -> None:
    """Look at a picture's header: is it there, and of the size its pairs say?"""
    try:
        if not group[0].text_input:
            raise BadInput(f"{name}: pair {group[0].image_id} has no text_input, so there is nothing to ask.")
        size = image_size(resolve_inside(images, name))
        for pair in group:
            if size != (pair.height, pair.width):
                raise BadInput(
                    f"{name}: the picture is {size[1]} x {size[0]} pixels, pair {pair.image_id} says "
                    f"{pair.width} x {pair.height}."
                )
    except BadInput as error:
        skipped[name] = str(error)


def _read(path: Path, name: str, found: Grounded) -> list[UInt8Array]:
    """The picture, or nothing when it cannot be decoded after all (truncated)."""
    start = time.perf_counter()
    try:
        return [read_image(path)]
    except BadInput as error:
        found.skipped[name] = str(error)
        return []
    finally:
        found.seconds["read"] += time.perf_counter() - start


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
