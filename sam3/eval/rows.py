"""One row of a JSON file, read field by field with errors that name the file, the row and the field.

Used by the readers of this room, so that each of them says what it wants and not how to complain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sam3.errors import BadInput

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """`fields` is entry `index` of the list `table` in `path`."""

    path: Path
    table: str
    index: int
    fields: dict[str, Any]

    def fail(self, key: str | None, problem: str) -> NoReturn:
        """Raise `BadInput`: file, row, field, what is wrong."""
        raise BadInput(f"{self.path}, {self.table}[{self.index}]: {problem}", field=key)

    def _get(self, key: str, hint: str) -> Any:
        if key not in self.fields:
            self.fail(key, f'"{key}" is missing; {hint}.')
        return self.fields[key]

    def integer(self, key: str, *, least: int | None = None) -> int:
        """A whole number, at least `least`."""
        value = self._get(key, "every row needs a whole number there")
        if type(value) is not int or (least is not None and value < least):
            bound = "" if least is None else f" of at least {least}"
            self.fail(key, f'"{key}" must be a whole number{bound}, not {value!r:.60}.')
        return int(value)

    def number(self, key: str) -> float:
        """A finite number; NaN and infinity are refused."""
        value = self._get(key, "every row needs a number there")
        if type(value) not in (int, float):
            self.fail(key, f'"{key}" must be a number, not {value!r:.60}.')
        if not math.isfinite(value):
            self.fail(key, f'"{key}" is {value}; it must be a finite number. Was the model trained to NaN?')
        return float(value)

    def flag(self, key: str) -> bool:
        """True/false or 1/0."""
        value = self._get(key, "write 0 or 1")
        if type(value) not in (int, bool) or value not in (0, 1):
            self.fail(key, f'"{key}" must be 0 or 1, not {value!r:.60}.')
        return bool(value)

    def text(self, key: str) -> str:
        """A string; empty when the key is absent."""
        value = self.fields.get(key, "")
        if not isinstance(value, str):
            self.fail(key, f'"{key}" must be text, not {value!r:.60}.')
        return str(value)

    def box(self, *, required: bool) -> Box | None:
        """`bbox` as xywh in the file's own unit; None when absent and not `required`."""
        value = self.fields.get("bbox")
        if value is None and not required:
            return None
        if (
            not isinstance(value, list)
            or len(value) != 4
            or not all(type(v) in (int, float) and math.isfinite(v) for v in value)
            or value[2] < 0
            or value[3] < 0
        ):
            self.fail("bbox", f'"bbox" must be [x, y, width, height] in finite numbers, not {value!r:.60}.')
        return (float(value[0]), float(value[1]), float(value[2]), float(value[3]))


def table_rows(path: Path, table: str, values: Any) -> Iterator[Row]:
    """The entries of a JSON list as rows.

    Raises:
        BadInput: not a list, or an entry that is not an object.
    """
    if not isinstance(values, list):
        kind = type(values).__name__
        raise BadInput(f'{path}: "{table}" must be a list of objects, not {kind}.', field=table)
    for index, fields in enumerate(values):
        if not isinstance(fields, dict):
            raise BadInput(f"{path}, {table}[{index}]: must be an object, not {fields!r:.60}.", field=table)
        yield Row(path, table, index, fields)
