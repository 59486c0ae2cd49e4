"""A picture is read upright, in RGB, within bounds, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3.errors import BadInput
from sam3.images import image_size, read_image, resolve_inside


def two_tone(mode: str = "RGB") -> Image.Image:
    """40 wide, 20 high; the left half is white."""
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, :20] = 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", "RGB"), ("png", "RGBA"), ("png", "L"), ("png", "P"), ("jpg", "CMYK"), ("webp", "RGB"), ("BMP", "1")],
)
def test_whatever_the_format_the_result_is_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"Zażółć 鸡.{suffix}"
    two_tone(mode).save(path)
    image = read_image(path)
    assert (image.shape, image.dtype) == ((20, 40, 3), np.uint8)
    assert image[:, :18].min() > 245 and image[:, 22:].max() < 10
    assert image_size(path) == (20, 40)


@pytest.mark.parametrize(
    ("orientation", "shape", "white"),
    [
        (1, (20, 40), np.s_[:, :18]),
        (3, (20, 40), np.s_[:, 22:]),
        (6, (40, 20), np.s_[:18, :]),
        (8, (40, 20), np.s_[22:, :]),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, shape: tuple[int, int], white: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    two_tone().save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape[:2] == shape == image_size(tmp_path / "a.jpg")
    assert image[white].min() > 240


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 0x80FF, np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [128, 128, 128]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").min() == 255


def truncate(path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-500])


BAD = {
    "missing": (lambda path: None, "no such picture"),
    "empty": (lambda path: path.touch(), "the file is empty"),
    "text": (lambda path: path.write_text("chicken"), "not a JPEG, PNG"),
    "truncated": (truncate, "cut short or damaged"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path), "1 x 1"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
}


@pytest.mark.parametrize(("damage", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_named(tmp_path: Path, damage, said: str) -> None:
    path = tmp_path / "IMG_0042.png"
    damage(path)
    with pytest.raises(BadInput, match="IMG_0042") as error:
        read_image(path)
    assert said in str(error.value)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "huge.png")
    with pytest.raises(BadInput, match="8000 x 8000 is over 50 megapixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "", ".", "x/../../a.png"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="not inside"):
        resolve_inside(tmp_path, name)


def test_a_name_in_a_subfolder_is_fine(tmp_path: Path) -> None:
    assert resolve_inside(tmp_path, "chicken/a.png") == tmp_path / "chicken" / "a.png"
