"""100 million pictures on 64 GPUs, on paper and simulated: bytes moved, time, cost, bottleneck, what breaks first.

    python benchmarks/mining_at_scale.py [--pictures 100000000 --gpus 64 --gpu-rate 25 ...]

Shards are tars of 1,000 pictures, dealt to array elements as `sam3_agent.mining` deals them. Each GPU reads, decodes
and infers in a pipeline (`sam3_agent.mining.ahead`), so a shard takes as long as its slowest part; nodes fail, lose the shards under way and come
back. What this machine can tell is measured first (decoding, hashing, merging: seconds of one core); the rest is
assumed, is printed beside the result, and is a flag.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import heapq
import io
import json
import platform
import tempfile
import time
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam3.decoding import decode
from sam3.files import write_json
from sam3.pixels import to_model
from sam3_agent.mining.inbox import inbox_parts
from sam3_agent.mining.merge import first_of_equal

SHARD = 1000


@dataclass(frozen=True)
class Site:
    """What is assumed of the cluster; every field is a flag.

    Attributes:
        gpu_rate: pictures a second of one GPU (SAM 3, batched, one phrase). picture_mb: mean size, 10^6 bytes.
        cores: CPU cores a GPU may use. node_gpus: GPUs of a node.
        store_gbs, node_gbs: 10^9 bytes a second that the object store gives in all, and a node takes.
        store_latency: seconds until the first byte. start: seconds to start an element (imports, weights).
        node_mtbf: hours between failures of a node; down: minutes until it is back.
        gpu_price: per GPU hour. egress_price: per 10^9 bytes, 0 inside a region. requests_price: per 1000 GETs.
        array_most: elements a SLURM array may have (MaxArraySize - 1).
    """

    pictures: int = 100_000_000
    gpus: int = 64
    gpu_rate: float = 25.0
    picture_mb: float = 0.4
    cores: int = 12
    node_gpus: int = 8
    store_gbs: float = 20.0
    node_gbs: float = 10.0
    store_latency: float = 0.05
    start: float = 90.0
    node_mtbf: float = 1000.0
    down: float = 30.0
    gpu_price: float = 3.0
    egress_price: float = 0.0
    requests_price: float = 0.0004
    array_most: int = 1000


@dataclass(frozen=True)
class Measured:
    """Seconds of one core of this machine, and bytes of memory: of a row while merging, of a loose picture's name."""

    decode_s: float
    hash_gbs: float
    merge_rows_s: float
    row_bytes: float
    merge_row_memory: float
    listed_name_memory: float


