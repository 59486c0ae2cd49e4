"""One shard of a mining run: every picture of its part through the model, once, and the manifest that says so.

`results/<k>.jsonl.gz` has a row a picture; `results/<k>.json`, written after it, has the SHA-256 and the count. A shard
with a manifest whose checksum holds is done and is never done again; anything else is nothing. So a shard may be
killed, run twice at once, or run on two clusters: the rows are a function of the plan, and the last one to finish
replaces a file by an equal one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sam3.decoding import decode
from sam3.errors import BadInput, Unavailable
from sam3.files import atomic_write, file_sha256, read_json, write_json
from sam3.types import Detections, Engine, Prompt, UInt8Array
from sam3_agent.mining.ahead import fetched, in_order
from sam3_agent.mining.inbox import sources
from sam3_agent.mining.plan import Plan, load_part

BATCH = 8  # pictures the model gets at a time; as many wait decoded, and as many as bytes
Judge = Callable[[Sequence[UInt8Array]], list[dict[str, Any]]]  # pictures -> what a row says of each


def run_shard(out: Path, shard: int, plan: Plan, engine: Engine | Judge) -> dict[str, Any]:
    """Do a shard, unless it is done.

    Args:
        engine: looks for the plan's concept; or a function that judges pictures in its own way.

    Returns:
        Its manifest, with `new`: whether it was done in this call.

    Raises:
        Unavailable: the store went away; nothing is left of the shard.
    """
    held = manifest(out, shard)
    if held is not None:
        return {**held, "new": False}
    started, counts = time.monotonic(), {"pictures": 0, "bytes": 0, "failed": 0, "found": 0}
    path = rows_file(out, shard)
    with atomic_write(path, "wb") as stream, gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") as packed:
        for row in rows(load_part(out, shard), plan, engine):
            counts["pictures"] += 1
            counts["bytes"] += row["bytes"]
            counts["failed"] += "error" in row
            counts["found"] += bool(row.get("detections") or row.get("instances"))
            packed.write(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    facts = {"shard": shard, "sha256": file_sha256(path), **counts, "checkpoint_sha256": plan.checkpoint_sha256}
    write_json(manifest_file(out, shard), {**facts, "seconds": round(time.monotonic() - started, 3)}, indent=None)
    return {**facts, "new": True}


def rows(part: Any, plan: Plan, engine: Engine | Judge) -> Iterator[dict[str, Any]]:
    """A row a picture, in the order of the part.

    name, sha256, bytes; then height, width and what the judge says (presence, detections, best, scores and boxes);
    or error, for one that cannot be used.
    """
    judge = engine if not hasattr(engine, "ground") else _plain(plan, engine)  # type: ignore[arg-type]
    waiting: list[tuple[dict[str, Any], Any]] = []
    ready = in_order(_looked_into, fetched(sources(part), BATCH), threads=_threads(), most=BATCH)
    with closing(ready) as looked_into:
        for row, image in looked_into:
            waiting.append((row, image))
            if len(waiting) == BATCH:
                yield from _judged(waiting, judge)
                waiting = []
        yield from _judged(waiting, judge)


def _looked_into(source: tuple[str, Callable[[], bytes | BadInput]]) -> tuple[dict[str, Any], UInt8Array | None]:
    """The beginning of a row, and the pixels where there are any. In a thread: while the model is at the last ones."""
    name, read = source
    data, row = read(), {"name": name, "bytes": 0, "sha256": None}
    if isinstance(data, BadInput):
        return row | {"error": str(data)}, None
    row |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    try:
        return row, decode(data, name)
    except BadInput as error:
        return row | {"error": str(error)}, None


def _threads() -> int:
    """For reading and decoding: one a core, and enough that an object store's answers may be waited for together."""
    return min(max(len(os.sched_getaffinity(0)), 4), 16)


def _judged(waiting: list[tuple[dict[str, Any], Any]], judge: Judge) -> Iterator[dict[str, Any]]:
    images = [image for _, image in waiting if image is not None]
    try:
        said = iter(judge(images) if images else ())
    except OSError as error:  # a served model; without this, the disk that is written to would be blamed
        raise Unavailable(f"the model does not answer ({error.strerror or error}). Run the shard again.") from error
    for row, image in waiting:
        if image is not None:
            row |= {"height": image.shape[0], "width": image.shape[1], **next(said)}
        yield row


def _plain(plan: Plan, engine: Engine) -> Judge:
    """What is there, and no more."""

    def judge(images: Sequence[UInt8Array]) -> list[dict[str, Any]]:
        found = engine.ground(engine.encode(images), [Prompt(plan.concept)] * len(images))
        return [_found(seen) for seen in found]

    return judge


def _found(seen: Detections) -> dict[str, Any]:
    return {
        "presence": round(float(seen.presence), 4),
        "detections": len(seen),
        "best": round(float(seen.scores.max()), 4) if len(seen) else 0.0,
        "scores": [round(float(score), 4) for score in seen.scores],
        "boxes": [[round(float(edge), 1) for edge in box] for box in seen.boxes],
    }


def manifest(out: Path, shard: int) -> dict[str, Any] | None:
    """What is known of a finished shard; None when it is not finished, or its rows are not what was written."""
    file = manifest_file(out, shard)
    if not file.is_file():
        return None
    try:
        row = read_json(file)
        whole = rows_file(out, shard).is_file() and file_sha256(rows_file(out, shard)) == row["sha256"]
    except (BadInput, KeyError, TypeError):
        return None
    return dict(row) if whole else None


def rows_file(out: Path, shard: int) -> Path:
    """Where a shard's rows are."""
    return out / "results" / f"{shard // 1000:04d}" / f"{shard:07d}.jsonl.gz"


def manifest_file(out: Path, shard: int) -> Path:
    """Where a shard's manifest is."""
    return out / "results" / f"{shard // 1000:04d}" / f"{shard:07d}.json"


def read_rows(out: Path, shard: int) -> Iterator[dict[str, Any]]:
    """The rows of a finished shard."""
    with gzip.open(rows_file(out, shard), "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
