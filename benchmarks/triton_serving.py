"""perf_analyzer against `sam3`: batching, server overhead, and what the caches are worth, side by side in one run.

    python benchmarks/triton_serving.py --model sam3-lite [--seconds 10] [--json benchmarks/results/triton_serving.json]

Needs `perf_analyzer` (PyPI: perf-analyzer) on the path, or its command line in PERF_ANALYZER: its wheel wants glibc
2.38, on older systems `ld-linux-x86-64.so.2 --library-path DIR perf_analyzer` of a newer one. The same command
measures a GPU host: package with --backend tensorrt, and give the running server's address with --address.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import platform
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sam3.engines.onnx_engine import OnnxEngine
from sam3.errors import Unavailable
from sam3.files import write_json
from sam3.images import read_image
from sam3.triton.client import Connection, texts
from sam3.types import Prompt, UInt8Array
from sam3_agent.serving.graphs import graphs_of
from sam3_agent.serving.live import Live
from sam3_agent.serving.package import write_package
from sam3_agent.serving.server import Addresses, TritonServer
from sam3_agent.serving.settings import ServingSettings, load_settings
from sam3_agent.serving.up import prepare

OUTPUTS = ("boxes", "scores", "phrase_index", "presence", "masks")
PICTURE = Path("data/demo/yard.jpg")


def pictures(count: int) -> list[UInt8Array]:
    """One picture, shifted: as many different ones as are asked for, with the same content to find."""
    image = read_image(PICTURE)
    return [np.roll(image, 5 * at + 1, axis=1).copy() for at in range(count)]


@contextmanager
def serve(graphs: Path, settings: ServingSettings, place: Path) -> Iterator[TritonServer]:
    """A server of these settings on free ports."""
    write_package(graphs, place / "packages", "python", settings, source="benchmark")
    live = Live(place / "live")
    prepare(live, place / "packages")
    server = TritonServer(live.folder.resolve(), Addresses.free(), log=place / "log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def analyze(address: str, data: Path, concurrency: int, seconds: float, place: Path) -> dict[str, float]:
    """One perf_analyzer measurement: inferences a second and latency percentiles in ms.

    Raises:
        Unavailable: perf_analyzer is not there, or could not measure.
    """
    out = place / f"{concurrency}.csv"
    command = [
        *shlex.split(os.environ.get("PERF_ANALYZER", "perf_analyzer")),
        *("-m", "sam3", "-i", "grpc", "-u", address, "--input-data", str(data), "-f", str(out)),
        *("--concurrency-range", str(concurrency), "--measurement-interval", str(int(seconds * 1000))),
        *("--max-trials", "3", "--stability-percentage", "999"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10 * seconds + 120)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]}: not found. pip install perf-analyzer, or set PERF_ANALYZER.") from error
    if not out.is_file():
        raise Unavailable(f"perf_analyzer: {(done.stderr or done.stdout).strip()[-300:]}")
    row = next(csv.DictReader(out.open()))
    return {"per_second": float(row["Inferences/Second"])} | {
        name: float(row[f"{name} latency"]) / 1000 for name in ("p50", "p95", "p99")
    }


def input_data(images: list[UInt8Array], path: Path) -> Path:
    """perf_analyzer's input file: raw pictures and a phrase."""
    rows = [
        {
            "image": {"b64": base64.b64encode(image.tobytes()).decode(), "shape": list(image.shape)},
            "phrases": {"content": ["chicken"], "shape": [1]},
            "threshold": {"content": [0.5], "shape": [1]},
        }
        for image in images
    ]
    path.write_text(json.dumps({"data": rows}))
    return path


def milliseconds(work: Any, rounds: int) -> list[float]:
    """Time of each of `rounds` calls of work(at)."""
    spent = []
    for at in range(rounds):
        start = time.perf_counter()
        work(at)
        spent.append((time.perf_counter() - start) * 1e3)
    return spent


def overhead(server: TritonServer, graphs: Path, threads: int, rounds: int) -> dict[str, float]:
    """Median ms of the same new pictures in process and over gRPC, alternating in blocks of 5."""
    engine, connection = OnnxEngine(graphs, threads=threads), Connection(server.addresses.grpc)
    images = pictures(rounds)
    threshold = np.full((1, 1), 0.5, np.float32)

    def here(at: int) -> None:
        engine.ground(engine.encode([images[at]]), [Prompt("chicken")])

    def there(at: int) -> None:
        inputs = {"image": images[at][None], "phrases": texts(["chicken"]), "threshold": threshold}
        connection.run(connection.infer("sam3", inputs, OUTPUTS, deadline=60))

    inside: list[float] = []
    served: list[float] = []
    for start in range(0, rounds, 5):
        inside += milliseconds(lambda at, start=start: here(start + at), 5)
        served += milliseconds(lambda at, start=start: there(start + at), 5)
    connection.close()
    return {"in_process_p50": float(np.median(inside)), "served_p50": float(np.median(served))}


def busy_cores(server: TritonServer, work: Any) -> tuple[Any, float]:
    """The result of work(), and how many cores server and models kept busy meanwhile."""
    assert server.process is not None
    everybody = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in everybody)

    before, start = spent(), time.perf_counter()
    result = work()
    return result, (spent() - before) / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="sam3-lite")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings = load_settings()
    # caches too small for one entry: every picture is new
    bare = settings.model_copy(update={"image_cache_mb": 1, "response_cache_mb": 0})
    # embeddings are kept, answers are not: the same picture again runs the decoder only
    embedded = settings.model_copy(update={"response_cache_mb": 0})
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        graphs = graphs_of(args.model, place)
        data = input_data(pictures(32), place / "data.json")
        out: dict[str, Any] = {}
        for name, knobs in (("new", bare), ("embedding_kept", embedded), ("answer_kept", settings)):
            with serve(graphs, knobs, place / name) as server:
                if name == "new":
                    out["overhead"] = overhead(server, graphs, settings.threads, args.rounds)
                for at_once in (1, 8) if name == "new" else (8,):
                    measured, cores = busy_cores(
                        server, lambda s=server, n=at_once: analyze(s.addresses.grpc, data, n, args.seconds, place)
                    )
                    out[f"{name}_at_{at_once}"] = measured | {"busy_cores": cores}
        record = json.loads((graphs / "export.json").read_text())
    summary = {
        "checkpoint": args.model,
        "sha256": record["sha256"],
        "hardware": f"{platform.machine()} CPU, {os.cpu_count()} threads",
        "triton": "2.51.0",
        "throughput_8_over_1": out["new_at_8"]["per_second"] / out["new_at_1"]["per_second"],
        "overhead_ms": out["overhead"]["served_p50"] - out["overhead"]["in_process_p50"],
        "embedding_kept_over_new": out["embedding_kept_at_8"]["per_second"] / out["new_at_8"]["per_second"],
        "answer_kept_over_new": out["answer_kept_at_8"]["per_second"] / out["new_at_8"]["per_second"],
        "measured": out,
    }
    print(json.dumps(summary, indent=2))
    if args.json:
        write_json(args.json, summary)


if __name__ == "__main__":
    main()
