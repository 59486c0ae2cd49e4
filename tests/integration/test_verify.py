"""`sam3-agent verify` on real pictures and engines; and the timing commands, small."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fake_run import write_finished_run
from small_models import save_small

from sam3.errors import BadCheckpoint, BadConfig, BadInput
from sam3.export.export_onnx import export
from sam3_agent.finished_run import Places
from sam3_agent.verify import GateFailed, verify


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return write_finished_run(tmp_path_factory.mktemp("run"), pairs=4)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_small(tmp_path_factory.mktemp("model"))
    export(folder, folder.parent / "graphs")
    return folder


def ask(places: Places, small: Path, out: Path, **changes: object) -> dict:
    options = {
        "engine": "onnx",
        "checkpoint": str(small.parent / "graphs"),
        "reference": "torch",
        "reference_checkpoint": str(small),
        "pairs": places.splits / "val.json",
        "images": places.images,
        "limit": 2,
        "cgf1": True,
        "device": None,
        "record": False,
    }
    verify(out=out, **(options | changes))  # type: ignore[arg-type]
    return json.loads(out.read_text())


def test_engines_that_agree_pass(places: Places, small: Path, tmp_path: Path) -> None:
    outcome = ask(places, small, tmp_path / "verify.json")
    assert outcome["passed"] and outcome["reasons"] == []
    assert outcome["pairs"] >= 2 and outcome["features_cosine"]["worst"] > 0.999999
    assert max(outcome["max_difference"].values()) < 1e-4
    assert outcome["cgF1"]["engine"] == outcome["cgF1"]["reference"]
    assert outcome["hardware"] and outcome["versions"]["onnxruntime"]


def test_sixteen_bits_go_through_the_same_gate(places: Places, small: Path, tmp_path: Path) -> None:
    torch_engine = {"engine": "torch", "checkpoint": str(small), "cgf1": False, "record": True}
    outcome = ask(places, small, tmp_path / "verify.json", **torch_engine, switches=["fast=exact,bf16"])
    assert outcome["engine"] == {"name": "torch", "checkpoint": str(small), "dtype": "bfloat16", "fast": "exact,bf16"}
    # random weights find nothing at 0.5, and numbers are not judged at 16 bits: that proves nothing
    assert outcome["reasons"] and outcome["reasons"][0].startswith("nothing was compared")
    for wrong in ("fast", "threads=1"):
        with pytest.raises(BadConfig, match="expected fast="):
            ask(places, small, tmp_path / "verify.json", switches=[wrong])


def test_a_graph_that_says_something_else_fails_the_gate(places: Places, small: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    broken = tmp_path / "graphs"
    shutil.copytree(small.parent / "graphs", broken)
    model = onnx.load(broken / "image_encoder.onnx")
    weight = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, broken / "image_encoder.onnx")
    with pytest.raises(GateFailed, match=r"do not say the same.*Do not ship"):
        ask(places, small, tmp_path / "verify.json", checkpoint=str(broken), cgf1=False)
    outcome = ask(places, small, tmp_path / "verify.json", checkpoint=str(broken), cgf1=False, record=True)
    assert not outcome["passed"] and outcome["reasons"]


def test_what_cannot_be_compared_is_refused(places: Places, small: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="made from other weights"):
        ask(places, small, tmp_path / "verify.json", reference_checkpoint="sam3-lite")
    with pytest.raises(BadCheckpoint, match=r"export_onnx\.py"):
        ask(places, small, tmp_path / "verify.json", checkpoint=str(tmp_path))
    assert not (tmp_path / "verify.json").exists()


def script(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", root / f"benchmarks/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_timing_of_encoder_and_decoder(
    repo_root: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs, out = small.parent / "graphs", tmp_path / "times.json"
    run = script(repo_root, "benchmark_trt").main
    files = ["--encoder", str(graphs / "image_encoder.onnx"), "--decoder", str(graphs / "decoder.onnx")]
    assert run([*files, "--runs", "3", "--images", "2", "--pairs", "2", "--out", str(out)]) == 0
    assert "images/s" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["decoder"]["p5_ms"] <= record["decoder"]["median_ms"] <= record["decoder"]["p95_ms"]
    (tmp_path / "stray.engine").write_bytes(b"from a friend")
    assert run(["--encoder", str(tmp_path / "stray.engine"), "--decoder", str(graphs / "decoder.onnx")]) == 1
    assert "nobody knows what its engines were built for" in capsys.readouterr().err


@pytest.mark.slow
def test_engines_side_by_side(repo_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines.json"
    run = script(repo_root, "engines").main
    assert run(["--model", "small", "--engines", "stock,torch-exact,onnx", "--rounds", "2", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert set(record["engines"]) == {"stock", "torch-exact", "onnx"} and record["weights"] == "random"
    for name in ("torch-exact", "onnx"):
        assert record["engines"][name]["faster than stock"]["image + 1 phrase"] > 0
    assert record["roofline_h200"]["published model"]["image_and_phrase_ms"] < 12
