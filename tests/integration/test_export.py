"""Exported graphs answer as PyTorch does, with any number of images, phrases and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.checkpoint import load_checkpoint, save_checkpoint, tiny_config
from sam3.detector import Sam3Detector
from sam3.engines import load_engine
from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.torch_engine import TorchEngine
from sam3.errors import BadCheckpoint, BadConfig, BadInput, Unavailable
from sam3.export.export_onnx import export, main
from sam3.tokenizer import build_tokenizer_file
from sam3.types import Detections, Prompt

BOX = np.array([[5, 5, 40, 30]], np.float32)
PROMPTS = [
    Prompt("red car"),
    Prompt("a hen by the fence", BOX),
    Prompt(None, np.vstack([BOX, BOX + 9]), np.array([1, 0])),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with random weights, and its export."""
    place = tmp_path_factory.mktemp("export")
    build_tokenizer_file(place / "tokenizer.json")
    torch.manual_seed(0)
    save_checkpoint(place / "tiny", Sam3Detector(tiny_config()), place / "tokenizer.json")
    record = export(place / "tiny", place / "graphs")
    assert max(record["max_difference"].values()) < 1e-4
    return place / "tiny", place / "graphs"


@pytest.fixture(scope="module")
def engines(folders: tuple[Path, Path]) -> tuple[TorchEngine, OnnxEngine]:
    # random weights score low: keep everything, so that there is something to compare
    return (
        TorchEngine(load_checkpoint(folders[0]), threshold=0.0),
        OnnxEngine(folders[1], threshold=0.0, threads=1),
    )


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in sizes]


def assert_same(one: Detections, other: Detections) -> None:
    assert one.presence == pytest.approx(other.presence, abs=1e-4)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)
    assert (one.masks != other.masks).mean() < 1e-3


LONGEST = [Prompt("hen " * 40), Prompt("red car", np.vstack([BOX] * 7))]


@pytest.mark.parametrize(
    "prompts",
    [PROMPTS[:1], PROMPTS[1:2], PROMPTS[2:], PROMPTS, LONGEST],
    ids=["text", "text+box", "boxes", "mixed", "32 tokens, 7 boxes"],
)
def test_onnx_answers_as_torch(engines: tuple[TorchEngine, OnnxEngine], prompts: list[Prompt]) -> None:
    images = pictures((48, 80), (80, 48), (64, 64))[: len(prompts)]
    torch_answers, onnx_answers = [engine.ground(engine.encode(images), prompts) for engine in engines]
    for one, other in zip(torch_answers, onnx_answers, strict=True):
        assert_same(one, other)


def test_many_phrases_on_one_image_equal_one_by_one(engines: tuple[TorchEngine, OnnxEngine]) -> None:
    engine = engines[1]
    [embedding] = engine.encode(pictures((48, 80)))
    together = engine.ground([embedding] * 3, PROMPTS)
    for prompt, answer in zip(PROMPTS, together, strict=True):
        assert_same(answer, engine.ground([embedding], [prompt])[0])


AXES = {
    "image_encoder": ({"pixels": ["images"]}, ["level_0", "level_1", "level_2"]),
    "text_encoder": ({"ids": ["phrases", "tokens"], "mask": ["phrases", "tokens"]}, ["text"]),
    "decoder": (
        {"text": ["pairs", "tokens"], "text_mask": ["pairs", "tokens"]}
        | {"boxes": ["pairs", "boxes"], "box_labels": ["pairs", "boxes"]}
        | {f"level_{at}": ["pairs"] for at in range(3)},
        ["logits", "boxes_out", "presence", "masks"],
    ),
}


@pytest.mark.parametrize("name", list(AXES))
def test_names_and_dynamic_axes_are_fixed(folders: tuple[Path, Path], name: str) -> None:
    import onnx

    graph = onnx.load(folders[1] / f"{name}.onnx").graph
    axes = {
        value.name: [axis.dim_param for axis in value.type.tensor_type.shape.dim if axis.dim_param]
        for value in graph.input
    }
    assert (axes, [value.name for value in graph.output]) == AXES[name]


def test_components_are_exported_one_by_one(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for component in ("encoder", "text"):
        asked = ["--checkpoint", str(folders[0]), "--component", component, "--output", str(tmp_path / "graphs")]
        assert main(asked) == 0
    assert {path.stem for path in (tmp_path / "graphs").glob("*.onnx")} == {"image_encoder", "text_encoder"}
    assert "text_encoder.onnx: largest difference from PyTorch" in capsys.readouterr().out
    before = (tmp_path / "graphs/text_encoder.onnx").read_bytes()
    monkeypatch.setattr("sam3.export.export_onnx.TOLERANCE", -1.0)  # no graph can pass
    assert main(asked) == 1
    assert "It was not kept" in capsys.readouterr().err
    assert (tmp_path / "graphs/text_encoder.onnx").read_bytes() == before, "what had passed stays"


def test_auto_takes_the_graphs_where_there_are_some(folders: tuple[Path, Path]) -> None:
    assert isinstance(load_engine("auto", checkpoint=folders[1]), OnnxEngine)
    assert isinstance(load_engine("auto", checkpoint=folders[0]), TorchEngine)


def test_what_cannot_run_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="expected one of auto, torch"):
        load_engine("abacus")
    with pytest.raises(BadCheckpoint, match=r"export_onnx\.py"):
        load_engine("onnx", checkpoint=tmp_path)
    with pytest.raises(Unavailable, match="CUDAExecutionProvider"):
        load_engine("onnx", checkpoint=folders[1], device="cuda")
    with pytest.raises(BadConfig, match="component"):
        export(folders[0], tmp_path / "out", "wheels")
    assert not (tmp_path / "out").exists()


def test_bad_prompts_name_the_field(engines: tuple[TorchEngine, OnnxEngine]) -> None:
    for engine in engines:
        [embedding] = engine.encode(pictures((48, 80)))
        for prompt, says in [
            (Prompt(" "), "phrase or at least one box"),
            (Prompt(None, BOX + 500), "outside"),
            (Prompt("hen", BOX, np.array([1, 0])), "2 box labels for 1 boxes"),
        ]:
            with pytest.raises(BadInput, match=says):
                engine.ground([embedding], [prompt])
        with pytest.raises(BadInput, match="in pairs"):
            engine.ground([embedding], PROMPTS)
