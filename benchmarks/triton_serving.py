"""perf_analyzer against `sam3`: batching, server overhead, what the caches are worth, and memory over 5,000 requests.

    python benchmarks/triton_serving.py --model sam3-lite --json benchmarks/results/triton_serving.json      # 8 minutes
    python benchmarks/triton_serving.py --pieces overhead,answer --seconds 2                               # a look

Each piece has a server of its own: `overhead` (new pictures over gRPC and in process, in turns), `new` (perf_analyzer
at concurrency 1 and 8, no caches), `embedding` and `answer` (the same pictures again, with what is remembered), and
`memory` (5,000 requests with small pictures: resident memory of server and client). With --json the pieces of several
calls come together in one file, as long as checkpoint and machine are the same.

Needs `perf_analyzer` (PyPI: perf-analyzer) on the path, or its command line in PERF_ANALYZER: its wheel wants glibc
2.38, on older systems `ld-linux-x86-64.so.2 --library-path DIR perf_analyzer` of a newer one.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
import os
import shlex
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from sam3.decoding import decode
from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import TritonEngine
from sam3.errors import Unavailable
from sam3.eval.provenance import hardware_line
from sam3.files import write_json
from sam3.images import read_image
from sam3.types import Prompt, UInt8Array
from sam3_agent.serving.graphs import graphs_of
from sam3_agent.serving.live import Live
from sam3_agent.serving.package import write_package
from sam3_agent.serving.server import Addresses, TritonServer
from sam3_agent.serving.settings import ServingSettings, load_settings
from sam3_agent.serving.up import prepare

OUTPUTS = ("boxes", "scores", "phrase_index", "presence", "masks")
PICTURE = Path("data/demo/yard.jpg")
TURNS = 5
KINDS = ("jpeg", "pixels")  # of pictures that are sent
PIECES = ("overhead", "new", "embedding", "answer", "memory")


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
    out.unlink(missing_ok=True)  # another measurement's would be taken for this one's
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
        raise Unavailable(f"perf_analyzer: {done.returncode} {(done.stderr + done.stdout).strip()[-1500:]}")
    row = next(csv.DictReader(out.open()))
    return {"per_second": float(row["Inferences/Second"])} | {
        name: float(row[f"{name} latency"]) / 1000 for name in ("p50", "p95", "p99")
    }


def input_data(images: list[UInt8Array], path: Path) -> Path:
    """perf_analyzer's input file: raw pictures and a phrase."""
    return _rows([{"image": _tensor(image.tobytes(), image.shape)} for image in images], path)


def input_files(files: list[bytes], path: Path) -> Path:
    """The same with JPEG files; a BYTES tensor has four bytes of length before each element."""
    return _rows([{"image_bytes": _tensor(struct.pack("<I", len(data)) + data, (1,))} for data in files], path)


def _tensor(data: bytes, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"b64": base64.b64encode(data).decode(), "shape": list(shape)}


def _rows(inputs: list[dict[str, Any]], path: Path) -> Path:
    asked = {
        "phrases": {"content": ["chicken"], "shape": [1]},
        "threshold": {"content": [0.5], "shape": [1]},
    }
    path.write_text(json.dumps({"data": [row | asked for row in inputs]}))
    return path


def milliseconds(work: Any, rounds: int) -> list[float]:
    """Time of each of `rounds` calls of work(at)."""
    spent = []
    for at in range(rounds):
        start = time.perf_counter()
        work(at)
        spent.append((time.perf_counter() - start) * 1e3)
    return spent


def overhead(server: TritonServer, graphs: Path, threads: int, seconds: float, place: Path) -> dict[str, float]:
    """Median ms of new pictures in process and over gRPC, in turns of some seconds: JPEG files, and raw pixels."""
    engine, images = OnnxEngine(graphs, threads=threads), pictures(32)
    jpegs = [_jpeg(image) for image in images]
    files, pixels = input_files(jpegs, place / "files.json"), input_data(images, place / "pixels.json")

    def here(at: int, decoded: bool) -> None:
        image = images[at % 32] if decoded else decode(jpegs[at % 32], "a file")
        engine.ground(engine.encode([image]), [Prompt("chicken")])

    ways: dict[str, Callable[[], float]] = {}
    for name, data, decoded in zip(KINDS, (files, pixels), (False, True), strict=True):
        here(0, decoded)
        ways[f"in_process_{name}"] = lambda d=decoded: float(np.median(milliseconds(partial(here, decoded=d), 60)))
        ways[f"served_{name}"] = lambda d=data: analyze(server.addresses.grpc, d, 1, seconds, place)["p50"]
    rows: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(TURNS), desc="overhead", unit="turn"):
        for name, way in ways.items():
            rows[name].append(way())
    return {name: float(np.median(values)) for name, values in rows.items()}


def _jpeg(image: UInt8Array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=90)
    return out.getvalue()


