"""`sam3-agent package` and `triton up`: complete versions, numbered, for every kind of host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from sam3.errors import BadCheckpoint, BadConfig, BadInput
from sam3.export.cut import parts
from sam3.triton.manifest import verify
from sam3_agent.serving.graphs import graphs_of
from sam3_agent.serving.live import Deployment, Live
from sam3_agent.serving.model_configs import MODELS
from sam3_agent.serving.package import choose_backend, versions_in, write_package
from sam3_agent.serving.server import Addresses
from sam3_agent.serving.settings import ServingSettings, load_settings
from sam3_agent.serving.up import container_command, prepare, runs_in_container


def config(folder: Path, model: str) -> ModelConfig:
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), ModelConfig())


def test_versions_are_complete_numbered_and_never_changed(
    graphs: Path, settings: ServingSettings, tmp_path: Path
) -> None:
    folders = [write_package(graphs, tmp_path, "python", settings, source="tiny") for _ in range(2)]
    assert [folder.name for folder in folders] == ["1", "2"] == list(map(str, versions_in(tmp_path)))
    facts = verify(folders[1])
    assert (facts["version"], facts["backend"], facts["source"]) == (2, "python", "tiny")
    for model in MODELS:
        assert verify(folders[1] / model / "2")["model"] == model
        assert list(config(folders[1], model).version_policy.specific.versions) == [2]
    with pytest.raises(BadInput, match="never changed"):
        write_package(graphs, tmp_path, "python", settings, source="tiny", version=2)


def test_the_same_tensors_on_every_backend(graphs: Path, settings: ServingSettings, tmp_path: Path) -> None:
    backends = ("python", "onnxruntime", "tensorrt")
    made = {name: write_package(graphs, tmp_path / name, name, settings, source="tiny") for name in backends}
    for model in MODELS:
        configs = [config(folder, model) for folder in made.values()]
        assert len({(str(item.input), str(item.output), item.max_batch_size) for item in configs}) == 1
    encoder = {name: config(folder, "sam3_image_encoder") for name, folder in made.items()}
    assert [encoder[name].platform or encoder[name].backend for name in made] == [
        "python",
        "onnxruntime_onnx",
        "onnxruntime_onnx",
    ]
    [accelerator] = encoder["tensorrt"].optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert encoder["onnxruntime"].instance_group[0].kind == ModelConfig().instance_group.add(kind=1).KIND_GPU
    for folder in made.values():
        text = (folder / "sam3_decoder" / "config.pbtxt").read_text()
        for said in (
            "preferred_batch_size",
            "max_queue_size",
            "default_timeout_microseconds",
            "priority_levels",
            "model_warmup",
        ):
            assert said in text
    assert config(made["python"], "sam3_video").sequence_batching.oldest.max_candidate_sequences == settings.streams


def test_built_engines_are_served_as_they_are(graphs: Path, settings: ServingSettings, tmp_path: Path) -> None:
    engines = tmp_path / "engines"  # as `build_tensorrt.py` leaves them
    engines.mkdir()
    for name, model in parts(graphs).items():
        (engines / f"{name}.onnx").write_bytes(model)
        (engines / f"{name}.engine").write_bytes(b"an engine")
    for name in ("tokenizer.json", "export.json"):
        (engines / name).symlink_to(graphs / name)
    (engines / "engines.json").write_text('{"library": "tensorrt"}')
    folder = write_package(engines, tmp_path / "out", "tensorrt", settings, source="tiny")
    assert config(folder, "sam3_decoder").platform == "tensorrt_plan"
    assert (folder / "sam3_decoder/1/model.plan").read_bytes() == b"an engine"
    (engines / "engines.json").write_text('{"library": "tensorrt_rtx"}')
    with pytest.raises(BadInput, match="Triton runs TensorRT's own"):
        write_package(engines, tmp_path / "out", "tensorrt", settings, source="tiny")


def test_a_registered_model_is_found_by_its_alias(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    client.create_registered_model("hen-finder")
    client.create_model_version("hen-finder", str(graphs))
    client.set_registered_model_alias("hen-finder", "candidate", "1")
    for uri in ("models:/hen-finder@candidate", "models:/hen-finder/1"):
        place = tmp_path / uri[-1]
        place.mkdir()
        assert (graphs_of(uri, place) / "decoder.onnx").is_file()
    with pytest.raises(BadInput, match="--model sam3-lite"):
        graphs_of("models:/goose-finder@candidate", tmp_path)


def test_what_cannot_be_is_refused_in_one_line(settings: ServingSettings, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="expected python, onnxruntime, tensorrt or auto"):
        choose_backend("abacus")
    with pytest.raises(BadInput, match="no packaged version"):
        prepare(Live(tmp_path / "live"), tmp_path / "packages")
    (tmp_path / "serving.yaml").write_text("batch: 0\n")
    with pytest.raises(BadConfig, match=r"batch: .* greater than or equal to 1"):
        load_settings(tmp_path / "serving.yaml")
    with pytest.raises(BadConfig, match="needs the container"):
        runs_in_container("local", "tensorrt")
    with pytest.raises(BadConfig, match="SAM3_TRITON_CONTROL_KEY"):
        container_command(tmp_path, Addresses(), None)


def test_the_container_gets_a_repository_it_cannot_write(tmp_path: Path) -> None:
    command = container_command(tmp_path, Addresses(), "secret")
    assert runs_in_container("auto", "tensorrt") and runs_in_container("container", "python")
    assert f"{tmp_path}:/models:ro" in command
    assert {"--read-only", "--cap-drop"} <= set(command)
    assert "127.0.0.1:8001:8001" in command


def test_a_damaged_version_is_not_served(graphs: Path, settings: ServingSettings, tmp_path: Path) -> None:
    folder = write_package(graphs, tmp_path / "packages", "python", settings, source="tiny")
    (folder / "sam3/1/tokenizer.json").write_text("{}")
    live = Live(tmp_path / "live")
    with pytest.raises(BadCheckpoint, match="checksum"):
        prepare(live, tmp_path / "packages")
    assert live.deployment() == Deployment()


def test_triton_up_serves_until_it_is_told_to_end(graphs: Path, settings: ServingSettings, tmp_path: Path) -> None:
    """The command itself, as a person starts it."""
    write_package(graphs, tmp_path / "packages", "python", settings, source="tiny")
    ports = Addresses.free()
    command = [
        *(sys.executable, "-m", "sam3_agent.cli", "triton", "up", "--live", tmp_path / "live"),
        *("--packages", tmp_path / "packages", "--http-port", ports.http_port, "--grpc-port", ports.grpc_port),
        *("--metrics-port", ports.metrics_port, "--log", tmp_path / "log"),
    ]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    try:
        assert process.stdout is not None
        assert "version 1 ready" in process.stdout.readline()
        assert urllib.request.urlopen(f"http://{ports.http}/v2/models/sam3/ready", timeout=5).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        end = time.monotonic() + 5
        while ports.busy() is not None:
            assert time.monotonic() < end, "the server is gone with its parent"
    finally:
        process.kill()
        process.wait()
