"""The plan of a mining run: what each shard reads, and what every shard has in common.

A plan is a folder: `plan.json` (what is asked, of which weights, how many shards) and `parts/<k>.json`, one a shard,
so that a plan of 100 million pictures is written and read a shard at a time. Planning the same again is free; a
folder that holds another plan is refused, since its results would not fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sam3.errors import BadInput
from sam3.files import read_json, write_json
from sam3_agent.mining.inbox import Part, inbox_parts

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What is common to all shards.

    Attributes:
        checkpoint_sha256: identity of the weights; results of other weights never mix.
        pictures_each: pictures of a shard, where the inbox is no tar. shards: how many; 0 while planning.
        judge: what else is asked of each picture, and with which weights; "": nothing.
    """

    inbox: str
    concept: str
    checkpoint: str
    checkpoint_sha256: str
    threshold: float
    pictures_each: int
    shards: int = 0
    judge: str = ""


def make_plan(plan: Plan, out: Path) -> Plan:
    """Write a plan, or find the same one.

    Raises:
        BadInput: `out` holds another plan, or the inbox is empty. Unavailable: the inbox cannot be listed.
    """
    if (out / PLAN).is_file():
        held = load_plan(out)
        same = {**asdict(held), "shards": 0} == {**asdict(plan), "shards": 0}
        if not same:
            changed = [name for name, value in asdict(plan).items() if name != "shards" and asdict(held)[name] != value]
            raise BadInput(f"{out}: holds a plan with another {', '.join(changed)}. Choose another folder with --out.")
        return held
    count = 0
    for count, part in enumerate(inbox_parts(plan.inbox, plan.pictures_each), start=1):
        write_json(part_file(out, count - 1), asdict(part), indent=None)
    whole = Plan(**{**asdict(plan), "shards": count})
    write_json(out / PLAN, asdict(whole))  # last: a plan that was killed while it was written is made anew
    return whole


def load_plan(out: Path) -> Plan:
    """Read a plan.

    Raises:
        BadInput: there is none, or it is not one.
    """
    try:
        return Plan(**read_json(out / PLAN))
    except TypeError as error:
        raise BadInput(f"{out / PLAN}: not a mining plan ({error}). Remove the folder and plan again.") from error


def plan_age(out: Path) -> str | None:
    """When the plan of a folder was made, in local time; None where there is none."""
    file = out / PLAN
    return f"{datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}" if file.is_file() else None


def load_part(out: Path, shard: int) -> Part:
    """What a shard reads."""
    row = read_json(part_file(out, shard))
    return Part(row["url"], tuple(row["names"]))


def part_file(out: Path, shard: int) -> Path:
    """Where a shard's part is noted."""
    return out / "parts" / f"{shard // 1000:04d}" / f"{shard:07d}.json"  # no folder of 100,000 files


def shard_numbers(text: str, shards: int) -> list[int]:
    """ "3,7-9" -> [3, 7, 8, 9].

    Raises:
        BadInput: not such a list, or a number that the plan does not have.
    """
    chosen: set[int] = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"--shards {text}: expected numbers and ranges, as in 3,7-9.", field="shards")
        if max(int(first), int(last or 0)) >= shards:
            chosen.clear()
            break
        chosen |= set(range(int(first), int(last or first) + 1))
    if not chosen:
        raise BadInput(f"--shards {text}: the plan has shards 0 to {shards - 1}.", field="shards")
    return sorted(chosen)


def ranges(numbers: Iterable[int]) -> str:
    """[3, 7, 8, 9] -> "3,7-9"."""
    out: list[list[int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in out)
