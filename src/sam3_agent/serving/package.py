"""`sam3-agent package`: a registered model -> a complete Triton model repository, `serving/model_repository/<version>`.

Each of its seven models has one version directory with everything it needs: graphs, tokenizer, the server-side code
of `sam3/triton`, and a manifest of checksums. A version is written beside its place and moved there whole.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadConfig, BadInput
from sam3.export.cut import parts
from sam3.files import read_json
from sam3.triton.grounding import GRAPHS
from sam3.triton.manifest import write_manifest
from sam3_agent.serving import model_configs as configs
from sam3_agent.serving.graphs import graphs_of
from sam3_agent.serving.settings import FILE, ServingSettings, load_settings

REPOSITORY = Path("serving/model_repository")
CODE = (  # what the server-side models import, and nothing else of sam3
    "__init__.py", "errors.py", "files.py", "types.py", "pixels.py", "decoding.py", "tokenizer.py",
    "engines/__init__.py", "engines/answer.py", "engines/prompts.py",
    *(f"triton/{name}.py" for name in (
        "__init__", "answer", "bls", "graph_model", "grounding", "manifest", "meters", "own_parts", "query", "recent",
        "streams", "video_model", "whole_model",
    )),
)  # fmt: skip
SHIM = '''"""Written by `sam3-agent package`: the code of this version lies beside this file."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sam3.triton.{module} import TritonPythonModel  # noqa: E402, F401
'''


def package(
    model: Annotated[
        str, typer.Option(help="A checkpoint or its exported graphs (folder), sam3-lite, or models:/NAME@ALIAS.")
    ] = "models:/production-candidate-v1@candidate",
    out: Annotated[Path, typer.Option(help="Where versions are kept.")] = REPOSITORY,
    backend: Annotated[str, typer.Option(help="python (laptop), onnxruntime or tensorrt (GPU), or auto.")] = "auto",
    settings: Annotated[Path, typer.Option(help="Batching, queues and caches.")] = FILE,
) -> None:
    """Turn a registered model into a Triton model repository."""
    chosen, knobs = choose_backend(backend), load_settings(settings)
    with tempfile.TemporaryDirectory() as work:
        graphs = graphs_of(model, Path(work))
        folder = write_package(graphs, out, chosen, knobs, source=model)
    print(f"{folder}: version {folder.name}, {chosen} backend. Serve it: sam3-agent triton up; or: sam3-agent deploy")


def choose_backend(name: str) -> configs.Backend:
    """The backend asked for; "auto" is TensorRT where there is an NVIDIA GPU, else the Python backend."""
    if name == "auto":
        return "tensorrt" if shutil.which("nvidia-smi") else "python"
    if name not in ("python", "onnxruntime", "tensorrt"):
        raise BadConfig(f"backend {name!r}: expected python, onnxruntime, tensorrt or auto.", field="backend")
    return name  # type: ignore[return-value]


def write_package(
    graphs: Path,
    out: Path,
    backend: configs.Backend,
    settings: ServingSettings,
    *,
    source: str,
    version: int | None = None,
) -> Path:
    """Write one version.

    Args:
        graphs: what `export_onnx.py` wrote, or what `build_tensorrt.py` made of it.
        version: its number; the next free one when None.

    Returns:
        Its folder, `out/<version>`.

    Raises:
        BadInput: a version of that number is there already, or the folder cannot be written.
    """
    number = version or max(versions_in(out), default=0) + 1
    target = out / str(number)
    if target.exists():
        raise BadInput(f"{target}: there is a version {number} already. Versions are never changed; take the next.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=out, prefix=f".{number}."))
    except OSError as error:
        raise BadInput(f"{out}: cannot be written ({error.strerror}). Free or unlock the folder.") from error
    try:
        models = parts(graphs)
        for graph in GRAPHS:
            built = built_engine(graphs, graph) if backend == "tensorrt" else None
            config = configs.graph_config(graph, models[graph], number, backend, settings, built is not None)
            _write_graph(fresh / configs.PARTS[graph], models[graph], built, number, config)
        levels = len(configs.tensors_of(models["fine_levels"])[1]) + 1
        record = read_json(graphs / "export.json")
        whole = configs.whole_config(number, levels, backend, settings, str(record["sha256"]))
        _write_whole(fresh / configs.WHOLE, "whole_model", graphs, number, whole)
        video = configs.video_config(number, levels, backend, settings)
        _write_whole(fresh / configs.VIDEO, "video_model", graphs, number, video)
        facts = {
            "version": number,
            "backend": backend,
            "source": source,
            "checkpoint": record["checkpoint"],
            "checkpoint_sha256": record["sha256"],
            "image_size": record["image_size"],
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_manifest(fresh, **facts)
        fresh.chmod(0o755)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def versions_in(folder: Path) -> list[int]:
    """The versions in a folder of packages, in order."""
    return sorted(int(item.name) for item in folder.glob("[0-9]*") if item.is_dir() and item.name.isdigit())


def built_engine(graphs: Path, graph: str) -> Path | None:
    """The TensorRT engine of a part, where `build_tensorrt.py` has made one.

    Raises:
        BadInput: it is TensorRT-RTX's, which Triton does not run.
    """
    path = graphs / f"{graph}.engine"
    if not path.is_file():
        return None
    if (library := read_json(graphs / "engines.json")["library"]) != "tensorrt":
        raise BadInput(f"{path}: built with {library}. Triton runs TensorRT's own: build it on the GPU host.")
    return path


def _write_graph(model: Path, graph: bytes, built: Path | None, version: int, config: dict[str, Any]) -> None:
    place = model / str(version)
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(graph)
    if built:
        shutil.copyfile(built, place / "model.plan")
    if config.get("backend") == "python":
        _write_code(place, "graph_model")
    _finish(model, version, config)


def _write_whole(model: Path, module: str, graphs: Path, version: int, config: dict[str, Any]) -> None:
    place = model / str(version)
    place.mkdir(parents=True)
    for name in ("tokenizer.json", "export.json"):
        shutil.copyfile(graphs / name, place / name)
    _write_code(place, module)
    phrase = b"warm up"
    (model / "warmup").mkdir()
    (model / "warmup" / "phrases").write_bytes(struct.pack("<I", len(phrase)) + phrase)
    _finish(model, version, config)


def _write_code(place: Path, module: str) -> None:
    import sam3

    root = Path(sam3.__file__).parent
    for name in CODE:
        (place / "sam3" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, place / "sam3" / name)
    (place / "model.py").write_text(SHIM.format(module=module), encoding="utf-8")


def _finish(model: Path, version: int, config: dict[str, Any]) -> None:
    text = configs.render(config)
    place = model / str(version)
    (place / "config.pbtxt").write_text(text, encoding="utf-8")  # what a deployment starts from
    write_manifest(place, version=version, model=config["name"])
    (model / "config.pbtxt").write_text(text, encoding="utf-8")
