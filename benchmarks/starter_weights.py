"""What the starter weights can do, on scenes they never saw: python benchmarks/starter_weights.py [--scenes 200]

Each figure is over pairs composed with a fixed seed from what pretraining held out: one whole drawing style, on
photographs that it never saw as backgrounds; or over those photographs with nothing on them. Then the time of one
picture and one phrase with ONNX Runtime. Writes benchmarks/results/starter_weights.json.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchmetrics.functional.classification import binary_auroc
from tqdm import tqdm

from sam3.engines import load_engine
from sam3.engines.onnx_engine import OnnxEngine
from sam3.eval.cgf1 import CgF1
from sam3.eval.matching import PairScore, match, pair_overlap
from sam3.eval.predictions import Prediction
from sam3.eval.saco import Annotation
from sam3.export.export_onnx import export
from sam3.files import write_json
from sam3.pretrain.stream import SceneMaker, StreamConfig, hold_back
from sam3.scenes.compose import Scene, SceneObject
from sam3.scenes.pack import Cutout, Pack
from sam3.scenes.phrases import Vocabulary, Wording, negative_phrase, plural, positive_phrase
from sam3.types import Detections, Prompt

ASKED = 40  # concepts asked of every empty photograph


@dataclass
class Held:
    """Scenes of the held-out style, restricted to concepts that pretraining knows in other styles."""

    maker: SceneMaker
    vocabulary: Vocabulary

    @classmethod
    def load(cls, pack: Pack) -> Held:
        """From the pack's own marks."""
        seen = {cutout.concept for cutout in pack.select(holdout=[""])}
        cutouts = [cutout for cutout in pack.select(holdout=["style"]) if cutout.concept in seen]
        config = StreamConfig(seed=99, max_objects=5, empty_share=0.0)
        return cls(SceneMaker(cutouts, hold_back(pack.backgrounds)[1], config), Vocabulary(cutouts))


def rle(masks: np.ndarray) -> list[Any]:
    """bool (N, H, W) -> COCO run-length encodings."""
    return list(coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))) if len(masks) else []


def score(number: int, found: Detections, things: list[SceneObject]) -> PairScore:
    """One pair, scored by the project's metric."""
    rows = [
        Prediction(at, 1, float(value), None, code)
        for at, (value, code) in enumerate(zip(found.scores, rle(found.masks), strict=True))
    ]
    truth = rle(np.stack([thing.mask for thing in things])) if things else []
    return match(
        pair_overlap(number, rows, [Annotation(at, 1, False, None, code) for at, code in enumerate(truth)], "segm")
    )


def open_vocabulary(engine: Any, held: Held, scenes: int) -> dict[str, float]:
    """cgF1 and its parts on plain names, as many positives as negatives; IoU of matched instances.

    Near half of the negatives are of the kind of an object that is there ("goose" where a duck is). How well presence
    tells positives from those, and from negatives of other kinds, is the area under the ROC curve.
    """
    plain = Wording(specific=1.0, colour=0, size=0, plural=0.3)
    pairs: list[PairScore] = []
    presence: dict[str, list[float]] = {"shown": [], "same kind": [], "other kind": []}
    for number in tqdm(range(scenes), desc="open vocabulary"):
        scene, shown, rng = held.maker(number)
        if not scene.objects:
            continue
        phrases = [positive_phrase(scene.objects, rng, plain) for _ in range(2)]
        phrases += [negative_phrase(scene.objects, shown, held.vocabulary, rng, plain) for _ in range(2)]
        found = ask(engine, scene, [Prompt(phrase.text) for phrase in phrases])
        pairs += [
            score(len(pairs) + at, answer, [scene.objects[index] for index in phrase.objects])
            for at, (phrase, answer) in enumerate(zip(phrases, found, strict=True))
        ]
        for phrase, answer in zip(phrases, found, strict=True):
            presence["shown" if phrase.objects else nearness(phrase.text, scene, held)].append(answer.presence)
    metric = CgF1("segm", tuple(pairs))
    ious = [hit.iou for pair in pairs for hit in pair.matches if hit.iou >= 0.5]
    return {
        "pairs": len(pairs),
        "cgf1": metric.cgf1,
        "pmf1": metric.pmf1,
        "il_mcc": metric.il_mcc,
        "matched_iou": float(np.mean(ious)) if ious else 0.0,
        "presence_auc_same_kind": auc(presence["shown"], presence["same kind"]),
        "presence_auc_other_kind": auc(presence["shown"], presence["other kind"]),
    }


def nearness(text: str, scene: Scene, held: Held) -> str:
    """Whether a name belongs to the kind of an object in the scene: "same kind" or "other kind"."""
    near = {name for thing in scene.objects for name in held.vocabulary.by_kind[thing.cutout.kind]}
    return "same kind" if text in near | {plural(name) for name in near} else "other kind"


def auc(positive: list[float], negative: list[float]) -> float:
    """Area under the ROC curve."""
    truth = [1] * len(positive) + [0] * len(negative)
    return float(binary_auroc(torch.tensor(positive + negative), torch.tensor(truth)))


