"""Drawn scenes and an engine that knows them, for tests that judge the agent by what comes back.

A scene is a list of things: id, names, describing words, box. The engine recognises a picture by its pixels and
finds every thing whose words contain all content words of the phrase, one of them a name. It knows no places, sizes,
negations or numbers, as no engine does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam3.types import Detections, Prompt
from sam3_agent.conversation import Agent, Reply
from sam3_agent.understanding.spelling import singular

FILLER = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "with",
        "by",
        "for",
        "from",
        "to",
        "and",
        "that",
        "which",
        "who",
        "is",
        "are",
        "as",
        "any",
        "some",
        "all",
        "each",
        "every",
        "has",
        "have",
    ]
)
SPELLING = {"gray": "grey"}
WEAR = "wearing wear dressed on"


@dataclass(frozen=True)
class Thing:
    """One drawn thing."""

    id: str
    names: str
    words: str
    box: tuple[int, int, int, int]


def thing(id: str, names: str, words: str, *box: int) -> Thing:
    return Thing(id, names, words, box)  # type: ignore[arg-type]


PERSON = "person people human adult"
DOG, CAT, CAR = "dog animal pet canine puppy", "cat animal pet feline", "car vehicle automobile"
STAND, SIT, LIE, RUN = "standing stand", "sitting sit seated down", "lying lie down", "running run moving"

SCENES: dict[str, list[Thing]] = {
    "park": [
        thing("woman", f"woman lady {PERSON}", f"{WEAR} glasses red dress {STAND}", 15, 60, 53, 180),
        thing("man", f"man guy {PERSON}", f"{WEAR} glasses blue jacket {STAND}", 75, 55, 113, 180),
        thing("hatman", f"man guy {PERSON}", f"{WEAR} green shirt black hat cap {STAND}", 135, 58, 173, 180),
        thing("girl", "girl child kid person people", f"{WEAR} yellow dress {STAND}", 195, 90, 225, 180),
        thing("brown", DOG, f"brown {SIT} big large", 20, 215, 90, 277),
        thing("black", DOG, f"black {STAND}", 115, 225, 177, 271),
        thing("white", DOG, f"white {RUN} small little", 205, 238, 245, 266),
        thing("greycat", CAT, f"grey {SIT}", 270, 225, 314, 271),
        thing("blackcat", CAT, f"black {LIE}", 335, 240, 387, 268),
        thing("tree", "tree plant", "green tall", 320, 20, 380, 190),
    ],
    "street": [
        thing("red1", CAR, "red parked parking", 12, 190, 82, 230),
        thing("blue", CAR, "blue moving driving", 96, 190, 162, 230),
        thing("red2", CAR, "red moving driving", 178, 188, 250, 230),
        thing("whitecar", CAR, "white parked", 264, 192, 324, 230),
        thing("truck", "truck lorry vehicle", "grey moving big large", 20, 90, 130, 160),
        thing("bus", "bus vehicle", "yellow moving", 150, 80, 280, 160),
        thing("greenbike", "bicycle bike", "green parked", 340, 200, 382, 234),
        thing("blackbike", "bicycle bike", "black moving", 330, 120, 374, 154),
        thing("light1", "traffic light|signal", "green lit", 60, 10, 74, 54),
        thing("light2", "traffic light|signal", "red lit", 330, 10, 344, 54),
    ],
    "room": [
        thing("sofa", "sofa couch furniture", "grey big large", 15, 150, 145, 220),
        thing("topcat", CAT, f"orange {LIE}", 50, 122, 100, 156),
        thing("table", "table furniture", "wooden brown", 185, 170, 275, 184),
        thing("lowcat", CAT, f"black {SIT}", 208, 200, 252, 244),
        thing("chair1", "chair seat furniture", "wooden brown", 155, 235, 181, 290),
        thing("chair2", "chair seat furniture", "wooden brown", 290, 150, 316, 210),
        thing("chair3", "chair seat furniture", "plastic white", 355, 150, 381, 210),
        thing("lamp", "lamp light", f"yellow lit {STAND}", 325, 130, 341, 220),
        thing("clock", "clock", "round white", 200, 30, 240, 70),
        thing("painting", "painting artwork", "framed", 60, 30, 130, 80),
    ],
    "fruit": [
        thing("ra1", "apple fruit", "red", 20, 60, 64, 104),
        thing("ga1", "apple fruit", "green", 90, 60, 134, 104),
        thing("ra2", "apple fruit", "red", 160, 60, 204, 104),
        thing("ga2", "apple fruit", "green", 230, 60, 274, 104),
        thing("banana", "banana fruit", "yellow", 40, 150, 130, 184),
        thing("orange", "orange fruit", "orange round", 170, 145, 216, 191),
        thing("knife", "knife cutlery", "metal sharp", 320, 50, 336, 140),
        thing("bottle", "bottle", "green glass", 350, 180, 376, 270),
    ],
    "tea": [
        thing("table", "table furniture", "wooden big", 30, 170, 290, 186),
        thing("cup1", "cup mug", "white", 50, 140, 80, 173),
        thing("cup2", "cup mug", "blue", 110, 140, 140, 173),
        thing("pot", "teapot", "brown", 170, 130, 220, 174),
        thing("cup3", "cup mug", "white broken", 330, 260, 360, 290),
        thing("p1", "plate dish", "white", 30, 250, 74, 270),
        thing("p2", "plate dish", "white", 90, 250, 134, 270),
        thing("p3", "plate dish", "blue", 150, 250, 194, 270),
        thing("p4", "plate dish", "blue", 210, 250, 254, 270),
    ],
    "farm": [
        thing("barn", "barn building", "red wooden big", 20, 40, 150, 140),
        thing("s1", "sheep animal livestock", "white grazing eating grass", 20, 190, 80, 230),
        thing("s2", "sheep animal livestock", f"white {STAND}", 110, 195, 170, 235),
        thing("s3", "sheep animal livestock", f"black {STAND}", 200, 190, 260, 230),
        thing("dog", DOG, f"black {STAND}", 300, 200, 354, 240),
        thing("t1", "tree plant", "green tall", 200, 30, 250, 140),
        thing("t2", "tree plant", "green tall", 300, 30, 350, 140),
    ],
    "pets": [
        thing("d1", DOG, f"brown {SIT}", 40, 160, 110, 220),
        thing("d2", DOG, f"white {STAND}", 150, 165, 220, 220),
        thing("c1", CAT, f"grey {SIT}", 280, 180, 330, 226),
    ],
    "pets2": [
        thing("ca", CAT, f"black {LIE}", 40, 180, 100, 216),
        thing("cb", CAT, f"orange {SIT}", 160, 170, 210, 220),
        thing("da", DOG, f"black {RUN}", 270, 165, 350, 215),
    ],
    "boats": [
        thing("b1", "boat vessel", "white", 20, 160, 90, 200),
        thing("b2", "boat vessel", "red", 110, 165, 180, 205),
        thing("b3", "boat vessel", "white", 200, 160, 270, 200),
        thing("b4", "boat vessel", "blue", 300, 165, 370, 205),
        thing("gull", "bird gull animal", "white flying", 60, 40, 90, 60),
    ],
    "boats2": [
        thing("ba", "boat vessel", "white", 60, 170, 140, 214),
        thing("g1", "bird gull animal", "white flying", 40, 40, 70, 60),
        thing("g2", "bird gull animal", "white flying", 160, 60, 190, 80),
        thing("g3", "bird gull animal", "white flying", 300, 40, 330, 60),
        thing("pier", DOG, f"brown {SIT}", 280, 200, 340, 250),
    ],
    "towers": [
        thing("a", "building tower", "grey glass tall", 10, 60, 70, 290),
        thing("b", "building tower", "brown brick", 85, 180, 175, 290),
        thing("c", "building tower", "blue glass tall", 190, 30, 230, 290),
        thing("d", "building tower", "white", 245, 200, 325, 290),
        thing("e", "building tower", "grey tall", 340, 100, 385, 290),
    ],
    "balloons": [
        thing("huge", "balloon", "red big large", 20, 40, 190, 230),
        thing("big", "balloon", "blue big large", 220, 40, 360, 190),
        thing("small1", "balloon", "yellow small little", 230, 220, 270, 266),
        thing("small2", "balloon", "green small little", 310, 225, 350, 271),
        thing("kite", "kite", "red", 20, 250, 60, 290),
    ],
    "hats": [
        thing("hatwoman", f"woman lady {PERSON}", f"{WEAR} red hat {STAND}", 20, 60, 64, 210),
        thing("plainman", f"man {PERSON}", f"{WEAR} white shirt {STAND}", 100, 60, 144, 210),
        thing("hatman", f"man {PERSON}", f"{WEAR} black hat {STAND} holding umbrella", 180, 60, 224, 210),
        thing("plainwoman", f"woman {PERSON}", f"{WEAR} green dress {STAND}", 260, 60, 304, 210),
        thing("hat1", "hat", "red", 28, 44, 56, 62),
        thing("hat2", "hat", "black", 188, 44, 216, 62),
    ],
    "shelf": [
        thing("shelf", "shelf bookcase", "wooden brown", 40, 120, 260, 134),
        thing("k1", "book", "red", 60, 68, 84, 123),
        thing("k2", "book", "blue", 110, 70, 134, 123),
        thing("k3", "book", "green", 160, 66, 184, 123),
        thing("vase", "vase", "white", 215, 76, 239, 122),
        thing("k4", "book", f"red {LIE}", 60, 260, 120, 282),
        thing("k5", "book", f"black {LIE}", 250, 258, 310, 282),
        thing("cat", CAT, f"grey {SIT}", 320, 200, 370, 248),
    ],
    "desk": [
        thing("laptop", "laptop computer", "silver open", 160, 110, 250, 170),
        thing("cupl", "cup mug", "white", 70, 125, 104, 161),
        thing("cupr", "cup mug", "white", 310, 125, 344, 161),
        thing("booka", "book", "red closed", 20, 210, 80, 240),
        thing("bookb", "book", "blue closed", 110, 212, 170, 240),
        thing("phone", "phone smartphone", "black", 350, 220, 376, 266),
    ],
    "meadow": [
        thing("sky", "sky", "blue", 0, 0, 400, 150),
        thing("grass", "grass lawn", "green", 0, 180, 400, 300),
        thing("cow1", "cow animal", "brown grazing", 60, 150, 120, 190),
        thing("cow2", "cow animal", "black white grazing", 220, 152, 280, 192),
    ],
}


def words_of(text: str) -> list[str]:
    plain = "".join(c if c.isalnum() else " " for c in text.lower())
    return [w for w in (SPELLING.get(s, s) for s in map(singular, plain.split())) if w not in FILLER]


def describes(phrase: str, one: Thing) -> bool:
    words = words_of(phrase)
    if "|" in one.names:
        names = {one.names.replace("|", " ").split()[0] + " " + n for n in one.names.replace("|", " ").split()[1:]}
        named = any(name in " ".join(words) for name in names)
    else:
        named = any(word in one.names.split() for word in words)
    known = set(map(singular, (one.names.replace("|", " ") + " " + one.words).split()))
    return bool(words) and named and set(words) <= known


class StageEngine:
    """Finds the things of drawn pictures; counts how often it is asked to encode."""

    def __init__(self) -> None:
        self.scenes: dict[int, list[Thing]] = {}
        self.encoded: list[int] = []
        self.presence: float | None = None

    def draw(self, things: Sequence[Thing], height: int = 300, width: int = 400) -> np.ndarray:
        image = np.full((height, width, 3), 180, np.uint8)
        for one, mask in zip(things, masks_of(things, height, width), strict=True):
            image[mask] = [zlib.crc32(f"{one.id}{c}".encode()) % 200 + 20 for c in range(3)]
        digest = zlib.crc32(repr((things, len(self.scenes))).encode())
        image[0, 0] = [digest & 255, digest >> 8 & 255, digest >> 16 & 255]
        self.scenes[zlib.crc32(image.tobytes())] = list(things)
        return image

    def encode(self, images: Sequence[np.ndarray]) -> list[Any]:
        keys = [zlib.crc32(np.ascontiguousarray(image).tobytes()) for image in images]
        self.encoded += keys
        return [(key, image.shape[:2]) for key, image in zip(keys, images, strict=True)]

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        return [self._answer(e, p.text or "") for e, p in zip(embeddings, prompts, strict=True)]

    def _answer(self, embedding: Any, text: str) -> Detections:
        key, (height, width) = embedding
        things = self.scenes[key]
        masks = masks_of(things, height, width)
        found = [at for at, one in enumerate(things) if describes(text, one) and masks[at].any()]
        if not found:
            return Detections.empty(height, width, self.presence if self.presence is not None else 0.02)
        boxes = [np.argwhere(masks[at]) for at in found]
        xyxy = [[*b.min(0)[::-1], *(b.max(0)[::-1] + 1)] for b in boxes]
        presence = 0.97 if self.presence is None else self.presence
        return Detections(
            np.array(xyxy, np.float32),
            np.full(len(found), 0.9, np.float32),
            np.stack([masks[at] for at in found]),
            presence,
        )


def masks_of(things: Sequence[Thing], height: int = 300, width: int = 400) -> list[np.ndarray]:
    """Visible masks: later things hide earlier ones."""
    labels = np.zeros((height, width), int)
    for number, one in enumerate(things, start=1):
        x0, y0, x1, y1 = (max(v, 0) for v in one.box)
        labels[y0:y1, x0:x1] = number
    return [labels == number for number in range(1, len(things) + 1)]


class Stage:
    """A conversation about scenes: `ask` returns the reply and the ids found in each medium."""

    def __init__(self, *scenes: str) -> None:
        self.engine = StageEngine()
        self.session = Agent(engine=self.engine).session()
        self.things: list[list[Thing]] = []
        self.pending = [self.add(scene) for scene in scenes]

    def add(self, scene: str) -> np.ndarray:
        self.things.append(SCENES[scene])
        return self.engine.draw(SCENES[scene])

    def ask(self, query: str, *new: str) -> Reply:
        pictures, self.pending = self.pending + [self.add(scene) for scene in new], []
        return self.session.ask(query, media=pictures)

    def ids(self, reply: Reply) -> str:
        """Ids found, sorted, media separated by " / " and empty ones at the end left out."""
        found = [""] * len(self.things)
        for result in reply.results:
            masks = masks_of(self.things[result.media])
            names = []
            for mask in result.detections.masks:
                overlaps = [(mask & m).sum() / max((mask | m).sum(), 1) for m in masks]
                best = int(np.argmax(overlaps))
                names.append(self.things[result.media][best].id if overlaps[best] > 0.9 else "?")
            found[result.media] = " ".join(sorted(names))
        return " / ".join(found).rstrip(" /") if len(found) > 1 else found[0]
