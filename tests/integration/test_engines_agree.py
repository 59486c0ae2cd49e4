"""Every engine and every optimisation gives one answer, and bad input gets one kind of error from all of them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_models import BOX, PROMPTS, pictures, save_small

from sam3.checkpoint import load_checkpoint
from sam3.engines import ENGINES, load_engine
from sam3.engines.auto import choose
from sam3.engines.onnx_engine import OnnxEngine, open_session
from sam3.engines.tensorrt_engine import TensorrtEngine
from sam3.engines.torch_engine import TorchEngine
from sam3.engines.torch_fast import FastTorchEngine
from sam3.errors import BadCheckpoint, BadConfig, BadInput, Unavailable
from sam3.eval.parity import Parity, compare, judge
from sam3.export.build_tensorrt import parity_gate
from sam3.export.cut import parts, read_record
from sam3.export.export_onnx import export
from sam3.export.graphs import CUTS
from sam3.export.quantise import quantise
from sam3.fast.switches import EXACT, Switches, best, parse
from sam3.files import write_json
from sam3.images import read_image
from sam3.types import Prompt

SIZES = ((48, 80), (80, 48), (64, 64))
ASKED = [(image, PROMPTS) for image in pictures(*SIZES)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def graphs(small: Path) -> Path:
    record = export(small, small.parent / "graphs", attention="explicit")
    assert record["end_to_end_difference"] < 1e-4
    return small.parent / "graphs"


@pytest.fixture(scope="module")
def built(graphs: Path) -> Path:
    """The parts as `build_tensorrt` leaves them, but for what is inside the engine files: graphs (`stand_in`)."""
    folder, digests = graphs.parent / "engines", {}
    folder.mkdir()
    for name, model in parts(graphs).items():
        (folder / f"{name}.engine").write_bytes(model)
        digests[name] = hashlib.sha256(model).hexdigest()
    shutil.copyfile(graphs / "tokenizer.json", folder / "tokenizer.json")
    where = {"library": "tensorrt", "version": "10.0", "gpu": "H200", "compute_capability": "SM90", "precision": "fp32"}
    write_json(folder / "engines.json", read_record(graphs) | where | {"parts": digests})
    return folder


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime in the place of TensorRT's library, which runs on GPUs only; all else of the engine is its own."""
    monkeypatch.setattr("sam3.engines.tensorrt_engine.check_origin", lambda *_: None)
    monkeypatch.setattr(
        "sam3.engines.tensorrt_engine.BuiltPart", lambda _, path: open_session(path.read_bytes(), str(path), "cpu", 1)
    )


@pytest.fixture(scope="module")
def reference(small: Path) -> TorchEngine:
    return TorchEngine(load_checkpoint(small), threshold=0.02)


def assert_the_same(parity: Parity) -> None:
    """The gate, and every number within 1e-4: no allowance for rounding, which these weights do not need."""
    assert judge(parity, exact=True) == []
    assert max(parity.difference.values()) <= 1e-4, parity.difference


@pytest.mark.parametrize("name", [item.name for item in fields(Switches) if getattr(EXACT, item.name)] + ["exact"])
def test_an_exact_switch_changes_no_number(small: Path, reference: TorchEngine, name: str) -> None:
    engine = load_engine("torch", checkpoint=small, fast=name)
    assert isinstance(engine, FastTorchEngine)
    assert_the_same(compare(reference, engine, ASKED, threshold=0.02))


def test_lower_precision_stays_near(small: Path, reference: TorchEngine) -> None:
    for fast, least in (("exact,bf16", 0.99), ("exact,fp8", 0.97)):
        parity = compare(reference, load_engine("torch", checkpoint=small, fast=fast), ASKED[:1])
        assert min(parity.cosine) > least, fast
        assert parity.difference["logits"] > 0, f"{fast} changed nothing"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("torch", {"fast": "exact,bf16"}), ("jax", {"dtype": "bfloat16"})])
