"""The bytes of a picture file, a PIL image or an array -> upright uint8 RGB.

Bounded before a pixel is decoded; every mode Pillow knows ends as eight bits of red, green and blue, with
transparency laid on white. The one decoder of the house: `sam3.images` reads the files of training and evaluation
with it, `sam3_agent.media` whatever people hand in.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from sam3.errors import BadInput
from sam3.types import UInt8Array

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000
MIN_SIDE = 8
MAX_BYTES = 64_000_000
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # of Pillow's many decoders, those that people need


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> UInt8Array:
    """Decode the bytes of a JPEG, PNG, BMP, TIFF or WebP file.

    Args:
        name: what to call it in errors.

    Raises:
        BadInput: empty, too large, damaged or another format.
    """
    from PIL import Image

    if not data:
        raise BadInput(f"{name}: the file is empty. Replace it.")
    if len(data) > max_bytes:
        raise BadInput(f"{name}: {len(data) / 1e6:.0f} MB, over {max_bytes / 1e6:.0f} MB. Scale the picture down.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own, lower bound follows
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name}: over {max_pixels / 1e6:.0f} megapixels. Scale the picture down.") from error
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        raise BadInput(f"{name}: not a {', '.join(FORMATS)} picture, or damaged. Replace the file.") from error
    return from_pil(image, name, max_pixels=max_pixels)


def from_pil(image: Image.Image, name: str, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a PIL image and convert it; every failure of Pillow's decoders names the picture.

    Raises:
        BadInput: too large, too small, cut short or damaged.
    """
    _check_size(name, *image.size, max_pixels)
    try:
        return _to_rgb(image)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise BadInput(f"{name}: cut short or damaged ({type(error).__name__}: {error}). Replace the file.") from error


def from_array(array: np.ndarray[Any, Any], *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Pixels that are an array already -> uint8 RGB (H, W, 3); grey is repeated, alpha laid on white.

    Raises:
        BadInput: another shape or dtype; floats are refused because 1.0 may mean white or nearly black.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadInput(f"an array of shape {array.shape} is no picture. Expected (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise BadInput(f"an array of {array.dtype} is no picture. Expected uint8, 0 to 255.")
    _check_size("the array", array.shape[1], array.shape[0], max_pixels)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadInput(f"{name}: {width} x {height} is over {max_pixels / 1e6:.0f} megapixels. Scale the picture down.")
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"{name}: {width} x {height} pixels; each side needs at least {MIN_SIDE}.")


def _to_rgb(image: Image.Image) -> UInt8Array:
    """Upright uint8 RGB of a picture in any of Pillow's modes."""
    from PIL import Image, ImageOps

    image.load()
    with contextlib.suppress(Exception):  # a broken EXIF block says nothing about the pixels
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip to white instead of scaling
        return from_array(np.asarray(image).astype(np.uint16), max_pixels=image.width * image.height)
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float64))
        white = next((top for top in (1.0, 255.0, 65535.0) if values.max(initial=0) <= top), values.max(initial=1))
        return from_array((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        front = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")).copy()
    return np.ascontiguousarray(image.convert("RGB"))
