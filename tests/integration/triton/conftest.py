"""A packaged tiny model, and the real server on free ports that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from triton_asking import Served, ask

from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import TritonEngine
from sam3_agent.serving.control import Control
from sam3_agent.serving.live import Live
from sam3_agent.serving.package import write_package
from sam3_agent.serving.server import Addresses, TritonServer
from sam3_agent.serving.settings import ServingSettings, load_settings
from sam3_agent.serving.up import prepare


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported graphs of a tiny model with random weights."""
    import torch

    from sam3.checkpoint import save_checkpoint, tiny_config
    from sam3.detector import Sam3Detector
    from sam3.export.export_onnx import export
    from sam3.tokenizer import build_tokenizer_file

    place = tmp_path_factory.mktemp("graphs")
    build_tokenizer_file(place / "tokenizer.json")
    torch.manual_seed(0)
    save_checkpoint(place / "tiny", Sam3Detector(tiny_config()), place / "tokenizer.json")
    export(place / "tiny", place / "graphs")
    return place / "graphs"


@pytest.fixture(scope="session")
def settings(repo_root: Path) -> ServingSettings:
    """The repository's settings, one thread a graph, few streams that are soon forgotten."""
    return load_settings(repo_root / "configs/serving.yaml").model_copy(
        update={"threads": 1, "streams": 4, "idle_seconds": 3}
    )


@pytest.fixture(scope="session")
def serve(
    graphs: Path, settings: ServingSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Served]]:
    """Start a server of its own for whoever needs one; all are ended with the tests, by their own process ids."""
    started: list[Served] = []

    def start(
        caches: dict[str, int] | None = None, change: Callable[[Path], None] = lambda _: None, **knobs: Any
    ) -> Served:
        place = tmp_path_factory.mktemp("triton")
        chosen = settings.model_copy(update={"queue": settings.queue.model_copy(update=knobs), **(caches or {})})
        change(write_package(graphs, place / "packages", "python", chosen, source="tiny"))
        live = Live(place / "live")
        prepare(live, place / "packages")
        served = Served(
            TritonServer(live.folder, Addresses.free(), log=place / "log"), graphs, live, place / "packages"
        )
        started.append(served)
        served.server.start(60)
        return served

    yield start
    for served in started:
        served.server.stop()


@pytest.fixture(scope="session")
def served(serve: Callable[..., Served]) -> Served:
    """The server that tests share which leave it as it was."""
    return serve()


@pytest.fixture(scope="session")
def reference(graphs: Path) -> OnnxEngine:
    """The in-process engine on the same graphs; random weights score low, so everything is kept."""
    return OnnxEngine(graphs, threshold=0.0, threads=1)


@pytest.fixture(scope="session")
def asking(serve: Callable[..., Served]) -> Served:
    """A server whose whole models ask the parts, as on a GPU host: Triton counts what runs there."""
    return serve({"own_parts_mb": 0})


@pytest.fixture
def engine(served: Served) -> Iterator[TritonEngine]:
    """The engine on the shared server."""
    made = TritonEngine(served.server.addresses.grpc, threshold=0.0)
    yield made
    made.close()


@pytest.fixture(params=["http", "grpc"])
def infer(request: pytest.FixtureRequest, served: Served) -> Callable[..., dict[str, Any]]:
    """`infer(model, inputs, outputs, **options)` over HTTP and over gRPC."""
    return asker(request.param, served)


@pytest.fixture(params=["http", "grpc"])
def infer_asking(request: pytest.FixtureRequest, asking: Served) -> Callable[..., dict[str, Any]]:
    """The same of the server whose parts are asked."""
    return asker(request.param, asking)


def asker(protocol: str, served: Served) -> Callable[..., dict[str, Any]]:
    """`infer` of a server."""
    if protocol == "http":
        import tritonclient.http as kind

        client: Any = kind.InferenceServerClient(served.server.addresses.http)
    else:
        import tritonclient.grpc as kind  # type: ignore[no-redef]

        client = kind.InferenceServerClient(served.server.addresses.grpc)
    return lambda *args, **options: ask(kind, client, *args, **options)


@pytest.fixture(scope="module")
def site(serve: Callable[..., Served], settings: ServingSettings) -> Served:
    """A server of its own with version 1 live, and version 2 packaged."""
    made = serve()
    write_package(made.graphs, made.packages, "python", settings, source="tiny")
    return made


@pytest.fixture
def control(site: Served) -> Control:
    return Control(site.server.addresses.grpc)
