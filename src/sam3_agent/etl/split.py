"""The split stage: data/saco/pairs.json -> data/splits/{train,val,negatives}.json and reports/split.json.

Whole groups go to one side: pictures of one source, copies and near copies never meet across it.
negatives.json holds the negatives of the validation side, which training never saw. Deterministic.
Try it: `sam3-agent split`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sam3.errors import BadInput
from sam3.files import read_json, write_json
from sam3_agent.etl.frozen import FOLDER, PAIRS, FrozenValidation, load_frozen
from sam3_agent.etl.saco import SacoFile, read_saco
from sam3_agent.etl.tally import NO_NEGATIVES
from sam3_agent.params import load_params

# source -> "photographed" and "drawn" -> ids of the concept's individuals there
Individuals = dict[str, dict[str, list[str]]]


@dataclass(slots=True)
class Sides:
    """The two sides and what to know about them.

    Attributes:
        groups: (N,) group of each pair.
        validation: (N,) bool.
        counts: instances of each pair, (N,).
    """

    pairs: SacoFile
    groups: NDArray[np.int32]
    validation: NDArray[np.bool_]
    counts: NDArray[np.int64]

    def side(self, mask: NDArray[np.bool_]) -> SacoFile:
        """The pairs where `mask` is True."""
        return self.pairs.subset({row["id"] for row, wanted in zip(self.pairs.images, mask, strict=True) if wanted})

    def numbers(self, mask: NDArray[np.bool_]) -> dict[str, Any]:
        """Counts of one side, for the report."""
        positives = int((self.counts[mask] > 0).sum())
        return {
            "pairs": int(mask.sum()),
            "positives": positives,
            "negatives": int(mask.sum()) - positives,
            "positive_share": round(positives / max(int(mask.sum()), 1), 4),
            "instances": int(self.counts[mask].sum()),
            "groups": len(np.unique(self.groups[mask])),
        }


def split(
    pairs: Annotated[Path, typer.Argument(help="The SA-Co file to split.")] = Path("data/saco/pairs.json"),
    out: Annotated[Path, typer.Option(help="Folder for train, val and negatives.json.")] = Path("data/splits"),
    reports: Annotated[Path, typer.Option(help="Folder for split.json.")] = Path("reports"),
    raw: Annotated[Path | None, typer.Option(help="Raw folder [data.raw of params.yaml].")] = None,
    params: Annotated[Path, typer.Option(help="The params file.")] = Path("params.yaml"),
) -> None:
    """Split the pairs into a training and a validation side that share no source."""
    settings = load_params(params)
    folder = raw or Path(settings.data.raw)
    frozen = load_frozen(folder)
    read = read_saco(pairs)
    if frozen is None:
        sides = choose_sides(read, folder / "images", settings.split.val_share, settings.split.seed)
    else:
        sides = frozen_sides(read, folder / "images", frozen)
    report = split_report(sides, settings.split.val_share, read_individuals(folder / "barnyard.json"))
    report["frozen"] = frozen is not None
    report["left_out"] = len(read.images) - len(sides.pairs.images)
    negatives = sides.validation & (sides.counts == 0)
    written = {"train": sides.side(~sides.validation), "val": sides.side(sides.validation)}
    if frozen is not None:  # its ids stay, too: the file is the same byte for byte
        written["val"] = read_saco(folder / FOLDER / PAIRS)
        empty = {row["id"] for row, count in written["val"].counts() if count == 0}
        written["negatives"] = written["val"].subset(empty)
    for name, side in ({"negatives": sides.side(negatives)} | written).items():
        side.write(out / f"{name}.json")
    write_json(reports / "split.json", report)
    _show(report)


def choose_sides(pairs: SacoFile, images: Path, share: float, seed: int) -> Sides:
    """Group the pictures and choose the validation side.

    Args:
        pairs: all pairs; every image row has `source` (without one, each picture is its own).
        images: the folder that `file_name` is relative to.
        share: of pairs on the validation side, in (0, 1).
        seed: for the choice among equally good sides.

    Raises:
        BadInput: a picture is missing, all pictures are one group, or a side would have no positives.
    """
    from sam3_agent.etl.allocation import choose_validation, strata
    from sam3_agent.etl.grouping import group_pictures
    from sam3_agent.etl.likeness import look_at

    _refuse_unreadable(pairs, images)
    rows = track(pairs.images, "likeness", console=Console(stderr=True), transient=True)
    looks = [look_at(images / row["file_name"]) for row in rows]
    groups = group_pictures([str(row.get("source", row["file_name"])) for row in pairs.images], looks)
    if groups.max() == 0:
        raise BadInput(
            f"all {len(groups)} pictures are one group (same source, or copies of each other): no side "
            "can be held back. Add pictures from another source, or change split.group_regex in params.yaml.",
            field="split.group_regex",
        )
    counts = np.array([count for _, count in pairs.counts()], np.int64)
    sides = Sides(pairs, groups, choose_validation(groups, strata(counts), share, seed), counts)
    _refuse_without_positives(sides)
    return sides


def frozen_sides(pairs: SacoFile, images: Path, frozen: FrozenValidation) -> Sides:
    """The sides when validation is frozen: what is not in it is for training, unless it comes too near.

    Raises:
        BadInput: a frozen picture is gone, or training would have no positives.
    """
    from sam3_agent.etl.grouping import group_pictures
    from sam3_agent.etl.likeness import look_at

    _refuse_unreadable(pairs, images)
    names = {row["file_name"] for row in pairs.images}
    gone = sorted(frozen.files - names)
    if gone:
        raise BadInput(
            f"{images / gone[0]}: {len(gone)} pictures of the frozen validation split are gone. Restore them."
        )
    rows = track(pairs.images, "likeness", console=Console(stderr=True), transient=True)
    looks = [look_at(images / row["file_name"]) for row in rows]
    sources = [str(row.get("source", row["file_name"])) for row in pairs.images]
    kept = [
        at for at, row in enumerate(pairs.images)
        if row["file_name"] in frozen.files or not frozen.touches(looks[at], sources[at])
    ]  # fmt: skip
    inside = pairs.subset({pairs.images[at]["id"] for at in kept})
    groups = group_pictures([sources[at] for at in kept], [looks[at] for at in kept])
    validation = np.array([row["file_name"] in frozen.files for row in inside.images])
    counts = np.array([count for _, count in inside.counts()], np.int64)
    sides = Sides(inside, groups, validation, counts)
    _refuse_without_positives(sides)
    return sides


def _refuse_unreadable(pairs: SacoFile, images: Path) -> None:
    if not pairs.images:
        raise BadInput("there are no pairs to split. Run `sam3-agent etl` on a folder with pictures.")
    for row in pairs.images:
        name = Path(row["file_name"])
        if name.is_absolute() or ".." in name.parts:
            raise BadInput(f"images id {row['id']}: file_name {name} leads out of {images}. Mend it.")


def _refuse_without_positives(sides: Sides) -> None:
    for name, mask in (("training", ~sides.validation), ("validation", sides.validation)):
        if not (sides.counts[mask] > 0).any():
            number, total = len(np.unique(sides.groups[sides.counts > 0])), sides.groups.max() + 1
            raise BadInput(
                f"the {name} side has no positives: {number} of {total} groups show the concept. "
                "Add positives from other sources, or make the groups smaller (split.group_regex).",
                field="split.group_regex",
            )


def split_report(sides: Sides, share: float, individuals: Individuals) -> dict[str, Any]:
    """The content of reports/split.json.

    Args:
        sides: the chosen sides.
        share: what was asked for.
        individuals: who lives at which source; empty when nobody knows.
    """
    validation, train = sides.numbers(sides.validation), sides.numbers(~sides.validation)
    sizes = np.bincount(sides.groups)
    report = {
        "asked_share": share,
        "share": round(validation["pairs"] / len(sides.groups), 4),
        "train": train,
        "val": validation,
        "negatives": {"pairs": validation["negatives"]},
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
        "groups_on_both_sides": len(np.intersect1d(sides.groups[sides.validation], sides.groups[~sides.validation])),
        "warnings": _warnings(share, validation, train, len(sides.groups)),
    }
    if individuals:
        report["distinct_individuals"] = _distinct(sides, individuals)
        both = report["distinct_individuals"]["on_both_sides"]
        if both:
            report["warnings"].append(f"{len(both)} individuals are on both sides, {both[0]} first.")
    return report


def _warnings(share: float, validation: dict[str, Any], train: dict[str, Any], total: int) -> list[str]:
    found = []
    if not validation["negatives"] and not train["negatives"]:
        found.append(NO_NEGATIVES)
    elif not validation["negatives"]:
        found.append("all negatives are of one group, so validation has none and cgF1 will be 0; add other sources.")
    elif not train["negatives"]:
        found.append("the training side has no negatives; the model will not learn to say no.")
    if abs(validation["pairs"] - share * total) > max(1.0, 0.05 * total):
        got = validation["pairs"] / total
        found.append(f"{got:.0%} of the pairs are held back instead of {share:.0%}: the groups are too large.")
    return found


def read_individuals(path: Path) -> Individuals:
    """Who lives where, from the barnyard's manifest; {} for raw folders that have none.

    Raises:
        BadInput: the manifest is not in the form that the barnyard writes.
    """
    if not path.is_file():
        return {}
    try:
        farms = read_json(path)["farms"]
        return {farm["name"]: {sort: list(farm[sort]) for sort in ("photographed", "drawn")} for farm in farms}
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path}: farms must list name, photographed and drawn. Make the barnyard again.") from error


def _distinct(sides: Sides, individuals: Individuals) -> dict[str, Any]:
    """How many different individuals of the concept each side can show, and which both can."""
    found: dict[str, Any] = {}
    seen: dict[str, set[str]] = {}
    for name, mask in (("train", ~sides.validation), ("val", sides.validation)):
        sources = {row["source"] for row, wanted in zip(sides.pairs.images, mask, strict=True) if wanted}
        homes = [individuals[source] for source in sources if source in individuals]
        everybody = {sort: {one for home in homes for one in home[sort]} for sort in ("photographed", "drawn")}
        found[name] = {sort: len(ids) for sort, ids in everybody.items()}
        seen[name] = set().union(*everybody.values())
    found["on_both_sides"] = sorted(seen["train"] & seen["val"])
    return found


def _show(report: dict[str, Any]) -> None:
    table = Table(title="split", title_justify="left")
    keys = ("pairs", "positives", "negatives", "instances", "groups")
    for name in ("side", *keys):
        table.add_column(name, justify="left" if name == "side" else "right")
    for side in ("train", "val"):
        table.add_row(side, *(f"{report[side][key]:,}" for key in keys))
    console = Console()
    console.print(table)
    if "distinct_individuals" in report:
        found = report["distinct_individuals"]
        for side in ("train", "val"):
            numbers = ", ".join(f"{number} {sort}" for sort, number in found[side].items())
            console.print(f"distinct individuals of the concept, {side}: {numbers}")
    for warning in report["warnings"]:
        console.print(f"[bold red]warning:[/] {warning}")
