"""A chosen batch -> its folder: copied pictures, pre-filled LabelMe files, manifest.jsonl, batch.json, contact sheet.

Made in a hidden folder and moved into place whole; made again from the ledger when a kill came in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sam3.errors import Unavailable
from sam3.files import atomic_write, write_json
from sam3_agent.mining import labelme
from sam3_agent.mining.inbox import Part, pictures
from sam3_agent.mining.outline import decoded

MANIFEST, FACTS, SHEET, IMAGES = "manifest.jsonl", "batch.json", "contact_sheet.jpg", "images"
BELIEVED, DOUBTED = (56, 189, 248), (255, 122, 60)  # colours of instances above and below the pre-fill
MOST_TILES = 48


def write_batch(folder: Path, facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Make the folder of a batch; one that is there is replaced.

    Args:
        facts: of the batch: name, concept, prefill, model ...
        rows: of its pictures, as in the ledger; `url` and `name` say where each lies.

    Raises:
        Unavailable: a picture is gone, or has other bytes than when it was looked at.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / IMAGES).mkdir(parents=True)
    names = file_names(rows)
    lines: list[dict[str, Any]] = []
    tiles: list[Any] = []
    for row, name, data in zip(rows, names, _bytes_of(rows), strict=True):
        (part / IMAGES / name).write_bytes(data)
        content = labelme.sheet(row, name, facts["concept"], facts["prefill"])
        digest = labelme.write(part / IMAGES / f"{PurePosixPath(name).stem}.json", content)
        lines.append({**_manifest_row(row, facts), "file": f"{IMAGES}/{name}", "label_sha256": digest})
        if len(tiles) < MOST_TILES:
            tiles.append(_tile(row, name, data, facts["prefill"]))
    with atomic_write(part / MANIFEST) as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    _contact_sheet(tiles, facts, len(rows), part / SHEET)
    write_json(part / FACTS, facts)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def file_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each picture that no other has, not by stem either: its label file shares it."""
    taken: set[str] = set()
    out = []
    for row in rows:
        own = PurePosixPath(row["name"])
        name = own.name
        if own.stem.casefold() in taken:
            name = f"{own.stem}-{row['sha256'][:8]}{own.suffix}"
        taken.add(PurePosixPath(name).stem.casefold())
        out.append(name)
    return out


def _manifest_row(row: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "sha256", "width", "height", "presence", "value", "reasons", "versions", "mirror_agreement",
            "cluster", "feedback")  # fmt: skip
    return {
        **{key: row[key] for key in kept if row.get(key) is not None},
        "model": facts["model"],
        "instances": [
            {key: one[key] for key in one if key != "cut" or one[key] is not None} for one in row["instances"]
        ],
    }


def _bytes_of(rows: Sequence[dict[str, Any]]) -> Any:
    """The bytes of each picture, in order; those of a tar are read in one pass of it."""
    from_tar: dict[str, dict[str, bytes]] = {}
    for url in {row["url"] for row in rows if row["url"].endswith(".tar")}:
        wanted = {row["name"] for row in rows if row["url"] == url}
        from_tar[url] = {name: data for name, data in pictures(Part(url)) if name in wanted and isinstance(data, bytes)}
    for row in rows:
        if row["url"] in from_tar:
            data: Any = from_tar[row["url"]].get(row["name"])
        else:
            [(_, data)] = pictures(Part(row["url"], (row["name"],)))
        if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise Unavailable(f"{row['url']}/{row['name']}: gone or changed since it was looked at. Put it back.")
        yield data


def _tile(row: dict[str, Any], name: str, data: bytes, prefill: float) -> Any:
    from sam3.decoding import decode
    from sam3_agent.measure.contact_sheet import TILE_WIDTH, Tile
    from sam3_agent.report.outlines import draw_masks

    image = decode(data, name)
    width = min(TILE_WIDTH, max(1, round(240 * image.shape[1] / image.shape[0])))
    for believed, colour in ((False, DOUBTED), (True, BELIEVED)):
        masks = [decoded(one["mask"]) for one in row["instances"] if (one["score"] >= prefill) == believed]
        image = np.asarray(draw_masks(image, [_fitted(mask, image) for mask in masks], colour, width=width))
    why = ", ".join(row["reasons"]) or "best of the rest"
    return Tile(image, name, f"{row['value']:.2f}: {why}; presence {row['presence']:.2f}")


def _fitted(mask: Any, image: Any) -> Any:
    """A mask at the size of a picture that was already scaled."""
    import cv2

    height, width = image.shape[:2]
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _contact_sheet(tiles: Sequence[Any], facts: dict[str, Any], count: int, out: Path) -> None:
    from sam3_agent.measure.contact_sheet import save_sheet

    shown = f", the first {len(tiles)} shown" if len(tiles) < count else ""
    save_sheet(tiles, f"{facts['name']}: {facts['concept']}", f"{count} pictures to correct{shown}", out)
