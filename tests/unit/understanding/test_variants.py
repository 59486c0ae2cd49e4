"""The query bench's categories in other words: `variants.txt`, one conversation a row.

python -m pytest tests/unit/understanding/test_variants.py -q -k "spatial"
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stage import Stage

TABLES = sorted(Path(__file__).parent.glob("*.txt"))


@dataclass
class Turn:
    query: str
    media: list[str]
    status: str | None = "ok"
    answer: str | None = None
    ids: str = "*"


@dataclass
class Row:
    category: str
    scenes: list[str]
    turns: list[Turn] = field(default_factory=list)


def load() -> list[Row]:
    rows: list[Row] = []
    category = ""
    for line in "\n".join(table.read_text(encoding="utf-8") for table in TABLES).splitlines():
        if line.startswith("## "):
            category = line[3:]
        elif line.startswith("+"):
            media = re.match(r"\+ \(([\w,]+)\)", line)
            rest = line[media.end() :] if media else line[1:]
            rows[-1].turns.append(parse(rest, media[1].split(",") if media else []))
        elif line and not line.startswith("#"):
            scenes, rest = line.split(":", 1)
            rows.append(Row(category, [s for s in scenes.split(",") if s], [parse(rest, [])]))
    return rows


def parse(text: str, media: list[str]) -> Turn:
    query, expected = (part.strip() for part in text.rsplit("->", 1))
    if expected.startswith("!"):
        return Turn(query, media, expected[1:])
    if expected == "*":
        return Turn(query, media, None)
    found = re.match(r"\[(.*?)\]\s*(.*)", expected)
    if found is None:
        return Turn(query, media, ids=expected)
    # a "no" and a comparison come without things to judge
    return Turn(query, media, answer=found[1], ids=found[2] or "*")


def same(expected: str, got: object) -> bool:
    if expected in ("yes", "no"):
        return got is (expected == "yes")
    if "~" in expected:
        value, tolerance = map(float, expected.split("~"))
        return isinstance(got, float) and abs(got - value) <= tolerance
    if expected.lstrip("-").isdigit():
        return isinstance(got, int) and not isinstance(got, bool) and got == int(expected)
    return isinstance(got, str) and got.rstrip("s") == expected.rstrip("s")


def sort_ids(ids: str) -> str:
    return " / ".join(" ".join(sorted(part.split())) for part in ids.split("/")).rstrip(" /") if "/" in ids else (
        " ".join(sorted(ids.split()))
    )  # fmt: skip


ROWS = load()


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.category}: {row.turns[0].query[:60]}" for row in ROWS])
def test_variant(row: Row) -> None:
    stage = Stage(*row.scenes)
    for turn in row.turns:
        reply = stage.ask(turn.query, *turn.media)
        assert reply.text
        if turn.status is not None:
            assert reply.status == turn.status, f"{turn.query}: {reply.status} ({reply.plan}) {reply.text}"
        if turn.answer is not None:
            assert same(turn.answer, reply.answer), f"{turn.query}: {reply.answer!r} ({reply.plan})"
        if turn.ids != "*":
            got = stage.ids(reply)
            assert re.sub(r"\s+", " ", sort_ids(got)) == re.sub(r"\s+", " ", sort_ids(turn.ids)), (
                f"{turn.query}: {got} ({reply.plan})"
            )
    keys = stage.engine.encoded
    assert len(keys) == len(set(keys)), "a picture was encoded twice"
