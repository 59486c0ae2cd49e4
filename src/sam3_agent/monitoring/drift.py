"""`sam3-agent drift`: do today's pictures still look like those the model was trained on? Alarms, when they do not.

    sam3-agent drift --current data/inbox            # a folder; or sqlite:///sessions.db: what people asked about

    presence    distributions of presence               Kolmogorov and Smirnov's two-sample test
    counts      distributions of detections a picture    chi-square test on 0, 1, 2, 3, 4, 5 and more
    distance    to the five nearest training pictures, against that of training pictures to each other    as presence

An alarm needs both: a p-value below `alpha` (after Holm's correction for three tests) and a difference of the two
distribution functions above `min_effect`, so that neither chance nor sheer numbers raise one. Tests are scipy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sam3.errors import BadInput
from sam3.files import read_json, write_json
from sam3.types import FloatArray
from sam3_agent.loop_settings import FILE, Monitoring, load_loop
from sam3_agent.monitoring.sample import Load, Sample, kept_sample, look_at, spread

NEIGHBOURS = 5
MOST = 5  # counts from here on are one class


@dataclass(frozen=True)
class DriftTest:
    """One figure: the largest difference of the two distribution functions, and Holm's p-value. `alarm`: both bad."""

    figure: str
    training: float
    current: float
    effect: float
    chance: float
    alarm: bool


@dataclass(frozen=True)
class Drift:
    """All three figures; `enough` says whether the pictures suffice to decide anything."""

    pictures: int
    training_pictures: int
    enough: bool
    tests: tuple[DriftTest, ...]

    @property
    def alarms(self) -> list[str]:
        """A sentence an alarm."""
        return [
            f"{one.figure}: {one.training:.2f} in training, {one.current:.2f} now (distributions differ by "
            f"{one.effect:.2f}, p {one.chance:.2g})"
            for one in self.tests
            if one.alarm
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "alarms": self.alarms}


def measure_drift(training: Sample, current: Sample, settings: Monitoring) -> Drift:
    """Hold the pictures of today against training.

    Raises:
        BadInput: too few training pictures to compare with.
    """
    if len(training) <= NEIGHBOURS + 1:
        raise BadInput(f"{len(training)} training pictures are too few to compare with; give more.", field="training")
    enough = min(len(training), len(current)) >= settings.min_pictures
    if not len(current):
        return Drift(0, len(training), False, ())
    near_training, near_current = distances(training.vectors, current.vectors)
    raw = {
        "presence": (training.presence, current.presence, _ks(training.presence, current.presence)),
        "detections": (training.counts, current.counts, _chi(training.counts, current.counts)),
        "distance to training": (near_training, near_current, _ks(near_training, near_current)),
    }
    chances = holm([chance for *_, (_, chance) in raw.values()])
    tests = tuple(
        DriftTest(
            name, float(np.mean(old)), float(np.mean(new)), effect, chance,
            alarm=enough and chance < settings.alpha and effect > settings.min_effect,
        )
        for (name, (old, new, (effect, _))), chance in zip(raw.items(), chances, strict=True)
    )  # fmt: skip
    return Drift(len(current), len(training), enough, tests)


