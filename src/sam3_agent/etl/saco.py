"""SA-Co JSON: pairs -> file without holding them all, and file -> rows.

One `images` row is one pair; `bbox` (xywh) and `area` are fractions of the picture, as in the published
files, and `segmentation` holds flat polygons in pixels. Beyond the standard keys an image row has `source`
and `kind`, an annotation `drawn_as` ("box" and "circle" outlines are no silhouettes), `source_file` and
`source_line`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from sam3.errors import BadInput
from sam3.files import atomic_write, read_json
from sam3_agent.etl.records import Instance, Pair

CATEGORY = 1
_NEEDED: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "text_input": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int},
}
_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def image_row(pair: Pair, concept: str) -> dict[str, Any]:
    """The `images` row of a pair."""
    return {
        "id": pair.image_id,
        "file_name": pair.file_name,
        "text_input": concept,
        "height": pair.height,
        "width": pair.width,
        "queried_category": str(CATEGORY),
        "is_instance_exhaustive": int(pair.exhaustive),
        # a box is not the silhouette: pixels of such a pair are not all right
        "is_pixel_exhaustive": int(pair.exhaustive and all(i.drawn_as == "polygon" for i in pair.instances)),
        "source": pair.source,
        "kind": pair.kind,
    }


def annotation_row(annotation_id: int, pair: Pair, instance: Instance) -> dict[str, Any]:
    """The `annotations` row of one instance of a pair."""
    x, y, w, h = instance.bbox
    return {
        "id": annotation_id,
        "image_id": pair.image_id,
        "category_id": CATEGORY,
        "iscrowd": 0,
        "area": round(instance.area / (pair.width * pair.height), 9),
        "bbox": [round(v, 9) for v in (x / pair.width, y / pair.height, w / pair.width, h / pair.height)],
        "segmentation": [ring.ravel().tolist() for ring in instance.polygons],
        "drawn_as": instance.drawn_as,
        "source_file": instance.file,
        "source_line": instance.line,
    }


class SacoWriter:
    """Writes pairs one by one; the file appears, whole, when the `with` block ends without an error.

    Rows wait in unnamed temporary files, which vanish with the process: a kill leaves nothing behind.
    """

    def __init__(self, path: Path, concept: str) -> None:
        self._path, self._concept = path, concept
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self._annotations = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._image_count = self._annotation_count = 0

    def __enter__(self) -> SacoWriter:
        return self

    def add(self, pair: Pair) -> None:
        """Append one pair."""
        self._put(self._images, self._image_count, image_row(pair, self._concept))
        self._image_count += 1
        for instance in pair.instances:
            row = annotation_row(self._annotation_count + 1, pair, instance)
            self._put(self._annotations, self._annotation_count, row)
            self._annotation_count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._images, self._annotations:
            if kind is not None:
                return
            with atomic_write(self._path) as out:
                out.write('{"info": {"description": "pairs from the raw folder"},\n"images": [\n')
                self._copy(self._images, out)
                out.write('],\n"annotations": [\n')
                self._copy(self._annotations, out)
                out.write('],\n"categories": [{"id": %d, "name": "object"}]}\n' % CATEGORY)  # noqa: UP031

    @staticmethod
    def _put(spool: Any, count: int, row: dict[str, Any]) -> None:
        spool.write(",\n" if count else "")
        spool.write(_line(row))

    @staticmethod
    def _copy(spool: Any, out: Any) -> None:
        spool.seek(0)
        shutil.copyfileobj(spool, out, 1 << 20)


@dataclass(slots=True)
class SacoFile:
    """The rows of a SA-Co file; `extra` holds its other keys (info, categories)."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)

    def subset(self, image_ids: set[int]) -> SacoFile:
        """The pairs with these ids and their annotations, in file order."""
        images = [row for row in self.images if row["id"] in image_ids]
        return SacoFile(images, [row for row in self.annotations if row["image_id"] in image_ids], self.extra)

    def counts(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Every image row with its number of annotations."""
        count: dict[int, int] = {}
        for row in self.annotations:
            count[row["image_id"]] = count.get(row["image_id"], 0) + 1
        return ((row, count.get(row["id"], 0)) for row in self.images)

    def write(self, path: Path) -> None:
        """Write the file, atomically, one row a line (diffs and `grep` stay useful)."""
        with atomic_write(path) as out:
            out.write("{")
            for table, rows in (("images", self.images), ("annotations", self.annotations)):
                lines = ",\n".join(_line(row) for row in rows)
                out.write(f'"{table}": [\n{lines}\n],\n')
            rest = {"info": {}, "categories": [{"id": CATEGORY, "name": "object"}], **self.extra}
            out.write(_line(rest).removeprefix("{") + "\n")


def read_saco(path: Path) -> SacoFile:
    """Read a SA-Co file.

    Raises:
        BadInput: missing, not JSON, or without the two lists of rows; the message names the row.
    """
    if not path.exists():
        raise BadInput(f"{path}: not found. Run `sam3-agent etl` first.")
    content = read_json(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected a JSON object with images and annotations.")
    for table, keys in _NEEDED.items():
        rows = content.get(table)
        if not isinstance(rows, list):
            raise BadInput(f"{path}: expected a list under {table}.", field=table)
        for index, row in enumerate(rows):
            for key, kind in keys.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise BadInput(f"{path}: {table}[{index}] has no usable {key}. Make the file again.", field=key)
    extra = {key: value for key, value in content.items() if key not in _NEEDED}
    return SacoFile(content["images"], content["annotations"], extra)
