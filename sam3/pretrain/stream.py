"""Composed scenes with phrases, without end: what sam3-lite is pretrained on.

Scene number n of a seed is always the same, whoever makes it, so a resumed run goes on with the scenes it has
not seen. Workers only compose (numpy, OpenCV); the trunk runs in the training process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import IterableDataset, get_worker_info

from sam3.detector import IGNORED_BOX, BoxPrompts
from sam3.engines.prompts import VISUAL
from sam3.scenes.compose import ComposeOptions, Scene, compose
from sam3.scenes.pack import Background, Cutout
from sam3.scenes.photometry import Photometry
from sam3.scenes.phrases import Phrase, Vocabulary, Wording, negative_phrase, positive_phrase
from sam3.tokenizer import Tokenizer
from sam3.train.targets import PairBatch

MASK_STRIDE = 4
# styles of drawing differ more in colour and light than photographs of one thing
BOLD = Photometry(object_light=0.35, object_hue=10.0, object_saturation=0.4)


@dataclass(frozen=True)
class StreamConfig:
    """What a stream makes.

    Attributes:
        size: side of the square scene, pixels. scenes, phrases: per batch and per scene.
        photo_share: share of objects drawn from photographs. empty_share: scenes with nothing on them.
        exemplar_every: of so many batches, one shows its concepts by boxes instead of words.
        same_concept, same_kind: chance that a further object repeats an object's concept, kind.
    """

    size: int = 256
    scenes: int = 12
    phrases: int = 6
    seed: int = 0
    max_objects: int = 6
    photo_share: float = 0.45
    empty_share: float = 0.04
    same_concept: float = 0.35
    same_kind: float = 0.25
    positive_share: float = 0.5
    exemplar_every: int = 8
    wording: Wording = field(default_factory=Wording)
    options: ComposeOptions = field(default_factory=lambda: ComposeOptions(photometry=BOLD))


def hold_back(backgrounds: Sequence[Background]) -> tuple[list[Background], list[Background]]:
    """Those pretraining sees, and every fifth photograph, all crops of it, kept to measure on."""
    kept = set(sorted({background.source for background in backgrounds})[4::5])
    return (
        [background for background in backgrounds if background.source not in kept],
        [background for background in backgrounds if background.source in kept],
    )


class SceneMaker:
    """Scene n of a seed: which cut-outs on which background."""

    def __init__(self, cutouts: Sequence[Cutout], backgrounds: Sequence[Background], config: StreamConfig) -> None:
        self.backgrounds, self.config = backgrounds, config
        self.photos = [cutout for cutout in cutouts if cutout.is_photo]
        self.drawn = [cutout for cutout in cutouts if not cutout.is_photo]
        self.by_concept: dict[str, list[Cutout]] = {}
        self.by_kind: dict[str, list[Cutout]] = {}
        for cutout in cutouts:
            self.by_concept.setdefault(cutout.concept, []).append(cutout)
            self.by_kind.setdefault(cutout.kind, []).append(cutout)

    def __call__(self, number: int) -> tuple[Scene, tuple[str, ...], np.random.Generator]:
        """The scene, what its background shows, and the generator to draw its phrases from."""
        rng = np.random.default_rng([self.config.seed, number])
        chosen = self._choose(rng)
        background = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        side = self.config.size
        return compose(rng, chosen, background.rgb, (side, side), self.config.options), background.shows, rng

    def _choose(self, rng: np.random.Generator) -> list[Cutout]:
        if rng.random() < self.config.empty_share:
            return []
        chosen: list[Cutout] = []
        for _ in range(1 + int(rng.integers(self.config.max_objects))):
            pool = self._pool(chosen, rng)
            chosen.append(pool[rng.integers(len(pool))])
        return chosen

    def _pool(self, chosen: list[Cutout], rng: np.random.Generator) -> list[Cutout]:
        draw = rng.random()
        if chosen and draw < self.config.same_concept:
            return self.by_concept[chosen[rng.integers(len(chosen))].concept]
        if chosen and draw < self.config.same_concept + self.config.same_kind:
            return self.by_kind[chosen[rng.integers(len(chosen))].kind]
        use_photo = bool(self.photos) and (not self.drawn or rng.random() < self.config.photo_share)
        return self.photos if use_photo else self.drawn


@dataclass(frozen=True)
class Exemplar:
    """One box that shows a concept: (4,) float32 cxcywh in [0, 1], a little off, as people draw."""

    box: np.ndarray

    @classmethod
    def of(cls, boxes: np.ndarray, rng: np.random.Generator) -> Exemplar:
        """A shaken copy of one of (n, 4) xyxy boxes."""
        x0, y0, x1, y1 = boxes[rng.integers(len(boxes))]
        size = np.array([x1 - x0, y1 - y0])
        centre = np.array([x0 + x1, y0 + y1]) / 2 + rng.uniform(-0.05, 0.05, 2) * size
        return cls(np.clip(np.concatenate([centre, size * rng.uniform(0.9, 1.1, 2)]), 0, 1).astype(np.float32))

    @staticmethod
    def prompts(shown_by: Sequence[Exemplar | None]) -> BoxPrompts:
        """One box a pair, padding where there is none."""
        boxes = np.stack([shown.box if shown else np.full(4, 0.5, np.float32) for shown in shown_by])
        labels = torch.tensor([[1 if shown else IGNORED_BOX] for shown in shown_by])
        return BoxPrompts(torch.from_numpy(boxes)[:, None], labels)


@dataclass
class SceneBatch(PairBatch):
    """Pairs, and what every grid cell of their scenes shows.

    Attributes:
        cover: float32 (N, S/16, S/16), share of each cell that object n covers; scene: int64 (N,), its scene.
        names: float32 (N, V), 1 for every name of the vocabulary that fits the object.
    """

    cover: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    scene: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    names: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


def cells(scenes: Sequence[Scene], small: Sequence[np.ndarray], vocabulary: Vocabulary) -> dict[str, Any]:
    """`cover`, `scene` and `names` of `SceneBatch` for some scenes and their `shrink_masks`."""
    rows, names = [], []
    for row, scene in enumerate(scenes):
        for thing in scene.objects:
            fits = torch.zeros(len(vocabulary.names))
            fits[[vocabulary.index[name] for name in thing.cutout.synonyms if name in vocabulary.index]] = 1
            rows.append(row)
            names.append(fits)
    return {
        "cover": F.avg_pool2d(torch.from_numpy(np.concatenate(small))[:, None], 16 // MASK_STRIDE)[:, 0],
        "scene": torch.tensor(rows, dtype=torch.int64),
        "names": torch.stack(names) if names else torch.zeros(0, len(vocabulary.names)),
    }


class SceneStream(IterableDataset):
    """Endless `SceneBatch`es; `start` batches are passed over when a run is resumed."""

    def __init__(self, maker: SceneMaker, vocabulary: Vocabulary, tokenizer: Tokenizer, start: int = 0) -> None:
        self.maker, self.vocabulary, self.tokenizer, self.start = maker, vocabulary, tokenizer, start

    def __iter__(self) -> Iterator[SceneBatch]:
        cv2.setNumThreads(0)
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self.start + first
        while True:
            yield self.batch(number)
            number += step

    def batch(self, number: int) -> SceneBatch:
        """Batch `number`: the same scenes and phrases each time it is asked for."""
        config = self.maker.config
        exemplars = number % config.exemplar_every == config.exemplar_every - 1
        scenes, shrunk, rows, asked, boxes, masks = [], [], [], [], [], []
        shown_by: list[Exemplar | None] = []
        for row in range(config.scenes):
            scene, shown, rng = self.maker(number * config.scenes + row)
            scenes.append(scene)
            shrunk.append(small := shrink_masks(scene))
            for phrase in self.phrases(scene, shown, rng):
                rows.append(row)
                index = list(phrase.objects)
                found = np.array([scene.objects[at].box for at in index], np.float32).reshape(-1, 4) / config.size
                boxes.append(torch.from_numpy(found))
                masks.append(torch.from_numpy(small[index]))
                shown_by.append(Exemplar.of(found, rng) if exemplars and index else None)
                asked.append(VISUAL if shown_by[-1] and rng.random() < 0.7 else phrase.text)
        tokens = self.tokenizer.encode(asked)
        return SceneBatch(
            normalise(np.stack([scene.image for scene in scenes])),
            torch.tensor(rows),
            torch.from_numpy(tokens.ids),
            torch.from_numpy(tokens.mask),
            boxes,
            masks,
            Exemplar.prompts(shown_by) if exemplars else None,
            **cells(scenes, shrunk, self.vocabulary),
        )

    def phrases(self, scene: Scene, shown: Sequence[str], rng: np.random.Generator) -> list[Phrase]:
        """The phrases asked of a scene: half of them true, where anything is there."""
        config, out = self.maker.config, []
        for _ in range(config.phrases):
            if scene.objects and rng.random() < config.positive_share:
                out.append(positive_phrase(scene.objects, rng, config.wording))
            else:
                out.append(negative_phrase(scene.objects, shown, self.vocabulary, rng, config.wording))
        return out


def normalise(images: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], as SAM 3 expects (mean and deviation 0.5)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def shrink_masks(scene: Scene) -> np.ndarray:
    """Masks of all objects at the mask head's resolution, by area: float32 (n, S/4, S/4) in [0, 1]."""
    side = scene.image.shape[0] // MASK_STRIDE
    small = [
        cv2.resize(thing.mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) for thing in scene.objects
    ]
    return np.stack(small) if small else np.zeros((0, side, side), np.float32)
