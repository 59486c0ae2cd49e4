"""A record of tracks as other programs want it: MOT Challenge text, and COCO-VID JSON.

MOT: `frame,id,left,top,width,height,score,-1,-1,-1`, frames from 1 (motchallenge.net). COCO-VID (TAO, YouTube-VIS): `videos`, `images`,
`tracks`, `categories` and `annotations` with `track_id`, `video_id` and an RLE. Both are written frame by frame: a long video
does not have to fit in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sam3.files import atomic_write
from sam3_agent.video.results import header_of, rows


def write_mot(record: Path, target: Path) -> int:
    """MOT Challenge rows of a record; returns how many."""
    count = 0
    with atomic_write(target) as stream:
        for row in rows(record):
            for track in row["tracks"]:
                x0, y0, x1, y1 = track["box"]
                box = f"{x0:.1f},{y0:.1f},{x1 - x0:.1f},{y1 - y0:.1f}"
                stream.write(f"{row['frame'] + 1},{track['id']},{box},{track['score']:.4f},-1,-1,-1\n")
                count += 1
    return count


def write_coco_vid(record: Path, target: Path) -> int:
    """COCO-VID JSON of a record; returns the number of annotations."""
    header = header_of(record)
    categories = {phrase: at for at, phrase in enumerate(header["phrases"], start=1)}
    size = {"width": header["width"], "height": header["height"]}
    tracks: dict[int, dict[str, Any]] = {}
    count = 0
    with atomic_write(target) as stream:
        stream.write('{"videos":' + json.dumps([{"id": 1, "name": header["video"], **size}]))
        stream.write(',"categories":' + json.dumps([{"id": at, "name": name} for name, at in categories.items()]))
        stream.write(',"images":[')
        for at, row in enumerate(rows(record)):
            image = {"id": row["frame"] + 1, "video_id": 1, "frame_index": row["frame"], "time": row["time"], **size}
            stream.write(("," if at else "") + json.dumps(image))
        stream.write('],"annotations":[')
        for row in rows(record):
            for track in row["tracks"]:
                category = categories.get(track["label"], 0)
                tracks.setdefault(track["id"], {"id": track["id"], "category_id": category, "video_id": 1})
                stream.write(("," if count else "") + json.dumps(_annotation(count + 1, row, track, category)))
                count += 1
        stream.write('],"tracks":' + json.dumps(list(tracks.values())) + "}\n")
    return count


def _annotation(number: int, row: dict[str, Any], track: dict[str, Any], category: int) -> dict[str, Any]:
    from pycocotools import mask as coco

    x0, y0, x1, y1 = track["box"]
    rle = {"size": track["rle"]["size"], "counts": track["rle"]["counts"].encode("ascii")}
    return {
        "id": number, "image_id": row["frame"] + 1, "video_id": 1, "track_id": track["id"], "category_id": category,
        "bbox": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)], "area": int(coco.area(rle)), "score": track["score"],
        "iscrowd": 0, "segmentation": track["rle"],
    }  # fmt: skip
