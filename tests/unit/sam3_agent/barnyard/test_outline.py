"""Outlines follow masks; pictures are stored the way their EXIF says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coco

from sam3_agent.barnyard.cutout_image import colour_name, complaint, fit
from sam3_agent.barnyard.pixels import write_picture
from sam3_agent.barnyard.staging import outline


def disc(radius: int, size: int = 100) -> np.ndarray:
    return cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), radius, 1, -1).astype(bool)


def rasterised(points: np.ndarray, size: int) -> np.ndarray:
    return coco.decode(coco.merge(coco.frPyObjects([points.ravel().tolist()], size, size))).astype(bool)


@pytest.mark.parametrize("radius", [8, 20, 45])
def test_the_outline_of_a_disc_fills_back_to_the_disc(radius: int) -> None:
    mask = disc(radius)
    points, claimed = outline(mask)
    filled = rasterised(points, 100)
    assert (filled & mask).sum() / (filled | mask).sum() > 0.95 and claimed > 0.955


def test_the_outline_of_the_whole_picture_is_its_border() -> None:
    points, _ = outline(np.ones((40, 40), bool))
    assert points.min(0) == pytest.approx([0, 0], abs=0.2) and points.max(0) == pytest.approx([40, 40], abs=0.2)


def test_two_parts_are_confessed_as_a_poor_outline() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:20, 5:20] = mask[40:55, 40:55] = True
    assert outline(mask)[1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_viewer_that_honours_exif_sees_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((40, 64, 3), np.uint8)
    upright[:20, :32] = 255
    write_picture(tmp_path / "a.JPG", upright, orientation)
    stored = Image.open(tmp_path / "a.JPG")
    assert stored.size == ((40, 64) if orientation in (6, 8) else (64, 40))
    seen = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
    assert np.abs(seen - upright).mean() < 3


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((220, 20, 30), "red"),
        ((240, 140, 20), "orange"),
        ((120, 70, 20), "brown"),
        ((250, 220, 40), "yellow"),
        ((40, 160, 50), "green"),
        ((40, 80, 220), "blue"),
        ((10, 10, 12), "black"),
        ((245, 245, 245), "white"),
        ((128, 128, 130), "grey"),
    ],
)
def test_colours_have_the_names_people_use(rgb: tuple[int, int, int], name: str) -> None:
    assert colour_name(np.full((8, 8, 4), (*rgb, 255), np.uint8)) == name


def test_a_cutout_is_trimmed_scaled_and_judged() -> None:
    rgba = np.zeros((300, 300, 4), np.uint8)
    rgba[50:250, 100:150] = 200
    fitted = fit(rgba, 100)
    assert fitted.shape == (100, 27, 4) or fitted.shape == (100, 26, 4)
    assert complaint(fitted) == "no alpha"
    round_one = np.dstack([disc(40)[..., None].repeat(3, 2) * 200, disc(40) * 255]).astype(np.uint8)
    assert complaint(fit(round_one, 200)) is None
