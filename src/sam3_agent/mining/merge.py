"""Results of all shards -> one file, the same bytes whoever did which shard when.

Rows come in the order of the plan; of pictures that are equal byte for byte the first stays. Two passes: the first
holds 16 bytes of each picture's SHA-256 and decides who is first (41 bytes of memory a picture, says
`benchmarks/mining_at_scale.py`), the second writes.
"""

from __future__ import annotations

import gzip
import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sam3.errors import BadInput
from sam3.files import atomic_write, write_json
from sam3_agent.mining.plan import load_plan, ranges
from sam3_agent.mining.shard import manifest, read_rows

MERGED, SUMMARY = "mined.jsonl.gz", "mined.json"


def merge(out: Path) -> dict[str, Any]:
    """Put the shards together.

    Returns:
        pictures, repeated, failed, found (pictures with a detection), bytes, shards; also in `mined.json`.

    Raises:
        BadInput: shards are missing or damaged; names them as --shards takes them.
    """
    plan = load_plan(out)
    held = {shard: manifest(out, shard) for shard in tqdm(range(plan.shards), desc="checking", unit="shard")}
    missing = [shard for shard, row in held.items() if row is None]
    if missing:
        raise BadInput(
            f"{out}: {len(missing)} of {plan.shards} shards are not done. Run: sam3-agent mine-inbox --out {out} "
            f"--shards {ranges(missing)}"
        )
    first = first_of_each(out, plan.shards)
    counts = {"pictures": 0, "repeated": 0, "failed": 0, "found": 0, "bytes": 0}
    at = 0
    with (
        atomic_write(out / MERGED, "wb") as stream,
        gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") as packed,
    ):
        for shard in tqdm(range(plan.shards), desc="merging", unit="shard"):
            for row in read_rows(out, shard):
                counts["bytes"] += row["bytes"]
                counts["failed"] += "error" in row
                if first[at]:
                    counts["pictures"] += "error" not in row
                    counts["found"] += bool(row.get("detections"))
                    packed.write(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
                else:
                    counts["repeated"] += 1
                at += 1
    summary = {**counts, "shards": plan.shards, "concept": plan.concept, "checkpoint_sha256": plan.checkpoint_sha256}
    write_json(out / SUMMARY, summary)
    return summary


def first_of_each(out: Path, shards: int) -> np.ndarray:
    """bool (rows,): the first row of each content. Rows without content (unreadable pictures) are all first."""
    digests, unread = array("Q"), bytearray()
    for shard in tqdm(range(shards), desc="comparing", unit="shard"):
        for row in read_rows(out, shard):
            text = row["sha256"] or "0"
            digests.append(int(text[:16], 16))
            digests.append(int(text[16:32] or "0", 16))
            unread.append(row["sha256"] is None)
    first = first_of_equal(np.frombuffer(digests, np.uint64).reshape(-1, 2) if digests else np.zeros((0, 2), np.uint64))
    return first | np.frombuffer(unread, np.bool_) if len(first) else first


def first_of_equal(keys: np.ndarray) -> np.ndarray:
    """bool (N,): which of the uint64 (N, 2) rows come first among their equals. Needs about 35 bytes a row beside them."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first of equals stays the first
    new = np.zeros(len(keys), bool)
    new[:1] = True
    for column in range(2):
        ordered = keys[order, column]
        new[1:] |= ordered[1:] != ordered[:-1]
    first = np.zeros(len(keys), bool)
    first[order] = new
    return first