def attributes(engine: Any, held: Held, scenes: int) -> dict[str, float]:
    """Share of kind and attribute phrases ("bird", "red apple") whose presence is on the right side of 0.5."""
    wording = Wording(specific=0.0, colour=0.5, size=0.0, plural=0.3, same_kind=0.3, wrong_colour=0.4)
    right = total = 0
    for number in tqdm(range(scenes, 2 * scenes), desc="attributes"):
        scene, shown, rng = held.maker(number)
        if not scene.objects:
            continue
        phrases = [positive_phrase(scene.objects, rng, wording)]
        phrases += [negative_phrase(scene.objects, shown, held.vocabulary, rng, wording)]
        for phrase, found in zip(phrases, ask(engine, scene, [Prompt(p.text) for p in phrases]), strict=True):
            right += (found.presence > 0.5) == bool(phrase.objects)
            total += 1
    return {"pairs": total, "right_presence": right / max(total, 1)}


def absent(engine: Any, pack: Pack, held: Held) -> dict[str, float]:
    """Share of (photograph, absent concept) pairs with presence above 0.5."""
    rng = np.random.default_rng(5)
    asked = [held.vocabulary.concepts[at] for at in rng.permutation(len(held.vocabulary.concepts))[:ASKED]]
    high = total = 0
    for background in tqdm(hold_back(pack.backgrounds)[1], desc="absent"):
        phrases = [name for name in asked if name not in background.shows]
        [embedding] = engine.encode([background.rgb])
        found = engine.ground([embedding] * len(phrases), [Prompt(name) for name in phrases])
        high += sum(answer.presence > 0.5 for answer in found)
        total += len(found)
    return {"pairs": total, "false_presence": high / max(total, 1)}


def exemplars(engine: Any, pack: Pack, scenes: int) -> dict[str, float]:
    """One box on an instance: share of the instances of its kind that come back at IoU 0.5 or more."""
    cutouts = pack.select(holdout=["style"])
    hits = total = 0
    for number in tqdm(range(scenes), desc="exemplars"):
        rng = np.random.default_rng([7, number])
        same: Cutout = cutouts[rng.integers(len(cutouts))]
        other: Cutout = cutouts[rng.integers(len(cutouts))]
        maker = SceneMaker([same], hold_back(pack.backgrounds)[1], StreamConfig())
        maker._choose = lambda _, pair=(same, other): [pair[0], pair[0], pair[0], pair[1]]  # type: ignore[method-assign]
        scene, _, _ = maker(number)
        mine = [thing for thing in scene.objects if thing.cutout is same]
        if len(mine) < 2:
            continue
        [found] = ask(engine, scene, [Prompt(boxes=mine[0].box[None])])
        pair = score(number, found, mine[1:])  # the one in the box is no find
        hits, total = hits + int(pair.tp[0]), total + len(mine) - 1
    return {"instances": total, "recall": hits / max(total, 1)}


def latency(checkpoint: str, held: Held, threads: int = 2, times: int = 40) -> dict[str, float]:
    """Median milliseconds with ONNX Runtime, from a decoded picture and a phrase never asked before to masks."""
    whole, cached = [], []
    with TemporaryDirectory() as folder:
        export(checkpoint, Path(folder) / "graphs")
        engine = OnnxEngine(Path(folder) / "graphs", threads=threads)
        scenes = [held.maker(number)[0].image for number in range(times)]
        for image, first, second in zip(scenes, held.vocabulary.names, reversed(held.vocabulary.names), strict=False):
            started = time.perf_counter()
            embeddings = engine.encode([image])
            engine.ground(embeddings, [Prompt(first)])
            encoded = time.perf_counter()
            engine.ground(embeddings, [Prompt(second)])
            whole.append(encoded - started)
            cached.append(time.perf_counter() - encoded)
    median = lambda seconds: 1000 * float(np.median(seconds[5:]))  # noqa: E731  the first ones warm up
    return {"threads": threads, "picture_and_phrase_ms": median(whole), "cached_picture_ms": median(cached)}


def ask(engine: Any, scene: Scene, prompts: list[Prompt]) -> list[Detections]:
    """All prompts of one scene; the picture is encoded once."""
    [embedding] = engine.encode([scene.image])
    return list(engine.ground([embedding] * len(prompts), prompts))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="sam3-lite")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/starter_weights.json"))
    args = parser.parse_args()
    pack = Pack.load()
    held = Held.load(pack)
    engine: Any = load_engine("torch", checkpoint=args.checkpoint, device="cpu")
    results = {
        "checkpoint": args.checkpoint,
        "sha256": engine.checkpoint.sha256,
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "open_vocabulary": open_vocabulary(engine, held, args.scenes),
        "attributes": attributes(engine, held, args.scenes),
        "absent": absent(engine, pack, held),
        "exemplars": exemplars(engine, pack, args.scenes),
        "latency": latency(args.checkpoint, held),
    }
    write_json(args.out, results)
    for name in ("open_vocabulary", "attributes", "absent", "exemplars", "latency"):
        print(name, {key: round(value, 3) for key, value in results[name].items()})


if __name__ == "__main__":
    main()
