"""A mask is carried to where its thing went."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from video_stage import SIZE, Stage, iou, texture

from sam3_agent.video.flow import Carried, Flow, box_of


def carried(pictures: list[np.ndarray], mask: np.ndarray) -> Carried:
    flow, thing = Flow(), Carried.at(mask)
    for picture in pictures:
        flow.step(picture)
        thing.carry(flow)
    return thing


@pytest.mark.parametrize("speed", [(2, 0), (-3, 1), (0, 2), (1.5, -1)])
def test_a_shifted_thing_is_found_after_ten_frames(speed: tuple[float, float]) -> None:
    stage = Stage({"duck": lambda t: (50 + speed[0] * t, 40 + speed[1] * t)})
    shots = [stage.frame(t) for t in range(11)]
    thing = carried([picture for picture, _ in shots], shots[0][1][1])
    assert iou(thing.mask, shots[-1][1][1]) > 0.9


def test_a_turning_growing_thing_keeps_a_sharp_outline() -> None:
    ground, tile = texture(240, 320, 5), texture(240, 320, 6)
    disc = np.zeros((240, 320), np.uint8)
    cv2.ellipse(disc, (140, 120), (50, 30), 20, 0, 360, 255, -1)
    pictures, masks = [], []
    for t in range(8):
        turn = cv2.getRotationMatrix2D((140, 120), 2 * t, 1 + 0.01 * t)
        turn[:, 2] += (2 * t, t)
        mask = cv2.warpAffine(disc, turn, (320, 240)) > 127
        pictures.append(np.where(mask[..., None], cv2.warpAffine(tile, turn, (320, 240)), ground))
        masks.append(mask)
    assert iou(carried(pictures, masks[0]).mask, masks[-1]) > 0.93


def test_a_bending_thing_is_bent_along() -> None:
    """The upper half goes left, the lower half right: no single movement explains it."""
    ground, tile = texture(240, 320, 7), texture(240, 320, 8)
    pictures, masks = [], []
    for t in range(5):
        rows = np.arange(240)
        shift = np.where(rows < 120, -3 * t, 3 * t)
        mask = np.zeros((240, 320), bool)
        picture = ground.copy()
        for row in range(70, 170):
            x = 130 + shift[row]
            picture[row, x : x + 60] = tile[row, 130:190]
            mask[row, x : x + 60] = True
        pictures.append(picture)
        masks.append(mask)
    thing = carried(pictures, masks[0])
    assert thing.sure < 0.9
    assert iou(thing.mask, masks[-1]) > 0.8 > iou(masks[0], masks[-1])


def test_of_what_moves_out_of_the_picture_next_to_nothing_is_left() -> None:
    stage = Stage({"duck": lambda t: (90 + 4 * t, 40)})
    shots = [stage.frame(t) for t in range(14)]
    assert not shots[-1][1]
    thing = carried([picture for picture, _ in shots], shots[0][1][1])
    assert thing.area == thing.mask.sum() < 0.15 * shots[0][1][1].sum()


def test_a_cut_and_another_size_are_noticed() -> None:
    flow = Flow()
    flow.step(np.zeros((60, 80, 3), np.uint8))
    assert flow.change == 1.0
    flow.step(np.full((60, 80, 3), 200, np.uint8))
    assert flow.change > 0.5
    flow.step(np.full((120, 160, 3), 200, np.uint8))
    assert flow.forward is None


def test_the_box_of_a_mask_is_tight() -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:20, 30:70] = True
    assert box_of(mask).tolist() == [30, 10, 70, 20]  # type: ignore[union-attr]
    assert box_of(np.zeros(SIZE, bool)) is None
