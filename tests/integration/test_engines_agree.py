"""Every engine and every optimisation gives one answer, and bad input gets one kind of error from all of them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import BOX, PROMPTS, pictures, save_small

from sam3.checkpoint import load_checkpoint
from sam3.engines import ENGINES, load_engine
from sam3.engines.auto import choose
from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.torch_engine import TorchEngine
from sam3.engines.torch_fast import FastTorchEngine
from sam3.errors import BadCheckpoint, BadConfig, BadInput, Unavailable
from sam3.eval.parity import compare, judge
from sam3.export.export_onnx import export
from sam3.export.graphs import CUTS
from sam3.export.quantise import quantise
from sam3.fast.switches import EXACT, Switches, best, parse
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
def reference(small: Path) -> TorchEngine:
    return TorchEngine(load_checkpoint(small), threshold=0.02)


@pytest.mark.parametrize("name", [item.name for item in fields(Switches) if getattr(EXACT, item.name)] + ["exact"])
def test_an_exact_switch_changes_no_number(small: Path, reference: TorchEngine, name: str) -> None:
    engine = load_engine("torch", checkpoint=small, fast=name)
    assert isinstance(engine, FastTorchEngine)
    assert judge(compare(reference, engine, ASKED, threshold=0.02), exact=True) == []


def test_lower_precision_stays_near(small: Path, reference: TorchEngine) -> None:
    for fast, least in (("exact,bf16", 0.99), ("exact,fp8", 0.97)):
        parity = compare(reference, load_engine("torch", checkpoint=small, fast=fast), ASKED[:1])
        assert min(parity.cosine) > least, fast
        assert parity.difference["logits"] > 0, f"{fast} changed nothing"


def test_cut_graphs_answer_as_pytorch(reference: TorchEngine, graphs: Path) -> None:
    parity = compare(reference, OnnxEngine(graphs, threads=1), ASKED, threshold=0.02)
    assert judge(parity, exact=True) == []
    assert parity.mask_iou, "nothing was found, nothing was compared"


@pytest.mark.slow
def test_sam3_lite_as_graphs_answers_as_pytorch(tmp_path: Path) -> None:
    export("sam3-lite", tmp_path / "graphs")
    engines = load_engine("torch"), load_engine("onnx", checkpoint=tmp_path / "graphs")
    assert judge(compare(*engines, ASKED[:2], threshold=0.02), exact=True) == []
    fast = load_engine("torch", fast="exact")
    assert judge(compare(engines[0], fast, ASKED[:2], threshold=0.02), exact=True) == []


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
    assert judge(compare(reference, broken, ASKED[:1]), exact=False) == []
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
        assert set(cuts) <= {value for node in graph.node for value in node.output}, name
        assert not {value.name for value in graph.output} & set(cuts), "a cut is no output"


def test_auto_takes_the_fastest_and_says_why(small: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert isinstance(load_engine("auto", checkpoint=small, device="cpu"), OnnxEngine)


def test_switches_are_named(small: Path) -> None:
    assert parse("best", "cpu") == EXACT and parse("best", "cuda:1") == best("cuda")
    assert parse("none,hoist, bf16", "cpu").on == ["bf16", "hoist"]
    with pytest.raises(BadConfig, match="expected none, exact, best, bf16"):
        load_engine("torch", checkpoint=small, fast="warp")
    with pytest.raises(BadConfig, match="cuda_graphs needs"):
        parse("cuda_graphs", "cuda")


@pytest.mark.parametrize("name", ["torch", "fast", "onnx", "jax"])
def test_bad_input_is_one_line_from_every_engine(name: str, small: Path, graphs: Path) -> None:
    options = {"fast": "exact"} if name == "fast" else {}
    where = graphs if name == "onnx" else small
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


def test_eight_bits_are_kept_only_if_they_say_the_same(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="INT8 does not say"):
        quantise(graphs, tmp_path / "int8", [(image, [Prompt("hen")]) for image in pictures(*SIZES)][:0])
    assert not (tmp_path / "int8").exists()
    try:
        outcome = quantise(graphs, tmp_path / "int8", ASKED[:1])
    except BadCheckpoint as error:
        assert "were" not in str(error) and not (tmp_path / "int8").exists()
    else:
        assert outcome["after_mb"] < outcome["before_mb"]
        assert json.loads((tmp_path / "int8/export.json").read_text())["dtype"] == "int8"
