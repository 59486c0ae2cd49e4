"""SAM 3's video memory behind the tracker's interface, at a size that runs here; and that it does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.checkpoint import WEIGHTS, tiny_config
from sam3.errors import BadCheckpoint
from sam3.tokenizer import Tokenizer
from sam3_agent.video.frames import Frame
from sam3_agent.video.memory import PER_FRAME, PER_OBJECT, MemoryTracker


def widened(config: Any) -> Any:
    """A configuration with 128 channels where there were 32."""
    if isinstance(config, dict):
        widths = ("hidden_size", "fpn_hidden_size", "projection_dim")
        return {key: 128 if key in widths and value == 32 else widened(value) for key, value in config.items()}
    return [widened(one) for one in config] if isinstance(config, list) else config


def tiny_video_config() -> Any:
    """Detector and tracker of 128 channels (the memory has 64, and must have fewer than the rest) on pictures of 64 pixels."""
    from transformers import Sam3TrackerVideoConfig, Sam3VideoConfig

    detector = type(tiny_config())(**widened(tiny_config().to_dict()))
    tracker = Sam3TrackerVideoConfig(
        vision_config=detector.vision_config.to_dict(),
        prompt_encoder_config={"hidden_size": 128, "image_size": 64, "patch_size": 8, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 128},
        memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8], memory_encoder_hidden_size=128, memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128, mask_downsampler_total_stride=16, memory_fuser_num_layers=1,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=64, num_maskmem=3, max_object_pointers_in_encoder=4,
    )  # fmt: skip
    config = Sam3VideoConfig(
        detector_config=detector.to_dict(), tracker_config=tracker.to_dict(), low_res_mask_size=32,
        score_threshold_detection=0.2, new_det_thresh=0.2, det_nms_thresh=0.9, max_num_objects=6,
    )  # fmt: skip
    config.image_size = 64
    return config


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import Sam3VideoModel

    torch.manual_seed(0)
    return Sam3VideoModel(tiny_video_config())


def frames(count: int, size: tuple[int, int] = (48, 64)) -> list[Frame]:
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (*size, 3), np.uint8)
    return [Frame(t, t / 10, np.roll(ground, t, axis=1)) for t in range(count)]


def tokenizer() -> Tokenizer:
    return Tokenizer.load(WEIGHTS / "sam3-lite")


def test_frames_in_tracks_out(model: Any) -> None:
    tracker = MemoryTracker(model, tokenizer(), ["duck", "hen"])
    results = [tracker.update(frame) for frame in frames(6)]
    seen = results[-1].seen
    assert seen.masks.shape[1:] == (48, 64) and len(seen.track_ids) == len(seen.labels) == len(seen)
    assert set(seen.labels) <= {"duck", "hen"} and all(number >= 1 for number in seen.track_ids)
    assert sum(len(result.seen) for result in results) > 0, "random weights that see something"
    assert len(set(seen.track_ids.tolist())) == len(seen)


def test_another_size_in_mid_stream(model: Any) -> None:
    tracker = MemoryTracker(model, tokenizer(), ["duck"])
    sizes = [(48, 64)] * 2 + [(96, 128)]
    shapes = [tracker.update(frames(1, size)[0]).seen.masks.shape[1:] for size in sizes]
    assert shapes == sizes


def held(value: Any, seen: set[int] | None = None) -> int:
    """Tensors' bytes and entries of a session, all the way down."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.nelement() * value.element_size()
    if isinstance(value, dict):
        return sum(8 + held(one, seen) for one in value.values())
    if isinstance(value, list | tuple | set):
        return sum(8 + held(one, seen) for one in value)
    return held(vars(value), seen) if hasattr(value, "__dict__") and not isinstance(value, type) else 8


def test_the_memory_of_a_long_stream_is_that_of_a_short_one(model: Any) -> None:
    tracker = MemoryTracker(model, tokenizer(), ["duck"], forget=10)
    session, largest = tracker.session, []
    for frame in frames(60):
        tracker.update(frame)
        largest.append(max((held(one) for one in session.output_dict_per_obj.values()), default=0))
    assert max(largest[20:30]) > 0, "something is followed"
    assert max(largest[40:]) <= 1.05 * max(largest[20:30])
    reach = tracker._reach
    assert not session.processed_frames and len(session.obj_ids) <= 6
    for name in PER_FRAME:
        assert len(getattr(session, name)) <= reach + 1, name
    for name in PER_OBJECT:
        assert len(getattr(session, name)) <= len(session.obj_ids), name
    for per_object in (session.frames_tracked_per_obj, session.mask_inputs_per_obj):
        assert all(len(one) <= reach + 1 for one in per_object.values())
    for histories in (session.unmatched_frame_inds, session.overlap_pair_to_frame_inds):
        assert all(len(one) <= reach for one in histories.values())


def test_a_checkpoint_without_memory_is_named() -> None:
    with pytest.raises(BadCheckpoint, match="--method carry"):
        MemoryTracker.load("sam3-lite", ["duck"])


def test_a_saved_checkpoint_is_loaded(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((WEIGHTS / "sam3-lite" / "tokenizer.json").read_bytes())
    tracker = MemoryTracker.load(str(tmp_path), ["duck"], device="cpu")
    assert tracker.update(frames(1)[0]).seen.masks.shape[1:] == (48, 64)
