"""The JAX engine says what PyTorch says, to 1e-4, for every kind of prompt; on one device and on eight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import BOX, PROMPTS, pictures, save_small

from sam3.checkpoint import load_checkpoint
from sam3.engines.jax_engine import JaxEngine
from sam3.engines.torch_engine import TorchEngine
from sam3.types import Prompt

SIZES = ((48, 80), (80, 48), (64, 64))
MODELS = {
    "windows": {},
    "windows-padded": {"window_size": 3, "pretrain_image_size": 24},
    "sam3-lite": None,
}


@pytest.fixture(scope="module", params=list(MODELS))
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchEngine, JaxEngine]:
    changes = MODELS[request.param]
    folder = "sam3-lite" if changes is None else save_small(tmp_path_factory.mktemp("model"), **changes)
    return TorchEngine(load_checkpoint(folder)), JaxEngine(folder)


@pytest.mark.parametrize(
    ("images", "prompts"),
    [
        ([0], PROMPTS[:1]),
        ([0, 0, 0], PROMPTS),
        (
            [0, 1, 2],
            [Prompt("hen"), Prompt("a very long phrase about one particular hen", np.vstack([BOX] * 5)), PROMPTS[2]],
        ),
    ],
    ids=["text", "several prompts of one image", "padded phrases and boxes"],
)
def test_jax_answers_as_torch(engines: tuple[TorchEngine, JaxEngine], images: list[int], prompts: list[Prompt]) -> None:
    answers = []
    for engine in engines:
        encoded = engine.encode(pictures(*SIZES))
        answers.append(engine.answer([encoded[at] for at in images], prompts))
        answers[-1].level = engine.features(encoded[0])
    one, other = answers
    for name in ("level", "logits", "boxes", "presence"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-4, rtol=0, err_msg=name)
    np.testing.assert_allclose(other.masks(), one.masks(), atol=1e-4, rtol=0)
    assert np.ptp(one.logits) > 1e-2, "a silent model proves nothing"


@pytest.mark.slow
def test_sixteen_bits_stay_near(engines: tuple[TorchEngine, JaxEngine], tmp_path: Path) -> None:
    torch_engine, _ = engines
    jax_engine = JaxEngine(torch_engine.checkpoint.folder, dtype="bfloat16")
    answers = [engine.answer(engine.encode(pictures(SIZES[0])), PROMPTS[:1]) for engine in (torch_engine, jax_engine)]
    assert np.abs(answers[0].boxes - answers[1].boxes).max() < 0.1
    one, other = answers[0].masks().ravel(), answers[1].masks().ravel()
    assert np.corrcoef(one, other)[0, 1] > 0.98


EIGHT = """
import sys
import jax
import numpy as np
from small_models import PROMPTS, pictures
from sam3.engines.jax_engine import JaxEngine

assert len(jax.devices()) == 8
engines = [JaxEngine(sys.argv[1], devices=jax.devices()[:n], threshold=0.0) for n in (1, 8)]
images = pictures(*[(48, 80), (80, 48), (64, 64)] * 3)
one, eight = [engine.answer(engine.encode(images), PROMPTS * 3) for engine in engines]
for name in ("logits", "boxes", "presence"):
    np.testing.assert_allclose(getattr(eight, name), getattr(one, name), atol=1e-5)
np.testing.assert_allclose(eight.masks(), one.masks(), atol=1e-5)
compiled = [program for key, program in engines[1].programs._compiled.items() if key[0] == "ground"]
assert not any(word in compiled[0].as_text() for word in ("all-gather", "all-reduce", "collective")), "devices talked"
print("eight devices agree")
"""


@pytest.mark.slow
def test_eight_devices_say_what_one_says(tmp_path: Path) -> None:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "SAM3_JAX_CACHE": str(tmp_path / "cache"),
    }
    run = subprocess.run(
        [sys.executable, "-c", EIGHT, str(save_small(tmp_path))], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "eight devices agree" in run.stdout


@pytest.mark.slow
def test_programs_are_compiled_once_and_found_again_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax
    from jax._src import compilation_cache  # the folder JAX writes to is fixed at its first compile

    monkeypatch.setenv("SAM3_JAX_CACHE", str(tmp_path / "cache"))
    compilation_cache.reset_cache()
    engine = JaxEngine(save_small(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    engine.compile_ahead(pairs=(1, 3), boxes=(0, 2))
    compiled = dict(engine.programs._compiled)
    engine.ground(engine.encode(pictures(SIZES[0])) * 3, PROMPTS)
    assert {key for key in engine.programs._compiled if key[0] != "masks"} == set(compiled), "compiled at a request"
    compilation_cache.reset_cache()
    hits: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if "cache_hit" in event else None)
    JaxEngine(tmp_path / "small").compile_ahead()
    assert len(hits) >= 3, "a second start compiled what the first had left on disk"


def test_the_pixels_of_a_picture_are_donated_and_the_weights_are_not(tmp_path: Path) -> None:
    import jax

    engine = JaxEngine(save_small(tmp_path))
    engine.encode(pictures(SIZES[0]))
    [encode] = engine.programs._compiled.values()
    (state, pixels), _ = encode.args_info  # whether the backend can use the memory is its own affair
    assert pixels.donated and not any(leaf.donated for leaf in jax.tree.leaves(state))
