"""Whatever stands for a picture becomes uint8 RGB; whatever does not is one line."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3.errors import BadInput
from sam3_agent.media.images import content_hash, load_image

RED = (200, 30, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = struct.pack(">I", 9) + b"IDAT" + b"x" * 9
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_every_format_by_every_door(kind: str, tmp_path: Path) -> None:
    data = encoded(red(), kind)
    path = tmp_path / "Grüße.IMG"  # the suffix says nothing
    path.write_bytes(data)
    data_url = f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
    for source in (path, str(path), data, bytearray(data), data_url):
        pixels = load_image(source)
        assert pixels.shape == (10, 20, 3) and pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - RED).max() <= 4


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (red("RGBA"), RED),
        (red("CMYK"), RED),
        (red("P"), None),
        (red("L"), (82, 82, 82)),
        (Image.new("1", (20, 10), 1), (255, 255, 255)),
        (Image.new("LA", (20, 10), (0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (20, 10), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (20, 10), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.fromarray(np.full((10, 20), 0x8000, np.uint16)), (128, 128, 128)),
        (Image.fromarray(np.full((10, 20), 0.5, np.float32)), (128, 128, 128)),
        (Image.fromarray(np.full((10, 20), 40_000, np.int32)), (156, 156, 156)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_becomes_eight_bit_rgb(image: Image.Image, expected: tuple[int, int, int] | None) -> None:
    pixels = load_image(image)
    assert pixels.shape == (10, 20, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - (expected or RED)).max() <= (60 if expected is None else 1)


def test_a_palette_with_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("P", (20, 10), 3)
    image.putpalette([0, 0, 0] * 256)
    assert load_image(encoded(image, transparency=3)).min() == 255


def test_sixteen_bit_png_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 200, dtype=np.uint16).reshape(10, 20)
    assert np.array_equal(load_image(encoded(Image.fromarray(ramp)))[..., 0], ramp >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = Image.new("RGB", (20, 10))
    image.paste(RED, (0, 0, 10, 5))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = load_image(encoded(image, "PNG", exif=exif))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[
        orientation
    ]
    assert pixels.shape[:2] == ((10, 20) if orientation < 5 else (20, 10))
    assert tuple(pixels[corner]) == RED


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((10, 20), 7, np.uint8), (7, 7, 7)),
        (np.full((10, 20, 1), 7, np.uint8), (7, 7, 7)),
        (np.full((10, 20, 3), 7, np.uint8), (7, 7, 7)),
        (np.full((10, 20, 4), 0, np.uint8), (255, 255, 255)),
        (np.full((10, 20, 3), 0xFFFF, np.uint16), (255, 255, 255)),
    ],
)
def test_arrays(array: np.ndarray, expected: tuple[int, int, int]) -> None:
    pixels = load_image(array)
    assert pixels.shape == (10, 20, 3) and tuple(pixels[0, 0]) == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((10, 20, 3), np.float32), "array of float32"),
        (np.zeros((4, 10, 20, 3), np.uint8), r"shape \(4, 10, 20, 3\)"),
        (np.zeros((10, 20, 2), np.uint8), "shape"),
        (np.zeros((0, 20, 3), np.uint8), "at least 8"),
        (b"", "the file is empty"),
        (b"GIF89a" + b"\0" * 40, "not a JPEG, PNG, BMP, TIFF, WEBP picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (encoded(red(size=(1, 1))), "1 x 1 pixels"),
        (png_header(50_000, 50_000), "over 50 megapixels"),
        (png_header(2**31 - 1, 2**31 - 1), "over 50 megapixels"),
        (None, "a NoneType is no picture"),
        (7, "a int is no picture"),
        ("data:text/html;base64,AAAA", "not a data URL of a picture"),
        ("data:image/png;base64,@@@", "not valid base64"),
        ("data:image/png;base64,", "the file is empty"),
        ("https://example.com/a.png", "web addresses are not permitted here"),
        ("no\0name.png", "cannot be a path"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) and "\0" not in value else "",
)
def test_what_is_no_picture(source: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        load_image(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_a_cut_file_is_named(kind: str, keep: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(BadInput, match=r"cut\.img"):
        load_image(path)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(65_000_000)  # a hole, no bytes on the disk
    with pytest.raises(BadInput, match=r"large\.png: 65 MB, over 64 MB"):
        load_image(path)


def test_a_folder_a_device_and_a_missing_file_are_no_pictures(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "not a file"), ("/dev/zero", "not a file"), (tmp_path / "x.png", "no such picture")):
        with pytest.raises(BadInput, match=words):
            load_image(path)


def test_paths_stay_in_their_folders(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "a.png").write_bytes(encoded(red()))
    (inside / "link.png").symlink_to(outside / "a.png")
    (tmp_path / "inside-too").mkdir()
    (tmp_path / "inside-too" / "a.png").write_bytes(encoded(red()))
    assert load_image(inside / "a.png", roots=[inside]).shape == (10, 20, 3)
    for path in ("link.png", "../outside/a.png", "../inside-too/a.png"):
        with pytest.raises(BadInput, match="outside the folders"):
            load_image(inside / path, roots=[inside])
    with pytest.raises(BadInput, match="outside the folders"):
        load_image(inside / "a.png", roots=[])


def test_content_hash_tells_shape_and_dtype_apart() -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    others = [pixels.reshape(20, 10, 3), pixels.astype(np.uint16), pixels[:9], pixels + 1, pixels.view(np.int8)]
    hashes = {content_hash(array) for array in [pixels, *others]}
    assert len(hashes) == 6
    assert content_hash(pixels[:, ::-1][:, ::-1]) == content_hash(pixels), "the layout in memory does not matter"
