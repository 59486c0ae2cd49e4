"""Clicks with SAM 3's tracker, at a size that runs here: shapes, places, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.checkpoint import WEIGHTS, tiny_config
from sam3.clicks import ClickModel
from sam3.errors import BadCheckpoint, BadInput


@pytest.fixture(scope="module")
def tracker() -> Any:
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    vision = tiny_config().vision_config.to_dict()
    width, sizes = vision["fpn_hidden_size"], vision["backbone_feature_sizes"]
    config = Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config={
            "hidden_size": width, "image_size": 8 * sizes[-1][0], "patch_size": 8, "mask_input_channels": 8,
        },
        mask_decoder_config={"hidden_size": width, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": width},
    )  # fmt: skip
    torch.manual_seed(0)
    return Sam3TrackerModel(config)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 90, 3), np.uint8)


def test_a_click_or_a_box_gives_one_mask_of_the_pictures_size(tracker: Any, image: np.ndarray) -> None:
    model = ClickModel(tracker)
    seen = model.look(image)
    for asked in ({"points": [(70, 20)], "labels": [1]}, {"box": (10, 5, 60, 40)}):
        mask, score = model.mask(seen, **asked)  # type: ignore[arg-type]
        assert mask.shape == (48, 90) and mask.dtype == bool and 0 <= score <= 1
    assert np.array_equal(model.mask(seen, [(70, 20)], [1])[0], model.mask(seen, [(70, 20)], [1])[0])


def test_where_somebody_clicks_matters_and_is_scaled_to_the_model(tracker: Any, image: np.ndarray) -> None:
    model, given = ClickModel(tracker), {}
    seen = model.look(image)
    asked = tracker.forward

    def spy(**kwargs: Any) -> Any:
        given.update(kwargs)
        return asked(**kwargs)

    tracker.forward = spy
    try:
        model.mask(seen, [(90, 48), (0, 24)], [1, 0])
    finally:
        tracker.forward = asked
    assert given["input_points"][0, 0].tolist() == [[model.side, model.side], [0, model.side / 2]]
    assert given["input_labels"][0, 0].tolist() == [1, 0]


def test_a_click_without_points_and_weights_without_tracker_are_refused(tracker: Any, image: np.ndarray) -> None:
    model = ClickModel(tracker)
    for points, labels in (([], []), ([(1, 1)], [])):
        with pytest.raises(BadInput, match="a click needs points"):
            model.mask(model.look(image), points, labels)
    with pytest.raises(BadCheckpoint, match="holds no tracker"):
        ClickModel.load(WEIGHTS / "sam3-lite")


def test_a_saved_tracker_loads_whole_and_a_part_of_one_does_not(
    tracker: Any, image: np.ndarray, tmp_path: Path
) -> None:
    tracker.save_pretrained(tmp_path)
    loaded = ClickModel.load(tmp_path)
    again = loaded.mask(loaded.look(image), [(70, 20)], [1])[0]
    assert np.array_equal(again, ClickModel(tracker).mask(ClickModel(tracker).look(image), [(70, 20)], [1])[0])
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "mask_decoder" not in name},
        tmp_path / "model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
    with pytest.raises(BadCheckpoint, match="weights are missing"):
        ClickModel.load(tmp_path)