def distances(training: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean distance to the nearest training pictures: of training pictures (without themselves) and of current ones."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(training)
    own = index.kneighbors(training)[0][:, 1:].mean(1)
    new = index.kneighbors(current, n_neighbors=NEIGHBOURS)[0].mean(1)
    return np.asarray(own, np.float32), np.asarray(new, np.float32)


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): p-values of several tests at once."""
    order, out, worst = np.argsort(chances), [0.0] * len(chances), 0.0
    for rank, at in enumerate(order):
        worst = max(worst, min(1.0, (len(chances) - rank) * chances[at]))
        out[at] = worst
    return out


def _ks(old: FloatArray, new: FloatArray) -> tuple[float, float]:
    from scipy.stats import ks_2samp

    found = ks_2samp(old, new)
    return float(found.statistic), float(found.pvalue)


def _chi(old: FloatArray, new: FloatArray) -> tuple[float, float]:
    from scipy.stats import chi2_contingency

    table = np.array([np.bincount(np.minimum(one, MOST).astype(int), minlength=MOST + 1) for one in (old, new)])
    effect = float(np.abs(np.diff(np.cumsum(table, 1) / table.sum(1, keepdims=True), axis=0)).max())
    table = table[:, table.sum(0) > 0]
    return effect, float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


def drift(
    current: Annotated[
        str, typer.Option(help="Folder of pictures, or the URL of the service's database.")
    ] = "data/inbox",
    training: Annotated[Path, typer.Option(help="Training pairs.")] = Path("data/splits/train.json"),
    images: Annotated[Path, typer.Option(help="Folder of the training pictures.")] = Path("data/raw/images"),
    checkpoint: Annotated[str, typer.Option(help="Weights, or graphs, that look at both.")] = "sam3-lite",
    engine: Annotated[str, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = "auto",
    concept: Annotated[str | None, typer.Option(help="What to look for; from params.yaml.")] = None,
    rules: Annotated[Path, typer.Option(help="What raises an alarm: the section monitoring.")] = FILE,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("reports/drift.json"),
) -> None:
    """Hold today's pictures against training; alarms are printed and stand in the report."""
    found = drift_of(current, training, images, checkpoint, engine, concept, load_loop(rules).monitoring)
    write_json(out, found.to_json())
    show(found)


def drift_of(
    current: str, training: Path, images: Path, checkpoint: str, engine: str, concept: str | None, settings: Monitoring
) -> Drift:
    """`drift` without writing.

    Raises:
        BadInput: a folder or file that is not there. BadCheckpoint: no such weights.
    """
    from sam3.engines import load_engine
    from sam3.eval.provenance import checkpoint_line
    from sam3.images import read_image
    from sam3_agent.params import load_params

    phrase = concept or load_params().concept
    names = spread(list({str(row["file_name"]) for row in read_json(training)["images"]}), settings.sample)
    old: list[tuple[str, Load]] = [(name, lambda name=name: read_image(images / name)) for name in names]  # type: ignore[misc]
    new = current_pictures(current, settings.sample)
    model, weights = load_engine(engine, checkpoint=checkpoint), checkpoint_line(checkpoint)["sha256"]
    before = kept_sample(old, model, phrase, f"{weights} {training.absolute()}")
    return measure_drift(before, look_at(new, model, phrase), settings)


def current_pictures(source: str, most: int) -> list[tuple[str, Load]]:
    """Pictures of today: of a folder, or the newest that people asked about.

    Raises:
        BadInput: no such folder. Unavailable: the database cannot be read.
    """
    from sam3.images import is_picture, read_image

    if "://" in source:
        from sam3_agent.monitoring.asked import newest_pictures

        return newest_pictures(source, most)
    folder = Path(source)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder. Give one with pictures: --current", field="current")
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if is_picture(path)]
    return [(name, lambda name=name: read_image(folder / name)) for name in spread(names, most)]  # type: ignore[misc]


def show(found: Drift) -> None:
    """The figures and the alarms."""
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table()
    for heading in ("figure", "training", "now", "difference", "p"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for one in found.tests:
        row = (f"{one.training:.3f}", f"{one.current:.3f}", f"{one.effect:.3f}", f"{one.chance:.2g}")
        table.add_row(one.figure, *row, style="bold red" if one.alarm else "")
    console.print(table)
    if not found.enough:
        console.print(f"{found.pictures} pictures decide nothing yet.", highlight=False)
    for alarm in found.alarms:
        console.print(f"[bold red]alarm[/]: {alarm}", highlight=False)
    if found.enough and not found.alarms:
        console.print(f"no alarm over {found.pictures} pictures", highlight=False)
