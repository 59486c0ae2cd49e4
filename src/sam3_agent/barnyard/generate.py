"""The barnyard: raw folders as users have them, composed from the pack, for any concept in it.

Writes `data/raw/images/{<concept>,not_<concept>}/`, `data/raw/labels/`, `data/raw/barnyard.json` (who lives
on which farm), `data/inbox/` and `data/inbox_truth.json` (exact masks, for the simulated annotator). Every
picture has its own seed, so the same parameters give the same files. Look first: `sam3-agent barnyard --dry-run`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sam3.errors import BadInput
from sam3.files import write_json
from sam3.folders import fresh_folder
from sam3.scenes.pack import Pack
from sam3_agent.barnyard.blemishes import Blemish, plan_blemishes
from sam3_agent.barnyard.farms import Farm, plan_farms
from sam3_agent.barnyard.labels import Naming, label_file, write_classes
from sam3_agent.barnyard.pixels import write_picture
from sam3_agent.barnyard.staging import Picture, stage
from sam3_agent.params import Params, load_params

MANIFEST = "barnyard.json"
RAW, INBOX = 1, 2  # first word of a picture's seed


@dataclass(frozen=True, slots=True)
class Order:
    """What to write: everything that decides the files."""

    concept: str
    naming: Naming
    seed: int
    pictures: int
    inbox: int
    image_size: tuple[int, int]
    inbox_photographs: int = 0
    inbox_share: float = 0.5
    inbox_visitors: bool = False

    def settings(self) -> dict[str, Any]:
        """The part of the manifest that must agree for the files to be the same."""
        return {
            "concept": self.concept,
            "names": [*self.naming.accepted, self.naming.ambiguous],
            "seed": self.seed,
            "pictures": self.pictures,
            "inbox": self.inbox,
            "image_size": list(self.image_size),
            "inbox_photographs": self.inbox_photographs,
            "inbox_share": self.inbox_share,
            "inbox_visitors": self.inbox_visitors,
        }


def barnyard(
    out: Annotated[Path | None, typer.Option(help="Labelled pictures [data.raw of params.yaml].")] = None,
    inbox: Annotated[Path | None, typer.Option(help="Unlabelled pictures [data.inbox].")] = None,
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
    pack: Annotated[Path | None, typer.Option(help="Folder of cut-outs [the repository's own].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show who would live where, write nothing.")] = False,
) -> None:
    """Compose the built-in data set: labelled farms and an unlabelled inbox."""
    settings = load_params(params)
    cutouts = Pack.load(pack)
    yard = settings.barnyard
    farms = plan_farms(cutouts, settings.concept, yard.seed, yard.inbox_photographs, yard.inbox_visitors)
    order = _order(settings, farms)
    console = Console()
    console.print(_table(order, farms))
    if not dry_run:
        raw = out or Path(settings.data.raw)
        generate(order, farms, raw, inbox or Path(settings.data.inbox))
        console.print(f"{raw} and {inbox or settings.data.inbox} are ready; next: sam3-agent etl")


def generate(order: Order, farms: list[Farm], raw: Path, inbox: Path) -> dict[str, Any]:
    """Write both folders; they appear when they are complete.

    Args:
        farms: as `plan_farms` deals them, the inbox last.

    Returns:
        The manifest, also written to `raw`/barnyard.json.

    Raises:
        BadInput: a folder holds files that the barnyard did not make.
    """
    truth = inbox.with_name(f"{inbox.name}_truth.json")
    with _fresh(raw, is_ours=raw / MANIFEST) as raw_part, _fresh(inbox, is_ours=truth) as inbox_part:
        tally = _write_raw(order, farms[:-1], raw_part)
        facts = _write_inbox(order, farms[-1], inbox_part)
        manifest = _manifest(order, farms, tally)
        write_json(raw_part / MANIFEST, manifest)
        write_json(truth, facts, indent=None)
    return manifest


def _order(settings: Params, farms: list[Farm]) -> Order:
    near = Counter(c.concept for farm in farms[:-1] for c in farm.near)
    ambiguous = settings.etl.ambiguous[0] if settings.etl.ambiguous else None
    naming = Naming(settings.names_of_concept(), ambiguous, tuple(sorted(near)))
    yard = settings.barnyard
    return Order(
        settings.concept, naming, yard.seed, yard.pictures, yard.inbox, yard.image_size, yard.inbox_photographs,
        yard.inbox_share, yard.inbox_visitors,
    )  # fmt: skip


def _write_raw(order: Order, farms: list[Farm], out: Path) -> Counter[str]:
    """Pictures and labels; returns how often each blemish and label form occurs."""
    folders = {True: out / "images" / order.concept, False: out / "images" / f"not_{order.concept}"}
    for folder in (*folders.values(), out / "labels"):
        folder.mkdir(parents=True)
    write_classes(out / "labels", order.naming)
    plan = plan_blemishes(np.random.default_rng([RAW, order.seed]), order.pictures, [f.name for f in farms])
    tally: Counter[str] = Counter()
    for index, blemish in enumerate(track(plan, "farms", console=Console(stderr=True), transient=True)):
        rng = np.random.default_rng([RAW, order.seed, index])
        picture = _stage(rng, farms[blemish.farm], order, blemish)
        name = f"{blemish.stem}{blemish.suffix}"
        write_picture(folders[blemish.positive] / name, picture.image, blemish.orientation)
        label = label_file(rng, picture, blemish.form, order.naming, ambiguous=blemish.ambiguous)
        if label is not None:
            (out / "labels" / f"{blemish.stem}{label[0]}").write_text(label[1], encoding="utf-8")
        tally.update(_facts_to_count(blemish, picture))
    return tally


def _write_inbox(order: Order, farm: Farm, out: Path) -> dict[str, Any]:
    """Unlabelled pictures; returns the exact truth about them."""
    plan = plan_blemishes(np.random.default_rng([INBOX, order.seed]), order.inbox, [farm.name], order.inbox_share)
    pictures: dict[str, Any] = {}
    for index, blemish in enumerate(track(plan, "inbox", console=Console(stderr=True), transient=True)):
        picture = _stage(np.random.default_rng([INBOX, order.seed, index]), farm, order, blemish)
        name = f"{blemish.stem}{blemish.suffix}"
        write_picture(out / name, picture.image, blemish.orientation)
        pictures[name] = _truth(picture)
    return {"concept": order.concept, "settings": order.settings(), "pictures": pictures}


def _stage(rng: np.random.Generator, farm: Farm, order: Order, blemish: Blemish) -> Picture:
    width, height = order.image_size
    size = (height, width) if rng.random() < 0.25 else (width, height)
    return stage(rng, farm, size, positive=blemish.positive, with_near=blemish.ambiguous)


def _truth(picture: Picture) -> dict[str, Any]:
    """Size and masks of the concept in the upright picture, as COCO RLE."""
    from pycocotools import mask as coco

    objects = []
    for subject in picture.shown:
        rle = coco.encode(np.asfortranarray(subject.thing.mask, dtype=np.uint8))
        x1, y1, x2, y2 = subject.thing.box.tolist()
        objects.append(
            {
                "name": subject.thing.cutout.concept,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            }
        )
    height, width = picture.image.shape[:2]
    return {"width": width, "height": height, "objects": objects}


def _facts_to_count(blemish: Blemish, picture: Picture) -> Iterator[str]:
    yield "positive" if blemish.positive else "negative"
    yield f"label: {blemish.form}"
    if blemish.ambiguous:
        yield "ambiguous class"
    if blemish.orientation != 1:
        yield "rotated by EXIF"
    if blemish.suffix != blemish.suffix.lower():
        yield "upper-case suffix"
    if not blemish.stem.isascii():
        yield "unicode name"
    yield from ["instance"] * len(picture.shown)


def _manifest(order: Order, farms: list[Farm], tally: Counter[str]) -> dict[str, Any]:
    raw = [c for farm in farms[:-1] for c in farm.individuals]
    return {
        **order.settings(),
        "counts": dict(sorted(tally.items())),
        "photographed_individuals": sum(c.is_photo for c in raw),
        "drawn_individuals": sum(not c.is_photo for c in raw),
        "farms": [_resident_list(farm) for farm in farms[:-1]],
        "inbox_farm": _resident_list(farms[-1]),
    }


def _resident_list(farm: Farm) -> dict[str, Any]:
    return {
        "name": farm.name,
        "photographed": [c.file for c in farm.individuals if c.is_photo],
        "drawn": [c.file for c in farm.individuals if not c.is_photo],
        "near_misses": [c.file for c in farm.near],
        "others": [c.file for c in farm.others],
        "clutter": [c.file for c in farm.clutter],
        "backgrounds": [b.file for b in farm.backgrounds],
    }


def _table(order: Order, farms: list[Farm]) -> Table:
    title = f"{order.concept}: {order.pictures} labelled pictures, {order.inbox} in the inbox, seed {order.seed}"
    table = Table("farm", "photographed", "drawn", "near misses", "others", "clutter", "backgrounds", title=title)
    for farm in farms:
        name = f"{farm.name} (inbox)" if farm is farms[-1] else farm.name
        photographed = ", ".join(c.concept for c in farm.individuals if c.is_photo) or "-"
        drawn = str(sum(not c.is_photo for c in farm.individuals))
        rest = (str(len(group)) for group in (farm.near, farm.others, farm.clutter, farm.backgrounds))
        table.add_row(name, photographed, drawn, *rest)
    return table


@contextmanager
def _fresh(target: Path, *, is_ours: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when the block ends well."""
    if target.is_dir() and any(target.iterdir()) and not is_ours.is_file():
        raise BadInput(
            f"{target}: holds files that the barnyard did not make (no {is_ours.name}). "
            "Choose another folder with --out and --inbox, or move them away."
        )
    with fresh_folder(target) as part:
        yield part
