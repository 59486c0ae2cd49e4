"""The bundled pictures of `sam3-agent demo`, composed from the pack's photographs with fixed seeds.

    python -m sam3_agent.demo_pictures         # writes data/demo/*.jpg again, byte for byte

What is in them stands beside them in recipes.yaml, what is asked about them in questions.yaml.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from sam3.files import atomic_write
from sam3.scenes.compose import ComposeOptions, Scene, compose
from sam3.scenes.pack import Pack
from sam3.scenes.photometry import Photometry

SIZE = (640, 480)
LOOK = ComposeOptions(
    scale=(0.28, 0.5),
    rotation=4.0,
    overlap=0.0,
    overhang=0.0,
    shadow=0.5,
    photometry=Photometry(object_hue=0.0, light=0.05, gamma=0.05, blur=0.0, noise=0.1),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A picture: its seed, its background, and the photographs in it from back to front."""

    name: str
    seed: int
    background: str
    cast: tuple[str, ...]


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """The recipes of a folder, by name."""
    rows = yaml.safe_load((folder / "recipes.yaml").read_text(encoding="utf-8"))
    return {name: Recipe(name, r["seed"], r["background"], tuple(r["cast"])) for name, r in rows.items()}


def draw(recipe: Recipe, pack: Pack) -> Scene:
    """The picture of a recipe, (480, 640), and where each of its cast is in it."""
    files = {Path(cutout.file).stem.partition("-")[2]: cutout for cutout in pack.select(photos=True)}
    grounds = {Path(background.file).stem: background for background in pack.backgrounds}
    cast = [files[name] for name in recipe.cast]
    rng = np.random.default_rng(recipe.seed)
    return compose(rng, cast, grounds[recipe.background].rgb, SIZE, LOOK)


def main(folder: Path) -> None:
    """Write every picture."""
    from PIL import Image

    pack = Pack.load()
    for recipe in read_recipes(folder).values():
        with atomic_write(folder / f"{recipe.name}.jpg", "wb") as stream:
            Image.fromarray(draw(recipe, pack).image).save(stream, "JPEG", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/demo"))
