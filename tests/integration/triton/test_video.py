"""`sam3_video`: ids that stay, one state per stream, bounded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from triton_asking import Served, picture, question
from tritonclient.utils import InferenceServerException

from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import OUTPUTS, detections_of
from sam3.types import Prompt

Infer = Callable[..., dict[str, Any]]
WANTED = (*OUTPUTS, "track_ids")
streams = itertools.count(1)


def frame(infer: Infer, stream: int, image: Any, *phrases: str, start: bool = False, end: bool = False) -> Any:
    more = question(*phrases) if phrases else {"threshold": np.zeros((1, 1), np.float32)}
    options = {"sequence_id": stream, "sequence_start": start, "sequence_end": end}
    return infer("sam3_video", {"image": image[None], **more}, WANTED, **options)


def test_objects_keep_their_ids_and_answers_are_those_of_the_picture(infer: Infer, reference: OnnxEngine) -> None:
    image, stream = picture(1), next(streams)
    first = frame(infer, stream, image, "hen", "duck", start=True)
    brighter = np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)
    later = [frame(infer, stream, other) for other in (image, image, brighter)]
    frame(infer, stream, image, end=True)
    ids = first["track_ids"][0].tolist()
    assert ids == list(range(1, len(ids) + 1)), "numbered as they appear, over all phrases"
    for out in later[:2]:
        assert out["track_ids"][0].tolist() == ids
    assert set(later[2]["track_ids"][0].tolist()) & set(ids)
    expected = reference.ground(reference.encode([image]) * 2, [Prompt("hen"), Prompt("duck")])
    for one, other in zip(detections_of(later[0], image.shape[:2]), expected, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


def test_streams_do_not_see_each_other(infer: Infer) -> None:
    one, other = next(streams), next(streams)
    a = frame(infer, one, picture(2), "hen", start=True)
    b = frame(infer, other, picture(3), "duck", start=True)
    assert a["track_ids"][0, 0] == b["track_ids"][0, 0] == 1
    again = frame(infer, one, picture(2))
    assert again["track_ids"].tolist() == a["track_ids"].tolist()
    for stream in (one, other):
        frame(infer, stream, picture(2), end=True)


def test_a_frame_without_a_beginning_is_refused(infer: Infer) -> None:
    with pytest.raises(InferenceServerException, match="START"):
        frame(infer, next(streams), picture(1))
    stream = next(streams)
    with pytest.raises(InferenceServerException, match="0 of them"):
        frame(infer, stream, picture(1), start=True)
    with pytest.raises(InferenceServerException, match="Begin it again"):
        frame(infer, stream, picture(1), end=True)


def test_open_streams_are_bounded(infer: Infer, served: Served) -> None:
    """Streams that nobody ends: four are kept, and a fifth begins when one of them has been silent for long."""
    for _ in range(7):
        assert frame(infer, next(streams), picture(1), "hen", start=True)["track_ids"].shape[0] == 1
        assert served.metric("sam3_streams") <= 4
