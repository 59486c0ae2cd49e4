"""TensorRT without a GPU: the graphs parse and build ahead of time; engines from elsewhere are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_models import save_small

from sam3.engines import load_engine
from sam3.engines.tensorrt_engine import check_origin
from sam3.errors import BadCheckpoint, BadConfig, BadInput, Unavailable
from sam3.export.build_tensorrt import build, main, shapes_of
from sam3.export.cut import PARTS, parts
from sam3.export.export_onnx import export
from sam3.export.fp8 import fp8, linear_layers
from sam3.export.half import half

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX builds ahead of time on Linux x86-64 only")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trt")
    export(save_small(place), place / "graphs", attention="explicit")
    return place / "graphs"


@pytest.fixture(scope="module")
def engines(graphs: Path) -> Path:
    build(graphs, graphs.parent / "engines", precision="fp16", target="SM89")
    return graphs.parent / "engines"


@pytest.mark.slow
def test_all_parts_build_ahead_of_time_in_half_precision(engines: Path) -> None:
    record = json.loads((engines / "engines.json").read_text())
    assert sorted(record["parts"]) == sorted(PARTS)
    assert (record["compute_capability"], record["library"], record["precision"]) == ("SM89", "tensorrt_rtx", "fp16")
    for name, digest in record["parts"].items():
        assert hashlib.sha256((engines / f"{name}.engine").read_bytes()).hexdigest() == digest
    line = record["trtexec"]["decoder"]
    assert "--stronglyTyped" in line and "--timingCacheFile" in line
    assert "text:1x2x32" in line and "text:16x32x32" in line


def test_profiles_cover_every_dynamic_axis(graphs: Path) -> None:
    shapes = {name: shapes_of(model, 8) for name, model in parts(graphs).items()}
    assert shapes["image_encoder"]["pixels"] == ((1, 3, 64, 64), (1, 3, 64, 64), (16, 3, 64, 64))
    assert shapes["decoder"]["boxes"] == ((1, 1, 4), (4, 1, 4), (16, 16, 4))
    assert shapes["mask_head"]["queries"] == ((1, 1, 32), (4, 8, 32), (16, 8, 32))


def test_half_precision_is_cast_in_the_graph_and_softmax_stays_wide(graphs: Path) -> None:
    import onnx

    graph = onnx.load_from_string(half(parts(graphs)["image_encoder"])).graph
    weights = [item for item in graph.initializer if len(item.dims) >= 2]
    narrow = sum(item.data_type == onnx.TensorProto.FLOAT16 for item in weights)
    assert narrow > 0.8 * len(weights)
    made = {value: node for node in graph.node for value in node.output}
    softmax = [node for node in graph.node if node.op_type == "Softmax"]
    assert softmax and all(made[node.input[0]].op_type == "Cast" for node in softmax)


def fed(graphs: Path) -> list[dict[str, np.ndarray]]:
    """Pixels as the image encoder sees them."""
    side = json.loads((graphs / "export.json").read_text())["image_size"]
    rng = np.random.default_rng(0)
    return [{"pixels": rng.uniform(-1, 1, (1, 3, side, side)).astype(np.float32)} for _ in range(3)]


def test_linear_layers_in_fp8_say_nearly_the_same(graphs: Path) -> None:
    import onnx
    import onnxruntime as ort

    model = parts(graphs)["image_encoder"]
    narrow = fp8(model, fed(graphs))
    graph = onnx.load_from_string(narrow).graph
    layers = linear_layers(onnx.load_from_string(model))
    stored = [item for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT8E4M3FN and item.dims]
    assert len(layers) >= 12 and len(stored) == len({weight for _, weight in layers.values()})
    options = ort.SessionOptions()
    # its optimiser moves the conversions past transposes, which do not take FP8
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact, rounded = (ort.InferenceSession(item, options).run(None, fed(graphs)[0]) for item in (model, narrow))
    for one, other in zip(exact, rounded, strict=True):
        cosine = float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))
        assert 0.99 < cosine < 0.999999, "three bits of mantissa are felt, and no more than that"
    with pytest.raises(BadInput, match="--pictures"):
        fp8(model, [])


@pytest.mark.slow
def test_fp8_builds_ahead_of_time(graphs: Path, tmp_path: Path) -> None:
    import cv2

    for at in range(2):
        cv2.imwrite(str(tmp_path / f"{at}.png"), np.random.default_rng(at).integers(0, 255, (64, 64, 3), np.uint8))
    record = build(graphs, tmp_path / "out", precision="fp8", target="SM89", pictures=tmp_path)
    assert record["precision"] == "fp8" and len(record["parts"]) == len(PARTS)
    sizes = {name: (tmp_path / "out" / f"{name}.onnx").stat().st_size for name in PARTS}
    assert sizes["image_encoder"] < len(half(parts(graphs)["image_encoder"]))


def test_engines_from_elsewhere_are_refused_with_the_command_to_rebuild(engines: Path, tmp_path: Path) -> None:
    record = json.loads((engines / "engines.json").read_text())
    here = {key: record[key] for key in ("library", "version", "gpu", "compute_capability")}
    check_origin(engines, record, here)
    for key, other in (("version", "9.9"), ("compute_capability", "SM90"), ("library", "tensorrt")):
        with pytest.raises(BadCheckpoint, match=rf"{other}.*Build again: python sam3/export/build_tensorrt\.py"):
            check_origin(engines, record, here | {key: other})
    with pytest.raises(BadCheckpoint, match=r"H100.*this is H200"):
        check_origin(engines, record | {"gpu": "H100"}, here | {"gpu": "H200"})

    shutil.copytree(engines, tmp_path / "engines")
    (tmp_path / "engines/decoder.engine").write_bytes(b"from a friend")
    with pytest.raises(BadCheckpoint, match=r"decoder\.engine: missing, or not the file that was built"):
        load_engine("tensorrt", checkpoint=tmp_path / "engines")
    (tmp_path / "engines/engines.json").unlink()
    with pytest.raises(BadCheckpoint, match="nobody knows what its engines were built for"):
        load_engine("tensorrt", checkpoint=tmp_path / "engines")


def test_without_a_gpu_engines_do_not_run(engines: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Unavailable, match="GPU"):
        load_engine("tensorrt", checkpoint=engines)
    with pytest.raises(Unavailable, match="runs on cuda"):
        load_engine("tensorrt", checkpoint=engines, device="cpu")


def test_what_cannot_be_built_leaves_nothing(graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadConfig, match="expected one of SM"):
        build(graphs, tmp_path / "out", target="SM1")
    with pytest.raises(BadConfig, match="precision"):
        build(graphs, tmp_path / "out", precision="fp4")
    fused = tmp_path / "fused"
    shutil.copytree(graphs, fused)
    record = json.loads((fused / "export.json").read_text())
    (fused / "export.json").write_text(json.dumps(record | {"attention": "fused"}))
    with pytest.raises(BadConfig, match=r"not written out.*export_onnx\.py.*--attention explicit"):
        build(fused, tmp_path / "out", precision="fp16", target="SM89")
    broken = tmp_path / "broken"
    shutil.copytree(graphs, broken)
    (broken / "decoder.onnx").write_bytes(b"no graph")
    assert main(["--graphs", str(broken), "--output", str(tmp_path / "out"), "--target", "SM89"]) == 1
    assert "not an ONNX graph" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_build_that_says_something_else_is_not_kept(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"cosine 0\.07.*not kept"):
        build(graphs, tmp_path / "out", precision="fp32", target="SM89", gate=lambda *_: ["features: cosine 0.07"])
    assert not (tmp_path / "out").exists()
