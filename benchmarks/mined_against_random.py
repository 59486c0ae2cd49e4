"""Is a mined batch worth more than a random one? Same start, same training, three seeds, both curves.

    python benchmarks/mined_against_random.py                      # three seeds; 45 minutes on one core
    python benchmarks/mined_against_random.py --share 0.5 --work outputs/balanced --out benchmarks/results/mined_against_random_balanced.json
    python benchmarks/mined_against_random.py --mined 4 --random 4 8 --seeds 1 --base 24 --frozen 20 --steps 3   # to see it run

The inbox is dealt in two: pictures to measure on, half of them with the concept, which nobody is handed and nothing
trains on, and the pool that batches come from; `--share` says how often the concept is in it: one in ten, as people mine
for what is rare. Where it is in every second picture, a random batch is as good, and the second command shows it. Both
parts show the same animals, as in the literature's trials of active learning: labels cannot be seen to help on animals
that no labelled picture shows.

For every seed, `mine_batch` hands out batches by value (`--mined`) and at random (`--random`) from the same pictures that
were looked at, by the model trained on the base, as a champion would; the annotator who knows the generator's truth corrects
its LabelMe files; the corrected pairs join the same base of labelled pairs, the same recipe trains on them from the same
starter weights for the same number of steps, whatever the number of pairs (more epochs of fewer pictures: otherwise any
picture at all helps, because it lengthens the training), and cgF1 is measured.
Every point is kept (--work): interrupted, the same command goes on, and a training goes on from its last step. The claim
"at least the same gain with half the labels" is checked at every size whose half was mined.

The data are those of the checkout; the committed figures are of params.yaml with
`barnyard: {inbox: 2000, inbox_photographs: 1, inbox_visitors: true}` and `split: {val_share: 0.4}`, then `dvc repro split`.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from math import ceil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sam3.eval.provenance import hardware_line
from sam3.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/mined_against_random.json"
ARMS = ("mined", "random")
VALIDATIONS = 5  # of one training, on what it trains on: the same choice of weights for every point
Point = dict[str, Any]


def base_pairs(work: Path, seed: int, count: int) -> Path:
    """A small labelled start: `count` pairs of the training split, the same for both arms of a seed."""
    import numpy as np

    target = work / f"seed-{seed}/base.json"
    if not target.is_file():
        data = read_json(ROOT / "data/splits/train.json")
        shown = {row["image_id"] for row in data["annotations"]}
        rng = np.random.default_rng(seed)
        sides = [
            [row["id"] for row in data["images"] if (row["id"] in shown) is positive] for positive in (True, False)
        ]
        chosen = {int(one) for side in sides for one in rng.permutation(side)[: count // 2]}
        write_json(target, subset(data, chosen))
    return target


def subset(data: dict[str, Any], ids: set[int]) -> dict[str, Any]:
    """An SA-Co file with these pairs only."""
    rows = {"images": "id", "annotations": "image_id"}
    return {**data, **{table: [row for row in data[table] if row[key] in ids] for table, key in rows.items()}}


def dealt(work: Path, frozen: int, share: float) -> dict[str, Path]:
    """The inbox dealt into two folders of links: pictures to measure on, and the pool that batches are taken from.

    Half of the `frozen` ones show the concept. Of the pool, a part of `share` does: the rest of those that do stay out.
    """
    truth = read_json(ROOT / "data/inbox_truth.json")["pictures"]
    sides: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted(truth, key=lambda name: sha256(name.encode()).digest()):
        sides[bool(truth[name]["objects"])].append(name)
    half, rest = frozen // 2, len(sides[False]) - frozen // 2
    rare = min(round(rest * share / (1 - share)), len(sides[True]) - half)
    chosen = {
        "frozen": [name for side in sides.values() for name in side[:half]],
        "pool": sides[True][half : half + rare] + sides[False][half:],
    }
    for folder, names in chosen.items():
        (work / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (work / folder / name).exists():
                (work / folder / name).hardlink_to(ROOT / "data/inbox" / name)
    return {folder: work / folder for folder in chosen}


def annotated_batch(inbox: Path, place: Path, looked_at: Path, **knobs: Any) -> Path:
    """A batch of the inbox, handed out and corrected; its pairs as SA-Co beside its pictures."""
    from sam3_agent.annotation.accept import accept
    from sam3_agent.barnyard.annotator import correct_files, read_truth
    from sam3_agent.mining.mine import mine_batch
    from sam3_agent.mining.settings import MineSettings
    from sam3_agent.promotion.hard_cases import pairs_of

    out = place / "annotated" / "batch"
    if (out / "pairs.json").is_file():
        return out / "pairs.json"
    settings = MineSettings(
        inbox=str(inbox), concept=read_json(ROOT / "data/inbox_truth.json")["concept"], out=place / "to_annotate",
        work=looked_at, name="batch", looks=0, fill=True, **knobs,
    )  # fmt: skip
    batch = mine_batch(settings)
    correct_files(batch.folder, read_truth(ROOT / "data/inbox_truth.json"))
    accept(batch.folder / "images", batch.folder, place / "annotated", annotator="the generator")
    if pairs_of(out, ROOT / "params.yaml") is None:  # nothing to measure on, but negatives to train on
        write_json(out / "pairs.json", negatives(out / "images", settings.concept))
    return out / "pairs.json"


def negatives(images: Path, concept: str) -> dict[str, Any]:
    """Pictures that do not show the concept, as SA-Co pairs."""
    from PIL import Image

    rows = []
    for number, path in enumerate(sorted(images.iterdir()), start=1):
        with Image.open(path) as picture:
            turned = picture.getexif().get(0x0112, 1) >= 5
            width, height = picture.size[::-1] if turned else picture.size
        rows.append({"id": number, "file_name": path.name, "text_input": concept, "width": width, "height": height,
                     "queried_category": "1", "is_instance_exhaustive": 1, "is_pixel_exhaustive": 1})  # fmt: skip
    return {"images": rows, "annotations": [], "categories": [{"id": 1, "name": concept}]}


def joined(base: Path, extra: Path | None, place: Path) -> tuple[Path, Path]:
    """Base and batch as one training file, and the folder of its pictures (links)."""
    images, data = place / "images", read_json(base)
    images.mkdir(parents=True, exist_ok=True)
    link(ROOT / "data/raw/images", images / "base")
    rows = [{**row, "file_name": f"base/{row['file_name']}"} for row in data["images"]]
    marks = list(data["annotations"])
    if extra is not None:
        link(extra.parent / "images", images / "batch")
        more, first = read_json(extra), 1_000_000
        rows += [{**row, "id": row["id"] + first, "file_name": f"batch/{row['file_name']}"} for row in more["images"]]
        marks += [{**row, "id": row["id"] + first, "image_id": row["image_id"] + first} for row in more["annotations"]]
    write_json(place / "train.json", {**data, "images": rows, "annotations": marks})
    return place / "train.json", images


def link(source: Path, target: Path) -> None:
    """A link to a folder, made once."""
    if not target.is_symlink():
        target.symlink_to(source.resolve(), target_is_directory=True)


def trained(train: Path, images: Path, place: Path, seed: int, steps: int, checkpoint: str, config: str) -> Path:
    """The checkpoint after about `steps` steps, a whole number of epochs; a killed training goes on."""
    from sam3.train.config import compose

    out = place / "weights"
    if (out / "model.safetensors").is_file():
        return out
    batches = ceil(len(read_json(train)["images"]) / compose(ROOT / config).train.batch_size)
    epochs = max(1, round(steps / batches))
    settings = {
        "data.train": train, "data.val": train, "data.images": images, "model.checkpoint": checkpoint,
        "train.out": out, "train.work": place / "run", "train.max_epochs": epochs, "train.seed": seed,
        "trainer.validate_every": max(1, epochs // VALIDATIONS), "cache.root": place.parents[1] / "features",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "sam3/train/train.py"), "-c", str(ROOT / config), "--num-gpus", "1"]
    subprocess.run([*command, *[f"{key}={value}" for key, value in settings.items()]], cwd=ROOT, check=True)
    shutil.rmtree(place / "run", ignore_errors=True)
    return out


def measured(weights: Path | str, truth: Path, images: Path) -> dict[str, float]:
    """cgF1 and its parts on pairs that nothing here trains on."""
    from dataclasses import replace

    from sam3.eval.evaluate import evaluate_checkpoint
    from sam3.eval.settings import load_settings

    settings = replace(load_settings(ROOT / "configs/eval_chicken.yaml"), bootstrap=50, images=str(images))
    score = evaluate_checkpoint(settings, checkpoint=str(weights), truth_path=truth).measurement.score
    return {"cgF1": score.cgf1, "pmF1": score.pmf1, "IL_MCC": score.il_mcc}


def point(work: Path, seed: int, arm: str, budget: int, asked: argparse.Namespace) -> Point:
    """One point of a curve, measured now unless it was before."""
    place = work / f"seed-{seed}/{arm}-{budget}"
    kept = place / "point.json"
    if kept.is_file():
        return dict(read_json(kept))
    folders, extra = dealt(work, asked.frozen, asked.share), None
    if budget:
        champion = str(work / f"seed-{seed}/base-0/weights")
        extra = annotated_batch(
            folders["pool"], place, work / f"seed-{seed}/looked_at", checkpoint=champion, budget=budget, seed=seed,
            strategy="value" if arm == "mined" else "random",
        )  # fmt: skip
    train, images = joined(base_pairs(work, seed, asked.base), extra, place)
    weights = trained(train, images, place, seed, asked.steps, asked.checkpoint, asked.config)
    frozen = annotated_batch(
        folders["frozen"], work / "frozen-pairs", work / "frozen-looked-at", checkpoint="sam3-lite", budget=asked.frozen,
        strategy="random",
    )  # fmt: skip
    row = {"seed": seed, "arm": arm, "labels": budget, "with_concept": shown(extra)}
    row |= measured(weights, frozen, frozen.parent / "images")
    write_json(kept, row)
    print(row, flush=True)
    return row


def shown(pairs: Path | None) -> int:
    """Pairs with the concept in them."""
    return len({mark["image_id"] for mark in read_json(pairs)["annotations"]}) if pairs else 0


def drawn() -> dict[str, Any]:
    """What decides how hard the data are; from the files, not from params.yaml, which may have changed since."""
    yard = read_json(ROOT / "data/raw/barnyard.json")
    asked = ("pictures", "inbox", "inbox_photographs", "inbox_share", "inbox_visitors")
    pairs = len(read_json(ROOT / "data/splits/train.json")["images"])
    return {key: yard[key] for key in asked} | {"train_pairs": pairs}


def curves(points: list[Point]) -> dict[str, list[dict[str, float]]]:
    """Mean and spread over seeds, by arm and number of labels; 0 labels belong to both."""
    found: dict[str, list[dict[str, float]]] = {}
    for arm in ARMS:
        mine = [row for row in points if row["arm"] in (arm, "base")]
        found[arm] = []
        for labels in sorted({row["labels"] for row in mine}):
            values = [row["cgF1"] for row in mine if row["labels"] == labels]
            spread = stdev(values) if len(values) > 1 else 0.0
            found[arm].append({"labels": labels, "mean": fmean(values), "spread": spread, "seeds": len(values)})
    return found


def same_labels(points: list[Point]) -> list[dict[str, Any]]:
    """At every size that both arms have: by how much the mined batch beats the random one, over seeds."""
    by, out = {(row["arm"], row["labels"], row["seed"]): row["cgF1"] for row in points}, []
    seeds = sorted({row["seed"] for row in points})
    sizes = [{labels for name, labels, _ in by if name == arm} for arm in ARMS]
    for labels in sorted(sizes[0] & sizes[1]):
        gains = [by["mined", labels, seed] - by["random", labels, seed] for seed in seeds]
        spread = stdev(gains) if len(gains) > 1 else 0.0
        out.append({"labels": labels, "mined_minus_random": fmean(gains), "spread": spread, "holds": fmean(gains) > 0})
    return out


def half_the_labels(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """At every size whose half was mined: does the mined half gain as much as the random whole?"""
    means = {arm: {row["labels"]: row["mean"] for row in rows} for arm, rows in found.items()}
    start, out = means["mined"][0], []
    for labels, whole in means["random"].items():
        if labels and labels % 2 == 0 and labels // 2 in means["mined"]:
            half = means["mined"][labels // 2]
            out.append({"random_labels": labels, "random_gain": whole - start, "mined_labels": labels // 2,
                        "mined_gain": half - start, "holds": half >= whole})  # fmt: skip
    return out


def plot(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Both curves with their spread."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for arm, colour in zip(ARMS, ("#0369a1", "#a3a3a3"), strict=True):
        rows = found[arm]
        axes.errorbar([r["labels"] for r in rows], [r["mean"] for r in rows], yerr=[r["spread"] for r in rows],
                      label=arm, color=colour, marker="o", capsize=3)  # fmt: skip
    axes.set(
        xlabel="labelled pictures added",
        ylabel="cgF1 on frozen pictures",
        ylim=(0, None),
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure every point, write the figures and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--mined", type=int, nargs="+", default=[20, 40], help="sizes of the mined batches")
    add("--random", type=int, nargs="+", default=[40, 80], help="sizes of the random batches")
    add("--seeds", type=int, default=3)
    add("--base", type=int, default=120, help="labelled pairs that both start from")
    add("--frozen", type=int, default=300, help="pictures of the inbox to measure on, half of them with the concept")
    add("--share", type=float, default=0.1, help="of the other pictures of the inbox that show the concept")
    add("--steps", type=int, default=200, help="of every training")
    add("--checkpoint", default="sam3-lite")
    add("--config", default="configs/sam3_chicken_heads.yaml")
    add("--work", type=Path, default=ROOT / "outputs/mined_against_random")
    add("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    work = asked.work.absolute()
    points = []
    for seed in range(1, asked.seeds + 1):
        points.append(point(work, seed, "base", 0, asked))
        points += [point(work, seed, arm, budget, asked) for arm in ARMS for budget in getattr(asked, arm)]
    found = curves(points)
    plot(found, asked.out.with_suffix(".png"))
    about = {"hardware": hardware_line(), "python": platform.python_version(), "torch": version("torch")}
    settings = {key: str(value) for key, value in vars(asked).items() if key not in ("work", "out")}
    settings |= {key: str(value) for key, value in drawn().items()}
    write_json(asked.out, {"settings": settings, **about, "curves": found, "same_labels": same_labels(points),
                           "half_the_labels": half_the_labels(found), "points": points})  # fmt: skip
    for row in (*same_labels(points), *half_the_labels(found)):
        print(row)


if __name__ == "__main__":
    main()
