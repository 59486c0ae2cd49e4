"""What each package yields: cut-outs (emoji drawn from SVG, photographs, clip art) and backgrounds.

Second step of `build-pack`: every generator gives `RawCutout` or `RawBackground` in a fixed order, decoded
but not yet scaled or judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from sam3.errors import BadInput, Unavailable
from sam3.types import UInt8Array
from sam3_agent.barnyard.fetch import Unpacked
from sam3_agent.barnyard.tables import BackgroundSource, Concept, PictureSource

Image.MAX_IMAGE_PIXELS = None  # some clip art is drawn at 13,000 pixels; the packages are trusted
DRAW_SIZE = 256  # px; emoji are drawn larger than kept, then averaged down
# tints that make the grey textures look like a farmyard
TINTS = {"grass": (118, 140, 76), "gravel": (150, 140, 125), "brick": (165, 110, 88)}


@dataclass(frozen=True, slots=True)
class RawCutout:
    """A picture with alpha as the package has it."""

    unpacked: Unpacked
    origin: str  # file or icon name inside the package
    name: str  # file stem in the pack
    style: str
    concept: str
    rgba: UInt8Array


@dataclass(frozen=True, slots=True)
class RawBackground:
    """A crop of a background photograph."""

    unpacked: Unpacked
    origin: str
    name: str
    shows: tuple[str, ...]
    rgb: UInt8Array


def emoji(unpacked: Unpacked, vocabulary: dict[str, Concept], excluded: set[str]) -> Iterator[RawCutout]:
    """Every icon of an emoji set whose name the vocabulary knows; spelling with or without dashes."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise Unavailable("build-pack draws emoji with resvg-py: install sam3-agent[pack].") from error
    folder = unpacked.folder / "package"
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    by_key = {name.replace("-", ""): name for name in icons["icons"] if name not in excluded}
    style = unpacked.package.name.rsplit("/", 1)[-1]
    for concept in vocabulary.values():
        for key in dict.fromkeys(name.replace("-", "") for name in concept.emoji):
            if (icon := by_key.get(key)) is not None:
                png = bytes(svg_to_bytes(svg_string=_svg(icons, icon), width=DRAW_SIZE, skip_system_fonts=True))
                rgba = np.asarray(Image.open(BytesIO(png)).convert("RGBA"))
                yield RawCutout(unpacked, icon, icon, style, concept.name, rgba)


def pictures(unpacked: Unpacked, table: list[PictureSource]) -> Iterator[RawCutout]:
    """The rows of `pictures.csv` that come from this package."""
    for row in table:
        if row.package == unpacked.package.name:
            path = Path(row.path)
            rgba = np.asarray(_open(unpacked.folder / path).convert("RGBA"))
            name = "-".join([*path.parts[-2:-1], path.stem]).replace(" ", "_").rstrip("_.").lower()
            yield RawCutout(unpacked, row.path, name, row.style, row.concept, rgba)


def backgrounds(unpacked: Unpacked, table: list[BackgroundSource], longest: int) -> Iterator[RawBackground]:
    """Crops of the background photographs of this package, each at most `longest` pixels long."""
    for row in table:
        if row.package != unpacked.package.name:
            continue
        path = Path(row.path)
        rgb = np.asarray(ImageOps.exif_transpose(_open(unpacked.folder / path)).convert("RGB"))
        if path.stem in TINTS:
            rgb = np.clip(rgb / 128.0 * np.array(TINTS[path.stem]), 0, 255).astype(np.uint8)
        for number, crop in enumerate(_crops(rgb, row.crops), start=1):
            scale = min(1.0, longest / max(crop.shape[:2]))
            size = (round(crop.shape[1] * scale), round(crop.shape[0] * scale))
            small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
            yield RawBackground(unpacked, row.path, f"{path.stem.lower()}_{number}", row.shows, small)


def _svg(icons: dict[str, Any], name: str) -> str:
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {head} viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise BadInput(f"{path}: not a readable picture; the tables beside build_pack.py name it.") from error


def _crops(rgb: UInt8Array, number: int) -> list[UInt8Array]:
    """The whole picture first, then closer looks at its left, right and middle."""
    height, width = rgb.shape[:2]
    h, w = int(height * 0.6), int(width * 0.6)
    corners = [(height - h, 0), (0, width - w), ((height - h) // 2, (width - w) // 2)]
    return [rgb, *(rgb[y : y + h, x : x + w] for y, x in corners)][:number]
