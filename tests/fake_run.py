"""A small finished run, made in two seconds without a model: real pictures, drawn-up predictions, real figures.

Scenes come from the pack's photographs, so ground truth is exact. A "baseline" and a "candidate" are made by
spoiling it (missing, spilling, splitting, doubling, seeing things), and then measured by the project's own
metric: whatever the report shows is consistent, only the models never existed.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from sam3.eval.measurement import measure, read_report
from sam3.eval.negatives import NegativeLimits, judge_negatives
from sam3.eval.predictions import parse_predictions
from sam3.eval.saco import read_ground_truth
from sam3.eval.settings import EvalSettings
from sam3.files import write_json
from sam3.scenes.compose import ComposeOptions, compose
from sam3.scenes.pack import Pack
from sam3.scenes.photometry import Photometry
from sam3_agent.finished_run import Places
from sam3_agent.measure.compare import compare_reports
from sam3_agent.params import load_params

CONCEPT = "chicken"
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"
HARDWARE = "2 x Toy CPU @ 1.00GHz, 8 GB RAM, no GPU"
LOOK = ComposeOptions(scale=(0.3, 0.6), rotation=8, overlap=0.2, overhang=0.1, shadow=0.45, photometry=Photometry())


@dataclass(frozen=True)
class Skill:
    """How good a made-up model is: chances of each kind of mistake, and its usual presence."""

    miss: float
    spill: float
    split: float
    double: float
    alarm: float
    presence: tuple[float, float]  # beta-like means on positives and negatives


WEAK = Skill(miss=0.3, spill=0.2, split=0.15, double=0.1, alarm=0.35, presence=(0.7, 0.35))
GOOD = Skill(miss=0.12, spill=0.1, split=0.1, double=0.12, alarm=0.08, presence=(0.94, 0.04))


def write_finished_run(root: Path, *, pairs: int = 24, size: tuple[int, int] = (240, 180), seed: int = 3,
                       candidate: Skill = GOOD) -> Places:  # fmt: skip
    """Write everything a run leaves behind under `root`; half of the pairs are negatives."""
    places = Places(root / "reports", root / "data/splits", root / "data/raw/images", root / "models/finetuned")
    rng = np.random.default_rng(seed)
    truth = _write_truth(places, rng, pairs, size)
    settings = EvalSettings(str(places.images), None, 0.5, 200, 7, "source", 8)
    measured = {}
    for name, file, skill in (("baseline", "sam3-lite", WEAK), ("evaluate", str(places.model), candidate)):
        predictions = _predict(truth, rng, skill)
        write_json(places.reports / f"{name}_predictions.json", predictions, indent=None)
        parsed = parse_predictions(predictions, truth.pairs, "segm", Path("predictions"))
        measured[name] = measure(truth, parsed, settings)
        about = {
            "checkpoint": {"name": file, "sha256": hashlib.sha256(repr(skill).encode()).hexdigest()},
            "engine": "torch",
            "data": {"file": "data/splits/val.json", "sha256": "da7a" * 16, "skipped": {}},
            "score_threshold": 0.5,
            "hardware": HARDWARE,
            "versions": {"python": "3.11"},
            "timings": {"total_s": 3.2, "images": pairs, "images_per_s": 7.5},
        }
        write_json(places.reports / f"{name}.json", about | measured[name].to_json())
    _write_decision(places, measured["evaluate"])
    _write_training(places.model, rng)
    _write_data_reports(places.reports, pairs)
    return places


def _write_truth(places: Places, rng: np.random.Generator, pairs: int, size: tuple[int, int]) -> Any:
    pack = Pack.load()
    mine = pack.select(phrase=CONCEPT, photos=True)
    others = [c for c in pack.select(kind="bird", photos=True) if CONCEPT not in c.synonyms]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(pairs):
        positive = number % 2 == 0
        cast = [others[int(rng.integers(len(others)))] for _ in range(1 + number % 2)]
        if positive:
            cast += [mine[int(rng.integers(len(mine)))] for _ in range(int(rng.integers(1, 4)))]
        ground = pack.backgrounds[int(rng.integers(len(pack.backgrounds)))].rgb
        scene = compose(rng, cast, ground, size, LOOK)
        file = f"{CONCEPT if positive else 'not_' + CONCEPT}/farm{number // 4:02d}_{number:03d}.jpg"
        path = places.images / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(path, quality=90)
        row = {"id": number, "file_name": file, "text_input": CONCEPT, "width": size[0], "height": size[1]}
        images.append(row | {"is_instance_exhaustive": 1, "source": f"farm{number // 4:02d}"})
        for thing in scene.objects:
            if CONCEPT in thing.cutout.synonyms:
                x0, y0, x1, y1 = (float(v) for v in thing.box)
                box = [x0 / size[0], y0 / size[1], (x1 - x0) / size[0], (y1 - y0) / size[1]]
                annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
                annotations.append(annotation | {"area": 1, "bbox": box, "segmentation": _rle(thing.mask)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": CONCEPT}]}
    write_json(places.splits / "val.json", content, indent=None)
    return read_ground_truth(places.splits / "val.json")


def _rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _predict(truth: Any, rng: np.random.Generator, skill: Skill) -> dict[str, Any]:
    rows, presence = [], {}
    for image_id, pair in truth.pairs.items():
        instances = truth.instances(image_id)
        mean = skill.presence[0 if instances else 1]
        p = float(np.clip(mean + rng.normal(0, 0.25 * mean * (1.2 - mean)), 0.005, 0.995))
        masks = [m for a in instances for m in _spoilt(coco_mask.decode(a.rle), rng, skill)]
        if not instances and rng.random() < skill.alarm:
            masks, p = [_blob(pair.height, pair.width, rng)], max(p, 0.7)
        presence[str(image_id)] = round(p, 4)
        for mask in masks:
            score = float(np.clip(rng.normal(0.8 if instances else 0.65, 0.1), 0.51, 0.98))
            rows.append({"image_id": image_id, "category_id": 1, "score": score, "segmentation": _rle(mask)})
            ys, xs = np.nonzero(mask)
            box = [xs.min() / pair.width, ys.min() / pair.height, np.ptp(xs) / pair.width, np.ptp(ys) / pair.height]
            rows[-1]["bbox"] = [float(v) for v in box]
    return {"meta": {}, "presence": presence, "predictions": rows}


def _spoilt(mask: np.ndarray, rng: np.random.Generator, skill: Skill) -> Iterator[np.ndarray]:
    """The masks a model of this skill returns for one object."""
    chance = rng.random()
    kernel = np.ones((3, 3), np.uint8)
    if chance < skill.miss:
        return
    chance -= skill.miss
    if chance < skill.spill:
        yield cv2.dilate(mask, np.ones((31, 31), np.uint8))
        return
    chance -= skill.spill
    if chance < skill.split:
        middle = int(np.nonzero(mask)[1].mean())
        left, right = mask.copy(), mask.copy()
        left[:, middle - 8 :], right[:, : middle + 8] = 0, 0
        yield from (part for part in (left, right) if part.any())
        return
    yield cv2.dilate(mask, kernel) if rng.random() < 0.5 else mask
    if chance - skill.split < skill.double:
        yield cv2.erode(mask, np.ones((9, 9), np.uint8)) if mask.sum() > 2000 else mask


def _blob(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    centre = (int(rng.integers(width // 4, width * 3 // 4)), int(rng.integers(height // 3, height * 3 // 4)))
    return cv2.ellipse(mask, centre, (width // 8, height // 6), float(rng.integers(90)), 0, 360, 1, -1)


def _write_decision(places: Places, candidate: Any) -> None:
    limits = NegativeLimits(0.9, 0.1, 0.5)
    verdict = judge_negatives(candidate.score.pairs, candidate.presence, limits)
    old, new = read_report(places.reports / "baseline.json"), read_report(places.reports / "evaluate.json")
    write_json(places.reports / "negatives.json", verdict.to_json() | {"checkpoint": new.checkpoint, "per_pair": []})
    decision = compare_reports(old, new, verdict, load_params(PARAMS))
    about = {"baseline": old.checkpoint, "candidate": new.checkpoint, "data_sha256": new.data_sha256}
    write_json(places.reports / "compare.json", decision.to_json() | about)
    same = {"passed": True, "reasons": [], "checkpoint_sha256": new.checkpoint["sha256"]}
    write_json(places.reports / "verify.json", same)


def _write_training(model: Path, rng: np.random.Generator, steps: int = 240) -> None:
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(b"toy weights")
    (model / "config.json").write_text("{}\n")
    config = {
        "concept": CONCEPT,
        "optimizer": {"learning_rate": 3e-4, "clip": 0.1},
        "loss": {"focal_loss_weight": 5.0},
        "train": {"seed": 7, "max_epochs": 8},
    }
    record = {
        "config": config,
        "base_sha256": f"{8:064x}",
        "data_sha256": "5a" * 32,
        "base": "sam3-lite",
        "concept": CONCEPT,
        "steps": steps,
        "batch_size": 8,
        "chosen": f"cgf1-step={steps - 30}.ckpt",
        "validation": {"step": steps - 30, "cgf1": 0.71, "loss": 9.1},
        "warnings": ["step 60: presence loss is flat at 0.41 for 60 steps. Check the negatives."],
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11", "torch": "2.15"},
    }
    (model / "training.json").write_text(json.dumps(record))
    starts = {"class": 2.2, "presence": 0.8, "box": 0.6, "giou": 1.1, "mask": 0.09, "dice": 0.8, "semantic": 0.1}
    starts |= {"presence_positive": 0.9, "presence_negative": 0.7, "grad_norm": 9.0, "loss": 60.0}
    names = [*(f"train/{n}" for n in starts), "lr-AdamW/pg1", "val/loss", "val/cgf1", "val/pmf1", "val/il_mcc"]
    with (model / "metrics.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["epoch", "step", *names])
        table.writeheader()
        for step in range(steps):
            decay = 0.12 + 0.88 * np.exp(-step / 60)
            row = {f"train/{n}": f"{v * decay * rng.lognormal(0, 0.25):.5f}" for n, v in starts.items()}
            table.writerow({"epoch": step // 30, "step": step, **row})
            rate = 3e-4 * 0.5 * (1 + np.cos(np.pi * step / steps))
            table.writerow({"epoch": step // 30, "step": step, "lr-AdamW/pg1": f"{rate:.3e}"})
            if step % 30 == 29:
                cgf1 = 0.72 * (1 - np.exp(-step / 70))
                held = {"val/loss": 60 * decay * 1.1, "val/cgf1": cgf1, "val/pmf1": cgf1 + 0.1, "val/il_mcc": 0.9}
                table.writerow({"epoch": step // 30, "step": step, **{k: f"{v:.5f}" for k, v in held.items()}})


def _write_data_reports(reports: Path, pairs: int) -> None:
    half = pairs // 2
    side = {
        "pairs": pairs,
        "positives": half,
        "negatives": half,
        "positive_share": 0.5,
        "instances": pairs,
        "groups": 6,
    }
    both = {"train": {"photographed": 12, "drawn": 6}, "val": {"photographed": 4, "drawn": 2}, "on_both_sides": []}
    split = {"asked_share": 0.2, "share": 0.2, "train": side | {"pairs": 4 * pairs, "positives": 4 * half,
             "negatives": 4 * half, "instances": 4 * pairs, "groups": 24}, "val": side, "negatives": {"pairs": half},
             "groups": 30, "largest_group": 30, "groups_on_both_sides": 0, "warnings": [],
             "distinct_individuals": both}  # fmt: skip
    write_json(reports / "split.json", split)
    etl = {"concept": CONCEPT, "pictures": 5 * pairs + 6, "pairs": 5 * pairs, "positives": 5 * half, "negatives": 5 * half,
           "instances": 5 * pairs, "not_exhaustive": 0, "negatives_because": {"folder": half, "empty-label": half},
           "label_files": {"yolo": 60, "labelme": 30}, "outlines": {"yolo box": 30, "yolo polygon": 40, "labelme polygon": 50},
           "rules": {}, "excluded": {"ambiguous-class": 6}, "excluded_pictures": {}, "ambiguous_images": [],
           "other_classes": {"duck": 31, "turkey": 12}, "warnings": []}  # fmt: skip
    write_json(reports / "etl.json", etl)
    with (reports / "etl_issues.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "line", "rule", "action", "detail"])
        for number in range(9):
            rule = ("box-outside-image", "self-crossing", "ambiguous-class")[number % 3 if number < 6 else 2]
            action = "dropped" if rule == "ambiguous-class" else "repaired"
            table.writerow([f"labels/farm{number:02d}.txt", 1, rule, action, "made up"])