def measure(side: int = 1008, megapixels: float = 1.2) -> Measured:
    """Decode and resize a photograph-like JPEG; write and read result rows as shard and merge do."""
    rng = np.random.default_rng(0)
    height = int((megapixels * 1e6 / 1.5) ** 0.5)
    rough = rng.integers(0, 255, (height // 8, height * 3 // 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rough).resize((height * 3 // 2, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    data, times = stream.getvalue(), []
    for _ in range(12):
        started = time.process_time()
        to_model(decode(data, "x"), side)
        times.append(time.process_time() - started)
    block = bytes(50_000_000)
    started = time.process_time()
    hashlib.sha256(block).digest()
    hashing = 0.05 / (time.process_time() - started)
    lines = [json.dumps(_row(at, rng), sort_keys=True).encode() + b"\n" for at in range(20000)]
    packed = gzip.compress(b"".join(lines), mtime=0)
    started = time.process_time()
    for _ in range(2):  # two passes, as `merge` makes
        rows = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    gzip.compress(b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows), mtime=0)
    merging = (time.process_time() - started) / len(lines)
    return Measured(
        float(np.median(times)), hashing, merging, len(packed) / len(lines), merge_memory(), listing_memory()
    )


def merge_memory(rows: int = 400_000) -> float:
    """Peak bytes a row of finding the first of equal pictures, its key included."""
    keys = np.random.default_rng(0).integers(0, 2**63, (rows, 2), np.uint64)
    tracemalloc.start()
    first_of_equal(keys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak + keys.nbytes) / rows


def listing_memory(files: int = 3000) -> float:
    """Peak bytes a name of planning over loose pictures (a folder; an object store's driver keeps more of each)."""
    with tempfile.TemporaryDirectory() as folder:
        for at in range(files):
            Path(folder, f"{at:09d}.jpg").touch()
        next(inbox_parts(folder, SHARD))  # what is imported and kept at first use
        tracemalloc.start()
        count = sum(len(part.names) for part in inbox_parts(folder, SHARD))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / count


def _row(at: int, rng: np.random.Generator) -> dict[str, Any]:
    """A result row as a shard writes it, with two detections, as hard to compress as a real one."""
    return {
        "name": f"part-{at // 1000:05d}.tar/{at:09d}.jpg",
        "bytes": int(rng.integers(100_000, 900_000)),
        "sha256": hashlib.sha256(str(at).encode()).hexdigest(),
        "height": 900,
        "width": 1350,
        "presence": round(float(rng.random()), 4),
        "detections": 2,
        "best": round(float(rng.random()), 4),
        "scores": [round(float(score), 4) for score in rng.random(2)],
        "boxes": [[round(float(edge), 1) for edge in box] for box in rng.random((2, 4)) * 1000],
    }


def stages(site: Site, known: Measured, gpus: int) -> dict[str, float]:
    """Seconds that one shard needs of each resource when `gpus` of them work at once."""
    nodes = -(-gpus // site.node_gpus)
    shard_gb = SHARD * site.picture_mb / 1e3
    share = min(site.store_gbs / gpus, site.node_gbs * nodes / gpus)
    return {
        "store and network": site.store_latency + shard_gb / share,
        "decoding": (SHARD * known.decode_s + shard_gb / known.hash_gbs) / site.cores,
        "GPU": SHARD / site.gpu_rate,
    }


def simulate(site: Site, known: Measured, seed: int = 7) -> dict[str, Any]:
    """Run every shard on its element; returns hours, how busy GPUs were, and what failures cost."""
    rng = np.random.default_rng(seed)
    shards, elements = -(-site.pictures // SHARD), min(site.gpus, site.array_most)
    slowest = max(stages(site, known, elements).values())
    left = [len(range(element, shards, elements)) for element in range(elements)]
    nodes = -(-elements // site.node_gpus)
    fails = [rng.exponential(site.node_mtbf * 3600) for _ in range(nodes)]
    queue = [(site.start * rng.uniform(0.8, 1.5), element) for element in range(elements)]
    heapq.heapify(queue)
    lost = failures = 0
    end, done_at = 0.0, [0.0] * elements
    while queue:
        now, element = heapq.heappop(queue)
        if not left[element]:
            done_at[element] = now
            end = max(end, now)
            continue
        node = element // site.node_gpus
        finish = now + slowest * rng.lognormal(0, 0.1)
        if now <= fails[node] < finish:  # the shard is lost, nothing else is; the element starts again
            lost += 1
            back = fails[node] + site.down * 60 + site.start
            if all(other // site.node_gpus != node or at >= fails[node] for at, other in queue):
                failures += 1
                fails[node] += site.down * 60 + rng.exponential(site.node_mtbf * 3600)
            heapq.heappush(queue, (back, element))
            continue
        if fails[node] < now:
            fails[node] = now + rng.exponential(site.node_mtbf * 3600)
        left[element] -= 1
        heapq.heappush(queue, (finish, element))
    busy = shards * SHARD / site.gpu_rate / (end * elements)
    return {
        "hours": end / 3600,
        "ideal_hours": shards * SHARD / site.gpu_rate / elements / 3600,
        "gpu_busy": busy,
        "first_element_done_hours": min(done_at) / 3600,
        "shards": shards,
        "shards_done_twice": lost,
        "node_failures": failures,
        "pictures_a_second": site.pictures / end,
    }


def breaks(site: Site, known: Measured) -> list[dict[str, Any]]:
    """At how many GPUs each resource becomes the slowest, and limits that are no rate; the nearest first."""
    gpu_time = SHARD / site.gpu_rate
    shard_gb = SHARD * site.picture_mb / 1e3
    at_store = site.store_gbs * (gpu_time - site.store_latency) / shard_gb
    cores = (SHARD * known.decode_s + shard_gb / known.hash_gbs) / gpu_time
    rates = [
        {"what": "GPUs that wait for the object store", "from": round(at_store), "unit": "GPUs"},
        {"what": "elements that one SLURM array may have", "from": site.array_most, "unit": "GPUs"},
    ]
    gigabytes = lambda bytes_each: round(site.pictures * bytes_each / 1e9, 1)  # noqa: E731
    return [
        *sorted(rates, key=lambda row: row["from"]),
        {"what": "CPU cores that a GPU needs for decoding", "from": round(cores, 1), "unit": f"cores of {site.cores}"},
        {"what": "memory of the merge", "from": gigabytes(known.merge_row_memory), "unit": "GB"},
        {
            "what": "time of the merge, one core",
            "from": round(site.pictures * known.merge_rows_s / 3600, 1),
            "unit": "h",
        },
        {
            "what": "memory of planning, were the pictures loose and not in tars",
            "from": gigabytes(known.listed_name_memory),
            "unit": "GB",
        },
        {"what": "listing them", "from": site.pictures // 1000, "unit": "LIST requests"},
        {"what": "files in the results folder", "from": 2 * site.pictures // SHARD, "unit": "files"},
    ]


def breaks_first(site: Site, limits: list[dict[str, Any]]) -> str:
    """In words: what is short at this size, or else what is when GPUs are added."""
    cores = next(row for row in limits if row["what"].startswith("CPU cores"))
    if cores["from"] > site.cores:
        return f"{cores['what']}: {cores['from']} are needed, {site.cores} are there"
    nearest = limits[0]
    said = "short already at" if nearest["from"] <= site.gpus else "nothing yet; with more GPUs first, from"
    return f"{said} {nearest['from']:,}: {nearest['what']}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Site()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mining_at_scale.json"))
    args = vars(parser.parse_args())
    out = args.pop("out")
    site, known = Site(**args), measure()
    moved = site.pictures * site.picture_mb / 1e6
    parts, result = stages(site, known, site.gpus), simulate(site, known)
    cost = {
        "gpus": result["hours"] * site.gpus * site.gpu_price,
        "egress": moved * 1e3 * site.egress_price,
        "requests": result["shards"] / 1000 * site.requests_price,
    }
    sweep = {gpus: simulate(Site(**{**args, "gpus": gpus}), known) for gpus in (8, 16, 32, 64, 128, 256, 512)}
    row = {
        "hardware": f"measured: one core, {platform.machine()}; the cluster is assumed",
        "measured": asdict(known),
        "assumed": asdict(site),
        "terabytes_read": moved,
        "gigabytes_of_results": site.pictures * known.row_bytes / 1e9,
        "seconds_of_a_shard": parts,
        "bottleneck": max(parts, key=lambda name: parts[name]),
        "simulated": result,
        "cost": cost | {"total": sum(cost.values())},
        "breaks_first": breaks_first(site, breaks(site, known)),
        "what_breaks": breaks(site, known),
        "hours_by_gpus": {str(gpus): round(found["hours"], 2) for gpus, found in sweep.items()},
        "gpu_busy_by_gpus": {str(gpus): round(found["gpu_busy"], 3) for gpus, found in sweep.items()},
    }
    write_json(out, row)
    print(f"{site.pictures:,} pictures, {moved:.0f} TB read, {row['gigabytes_of_results']:.1f} GB of results")
    print("a shard of 1,000:", {name: f"{seconds:.1f} s" for name, seconds in parts.items()}, "->", row["bottleneck"])
    print(
        f"{site.gpus} GPUs: {result['hours']:.1f} h, GPUs busy {result['gpu_busy']:.0%}, cost {row['cost']['total']:,.0f}"
    )
    print(
        f"{result['node_failures']} node failures, {result['shards_done_twice']} of {result['shards']:,} shards twice"
    )
    print("breaks first:", row["breaks_first"])
    for limit in row["what_breaks"]:
        print(f"  {limit['what']}: {limit['from']:,} {limit['unit']}")
    print("hours by GPUs:", row["hours_by_gpus"])


if __name__ == "__main__":
    main()