def family(server: TritonServer) -> list[psutil.Process]:
    """The server and the processes of its models."""
    assert server.process is not None
    root = psutil.Process(server.process.pid)
    return [root, *root.children(recursive=True)]


def busy_cores(server: TritonServer, work: Any) -> tuple[Any, float]:
    """The result of work(), and how many cores server and models kept busy meanwhile."""
    everybody = family(server)

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in everybody)

    before, start = spent(), time.perf_counter()
    result = work()
    return result, (spent() - before) / (time.perf_counter() - start)


def memory(server: TritonServer, requests: int) -> dict[str, Any]:
    """Resident MB of server and client after each tenth of `requests`: half encode a picture, half ask about one."""
    engine = TritonEngine(server.addresses.grpc, at_once=48)
    rng, here = np.random.default_rng(0), psutil.Process()
    rows: dict[str, list[float]] = {"server_mb": [], "client_mb": []}
    for _ in tqdm(range(10), desc="requests", unit="tenth"):
        for _ in range(max(1, requests // 200)):
            images = [rng.integers(0, 255, (64, 64 + at, 3), np.uint8) for at in range(10)]
            engine.ground(engine.encode(images), [Prompt(f"thing {at}") for at in range(10)])
        rows["server_mb"].append(sum(process.memory_info().rss for process in family(server)) / 1e6)
        rows["client_mb"].append(here.memory_info().rss / 1e6)
    engine.close()
    growth = {f"{name.split('_')[0]}_last_over_third": held[-1] / held[2] for name, held in rows.items()}
    return {"requests": requests} | rows | growth


def measure(piece: str, server: TritonServer, graphs: Path, args: argparse.Namespace, place: Path) -> dict[str, Any]:
    """What one piece finds, by the names under which it is kept."""
    if piece == "overhead":
        return {"overhead": overhead(server, graphs, load_settings().threads, args.seconds / 4, place)}
    if piece == "memory":
        return {"memory": memory(server, args.requests)}
    data, found = input_data(pictures(32), place / "data.json"), {}
    for at_once in (1, 8) if piece == "new" else (8,):
        run = partial(analyze, server.addresses.grpc, data, at_once, args.seconds, place)
        measured, cores = busy_cores(server, run)
        found[f"{piece}_at_{at_once}"] = measured | {"busy_cores": cores}
    return found


def ratios(out: dict[str, Any]) -> dict[str, float]:
    """What is compared, as far as it has been measured."""
    made = {}
    if "overhead" in out:
        spent = out["overhead"]
        made |= {f"overhead_ms_{kind}": spent[f"served_{kind}"] - spent[f"in_process_{kind}"] for kind in KINDS}
    if "new_at_8" in out:
        new = out["new_at_8"]["per_second"]
        made["throughput_8_over_1"] = new / out["new_at_1"]["per_second"]
        kept = {
            piece: out[f"{piece}_at_8"]["per_second"] for piece in ("embedding", "answer") if f"{piece}_at_8" in out
        }
        made |= {f"{piece}_kept_over_new": value / new for piece, value in kept.items()}
    return made


def settings_of(piece: str) -> ServingSettings:
    """The repository's settings, with the caches that a piece leaves."""
    settings = load_settings()
    # too small for one entry: every picture is new. Or: embeddings are kept, answers are not. Or: soon full
    caches: dict[str, dict[str, int]] = {
        "overhead": {"image_cache_mb": 1, "response_cache_mb": 0},
        "new": {"image_cache_mb": 1, "response_cache_mb": 0},
        "embedding": {"response_cache_mb": 0},
        "memory": {"image_cache_mb": 4, "response_cache_mb": 1, "text_cache_mb": 1},
    }
    return settings.model_copy(update=caches.get(piece, {}))


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sam3-lite", help="a checkpoint, or a folder of exported graphs")
    parser.add_argument("--pieces", default=",".join(PIECES), help="any of them, separated by commas")
    parser.add_argument("--seconds", type=float, default=10, help="of a window of perf_analyzer, of which there are 3")
    parser.add_argument("--requests", type=int, default=5000, help="of memory")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pieces = args.pieces.split(",")
    if unknown := set(pieces) - set(PIECES):
        parser.error(f"--pieces {', '.join(unknown)}: expected some of {', '.join(PIECES)}")
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        graphs = graphs_of(args.model, place)
        about = {
            "checkpoint": args.model,
            "sha256": json.loads((graphs / "export.json").read_text())["sha256"],
            "hardware": hardware_line(),
            "cores_allowed": len(os.sched_getaffinity(0)),
            "triton": "2.51.0",
        }
        before = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {}
        same = all(before.get(key) == value for key, value in about.items() if key != "checkpoint")
        out: dict[str, Any] = before.get("measured", {}) if same else {}
        for piece in pieces:
            with serve(graphs, settings_of(piece), place / piece) as server:
                out |= measure(piece, server, graphs, args, place)
            summary = about | ratios(out) | {"measured": out}
            if args.json:  # a piece that was measured is kept, whatever becomes of the next
                write_json(args.json, summary)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
