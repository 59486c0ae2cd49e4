"""Pictures in, detections out: the arithmetic shared by the engines."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.pixels import check_image, distinct, enlarge, from_model, normalise_boxes, to_model


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "dtype float32"),
        (np.zeros((4, 4), np.uint8), "(H, W, 3)"),
        (np.zeros((4, 4, 4), np.uint8), "(H, W, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_what_is_no_rgb_image_is_named(image: np.ndarray, says: str) -> None:
    with pytest.raises(BadInput, match=says.replace("(", r"\(").replace(")", r"\)")):
        check_image(image)


def test_black_is_minus_one_and_white_is_one() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 10:] = 255
    out = to_model(image, 16)
    assert out.shape == (3, 16, 16) and out.dtype == np.float32
    assert out.min() == -1.0 and out.max() == 1.0


def test_boxes_become_shares_of_the_image() -> None:
    boxes, warnings = normalise_boxes(np.array([[10, 20, 30, 60]]), height=100, width=200)
    np.testing.assert_allclose(boxes, [[0.1, 0.4, 0.1, 0.4]], atol=1e-6)
    assert warnings == ()


def test_a_box_that_sticks_out_is_clipped_and_said() -> None:
    boxes, warnings = normalise_boxes(np.array([[-10, 0, 100, 50]]), height=100, width=100)
    np.testing.assert_allclose(boxes, [[0.5, 0.25, 1.0, 0.5]], atol=1e-6)
    assert "box 0 clipped" in warnings[0]


@pytest.mark.parametrize(
    ("box", "says"),
    [([200, 0, 300, 50], "outside"), ([10, 10, 10, 20], "empty"), ([np.nan, 0, 1, 1], "finite"), ([1, 2, 3], "shape")],
)
def test_boxes_that_show_nothing_are_refused(box: list[float], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        normalise_boxes(np.array([box]), height=100, width=100)


def answer(logits: list[float], presence: float = 10.0, **options: object) -> object:
    count = len(logits)
    boxes = np.tile(np.array([[0.0, 0.0, 0.5, 1.0]], np.float32), (count, 1))

    def masks_of(kept: np.ndarray) -> np.ndarray:
        return np.stack([np.where(np.arange(4) < at + 1, 1.0, -1.0)[None].repeat(4, 0) for at in kept]).astype(
            np.float32
        )

    return from_model(np.array(logits, np.float32), boxes, presence, masks_of, (8, 16), threshold=0.5, **options)


def test_kept_queries_come_best_first_in_pixels() -> None:
    found = answer([1.0, -5.0, 3.0])
    assert [round(float(score), 2) for score in found.scores] == [0.95, 0.73]
    np.testing.assert_allclose(found.boxes[0], [0, 0, 8, 8])
    assert found.masks.shape == (2, 8, 16) and found.masks[0].sum() > found.masks[1].sum()


def test_absent_concepts_silence_every_query() -> None:
    found = answer([5.0, 5.0], presence=-10.0)
    assert len(found) == 0 and found.presence < 0.01 and found.masks.shape == (0, 8, 16)


def test_a_full_house_is_said() -> None:
    assert "all 2 object slots are used" in answer([3.0, 3.0]).warnings[0]


def test_of_masks_that_show_one_thing_the_best_stays() -> None:
    masks = np.zeros((4, 4, 8), bool)
    masks[0, :, :4] = masks[1, :, :3] = masks[2, :, 4:] = True  # 1 is inside 0, IoU 0.75; 2 is another thing
    masks[3, :2, :4] = True  # half of 0: IoU 0.5
    assert distinct(masks).tolist() == [0, 2]
    assert distinct(masks, most=0.7).tolist() == [0, 2, 3]
    assert distinct(masks[:0]).tolist() == []


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (333, 517), (48, 80), (64, 64), (7, 200)])
def test_enlarging_the_surroundings_is_enlarging_the_whole(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    masks = rng.normal(size=(12, 64, 64)).astype(np.float32)
    for at, mask in enumerate(masks):
        mask[:] = cv2.GaussianBlur(mask, (0, 0), 1 + at) * (5 + at) - 1  # a few blobs, some at the border
    masks[3] = -1.0
    masks[4] = -1.0
    masks[4, 63, 0] = 1.0
    masks[5] = 1.0
    whole = np.stack([cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR) for mask in masks])
    out = enlarge(masks, size)
    assert not out[3].any() and out[5].all() and 0 < out.mean() < 0.9
    clear = np.abs(whole) > 1e-4  # the order of additions decides at zero itself
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(out[clear], (whole > 0)[clear])