def test_the_starter_weights_pass_the_gate_of_16_bits(repo_root: Path, name: str, options: dict[str, str]) -> None:
    """With the trunk in bfloat16, too, masks overlap by 0.98 only; with the decoder, boxes are 0.5 or 1.2 pixels off."""
    shown = [repo_root / "data/demo" / f"{name}.jpg" for name in ("yard", "dune", "gravel")]
    asked = [(read_image(path), [Prompt(phrase) for phrase in ("bird", "duck", "chicken")]) for path in shown]
    reference = load_engine("torch", checkpoint="sam3-lite")
    parity = compare(reference, load_engine(name, checkpoint="sam3-lite", **options), asked, threshold=0.2)
    assert judge(parity, exact=False) == []
    assert len(parity.mask_iou) >= 4
    assert np.mean(parity.box_px) < 0.25


def test_cut_graphs_answer_as_pytorch(reference: TorchEngine, graphs: Path) -> None:
    parity = compare(reference, OnnxEngine(graphs, threads=1), ASKED, threshold=0.02)
    assert_the_same(parity)
    assert parity.mask_iou, "nothing was found, nothing was compared"


def test_built_parts_are_fed_and_read_as_graphs_are(
    reference: TorchEngine, graphs: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    engine = load_engine("tensorrt", checkpoint=built)
    assert_the_same(compare(reference, engine, ASKED, threshold=0.02))
    cv2.imwrite(str(tmp_path / "noise.png"), pictures(SIZES[0])[0])
    assert parity_gate(graphs, built, tmp_path) == []
    honest = TensorrtEngine.answer

    def wrong(self: Any, embeddings: Any, prompts: Any) -> Any:  # as half-precision attention in the decoder would be
        answer = honest(self, embeddings, prompts)
        return replace(answer, logits=answer.logits[:, ::-1])

    monkeypatch.setattr(TensorrtEngine, "answer", wrong)
    assert any("masks: mean IoU" in reason for reason in parity_gate(graphs, built, tmp_path))
    assert "no pictures" in parity_gate(graphs, built, tmp_path / "nowhere")[0]


@pytest.mark.slow
def test_sam3_lite_as_graphs_answers_as_pytorch(tmp_path: Path) -> None:
    export("sam3-lite", tmp_path / "graphs")
    engines = load_engine("torch"), load_engine("onnx", checkpoint=tmp_path / "graphs")
    assert_the_same(compare(*engines, ASKED[:2], threshold=0.02))
    fast = load_engine("torch", fast="exact")
    assert_the_same(compare(engines[0], fast, ASKED[:2], threshold=0.02))


def test_the_gate_sees_what_went_wrong(reference: TorchEngine, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = TorchEngine(load_checkpoint(small), threshold=0.02)
    honest = broken.answer

    def spoil(embeddings: Any, prompts: Any) -> Any:
        answer = honest(embeddings, prompts)
        answer.logits = answer.logits + 2e-4
        return answer

    monkeypatch.setattr(broken, "answer", spoil)
    [reason] = judge(compare(reference, broken, ASKED[:1]), exact=True)
    assert reason.startswith("logits: largest difference 0.0002")
    assert judge(compare(reference, broken, ASKED[:1], threshold=0.02), exact=False) == []
    [reason] = judge(compare(reference, broken, ASKED[:1], threshold=0.999), exact=False)
    assert reason.startswith("nothing was compared"), "silence is no proof where numbers are not judged"
    # what half-precision attention has been seen to do: features that point elsewhere
    monkeypatch.setattr(broken, "features", lambda e: np.random.default_rng(0).normal(size=(32, 8, 8)))
    assert any("cosine" in reason for reason in judge(compare(reference, broken, ASKED[:1]), exact=False))
    monkeypatch.setattr(broken, "answer", lambda e, p: _nan(honest(e, p)))
    assert any("inf" in reason for reason in judge(compare(reference, broken, ASKED[:1]), exact=True))


def _nan(answer: Any) -> Any:
    answer.boxes = np.full_like(answer.boxes, np.nan)
    return answer


def test_many_phrases_of_one_image_encode_it_once_and_draw_only_what_is_kept(graphs: Path) -> None:
    engine = OnnxEngine(graphs, threads=1, threshold=0.999)
    calls: list[str] = []
    for name, part in engine.parts.items():
        engine.parts[name] = _Counted(name, part, calls)
    [embedding] = engine.encode(pictures(SIZES[0]))
    engine.ground([embedding] * 3, PROMPTS)
    assert [calls.count(name) for name in ("image_encoder", "decoder", "fine_levels", "mask_head")] == [1, 1, 0, 0]
    engine.threshold = 0.0
    engine.ground([embedding] * 3, PROMPTS)
    engine.ground([embedding], PROMPTS[:1])
    assert [calls.count(name) for name in ("image_encoder", "fine_levels", "mask_head", "text_encoder")] == [1, 1, 4, 3]


class _Counted:
    def __init__(self, name: str, part: Any, calls: list[str]) -> None:
        self.name, self.part, self.calls = name, part, calls

    def run(self, *args: Any) -> Any:
        self.calls.append(self.name)
        return self.part.run(*args)

    def get_inputs(self) -> Any:
        return self.part.get_inputs()


def test_graphs_hold_nothing_that_builders_stumble_over(graphs: Path) -> None:
    import onnx

    for name, cuts in CUTS.items():
        graph = onnx.load(graphs / f"{name}.onnx").graph
        kinds = {node.op_type for node in graph.node}
        assert not kinds & {"If", "Loop", "Scan", "RoiAlign", "NonZero", "ScatterND", "ScatterElements"}, name
        complex_types = {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}
        assert not complex_types & {item.data_type for item in graph.initializer}, name
        held = (*graph.input, *graph.output, *graph.value_info)
        assert held and not complex_types & {value.type.tensor_type.elem_type for value in held}, name
        assert set(cuts) <= {value for node in graph.node for value in node.output}, name
        assert not {value.name for value in graph.output} & set(cuts), "a cut is no output"


def test_auto_takes_the_fastest_and_says_why(
    small: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sam3.engines.auto._has_cuda", lambda: False)
    assert choose(graphs).name == "onnx"
    assert (choose(small).name, choose(small).options) == ("torch", {"fast": "exact"})
    assert "export_onnx.py" in choose(small).why
    monkeypatch.setattr("sam3.engines.auto.EXPORTS", (graphs,))
    assert (choose(small).name, choose(small).checkpoint) == ("onnx", graphs)
    assert choose("sam3-lite").name == "torch", "graphs of other weights are not taken"
    monkeypatch.setattr("sam3.engines.auto._has_cuda", lambda: True)
    assert (choose(small).device, choose(small).options) == ("cuda", {"fast": "best"})
    assert choose(small, "cpu").checkpoint == graphs
    with caplog.at_level("INFO", "sam3.engines"):
        assert isinstance(load_engine("auto", checkpoint=small, device="cpu"), OnnxEngine)
    assert re.search("engine onnx: no GPU, and .* was exported from these weights", caplog.text)


def test_auto_takes_builds_of_these_weights_where_they_can_run(
    small: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam3.engines.auto._has_cuda", lambda: True)
    monkeypatch.setattr("sam3.engines.auto.BUILDS", (small / "none", built))
    assert choose(small).name == "torch", "built for a GPU that is not here"
    stand_in(monkeypatch)
    assert (choose(small).name, choose(small).checkpoint) == ("tensorrt", built)
    assert choose("sam3-lite").name == "torch", "built from other weights"
    assert choose(small, "cpu").name != "tensorrt"


def test_switches_are_named(small: Path) -> None:
    assert parse("best", "cpu") == EXACT and parse("best", "cuda:1") == best("cuda")
    assert parse("none,hoist, bf16", "cpu").on == ["bf16", "hoist"]
    with pytest.raises(BadConfig, match="expected none, exact, best, bf16"):
        load_engine("torch", checkpoint=small, fast="warp")
    with pytest.raises(BadConfig, match="cuda_graphs needs"):
        parse("cuda_graphs", "cuda")


@pytest.mark.parametrize("name", ["torch", "fast", "onnx", "jax", "tensorrt"])  # triton: tests/integration/triton
def test_bad_input_is_one_line_from_every_engine(
    name: str, small: Path, graphs: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    options = {"fast": "exact"} if name == "fast" else {}
    where = {"onnx": graphs, "tensorrt": built}.get(name, small)
    engine = load_engine("torch" if name == "fast" else name, checkpoint=where, threshold=0.0, **options)
    good = pictures(SIZES[0])[0]
    for bad, says in [
        (good.astype(np.float32), "uint8"),
        (good[..., :2], r"\(H, W, 3\)"),
        (good[:0], "no pixels"),
        (good[..., 0], r"\(H, W, 3\)"),
    ]:
        with pytest.raises(BadInput, match=says):
            engine.encode([bad])
    [embedding] = engine.encode([good])
    for prompt, says in [
        (Prompt(" "), "phrase or at least one box"),
        (Prompt("hen", BOX + 500), "outside"),
        (Prompt("hen", np.array([[np.nan, 0, 1, 1]])), "finite"),
        (Prompt("hen", BOX, np.array([1, 0])), "2 box labels for 1 boxes"),
    ]:
        with pytest.raises(BadInput, match=says):
            engine.ground([embedding], [prompt])
    with pytest.raises(BadInput, match="in pairs"):
        engine.ground([embedding], PROMPTS)
    long, short = engine.ground([embedding] * 2, [Prompt("hen " * 40), Prompt("hen", BOX - [[20, 0, 0, 0]])])
    assert any("cut to 30" in line for line in long.warnings)
    assert any("clipped" in line for line in short.warnings)
    assert any("object slots are used" in line for line in short.warnings)
    assert engine.ground([], []) == [] and engine.encode([]) == []


def test_a_provider_that_does_not_start_is_an_error_and_no_fall_back(
    graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime as ort

    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    # as onnxruntime-gpu on a machine without a GPU: it knows CUDA, and starts on the CPU
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(Unavailable, match="CUDAExecutionProvider did not start; ONNX Runtime offered CPU"):
        load_engine("onnx", checkpoint=graphs, device="cuda")


def test_files_from_elsewhere_are_one_line(graphs: Path, built: Path, tmp_path: Path) -> None:
    for source, record, engine in ((graphs, "export.json", "onnx"), (built, "engines.json", "tensorrt")):
        shutil.copytree(source, tmp_path / engine)
        (tmp_path / engine / record).write_text('["made", "elsewhere"]')
        with pytest.raises(BadCheckpoint, match=rf"{record}: says no"):
            load_engine(engine, checkpoint=tmp_path / engine)
    said = json.loads((built / "engines.json").read_text())
    write_json(tmp_path / "tensorrt/engines.json", said | {"library": "antigravity"})
    with pytest.raises(BadConfig, match="library 'antigravity': expected tensorrt or"):
        load_engine("tensorrt", checkpoint=tmp_path / "tensorrt")


def test_options_of_other_engines_are_refused(small: Path, graphs: Path) -> None:
    for name, where in (("onnx", graphs), ("jax", small)):
        with pytest.raises(BadConfig, match=f"the {name} engine has no option 'fast'"):
            load_engine(name, checkpoint=where, fast="best")


def test_devices_that_are_not_there_are_refused(small: Path, graphs: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for name, where in (("torch", small), ("onnx", graphs), ("jax", small)):
        with pytest.raises(Unavailable, match=r"device|CUDA"):
            load_engine(name, checkpoint=where, device="cuda")
    with pytest.raises(BadConfig, match="dtype"):
        load_engine("jax", checkpoint=small, dtype="int3")
    assert set(ENGINES) >= {"torch", "onnx", "jax", "tensorrt"}


def test_eight_bits_are_kept_only_if_they_say_the_same(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadCheckpoint, match="INT8 does not say"):
        quantise(graphs, tmp_path / "int8", ASKED[:1])  # nothing scores 0.5: nothing proves that they agree
    assert not (tmp_path / "int8").exists()
    monkeypatch.setattr("sam3.eval.parity.judge", lambda *_, **__: [])
    outcome = quantise(graphs, tmp_path / "int8", ASKED[:1])
    assert outcome["after_mb"] < outcome["before_mb"]
    engine = OnnxEngine(tmp_path / "int8", threads=1, threshold=0.0)
    assert engine.dtype == "int8" and len(engine.ground(engine.encode(pictures(SIZES[0])), PROMPTS[:1])[0])
