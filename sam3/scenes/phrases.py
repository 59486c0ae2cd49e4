"""What may truly be asked of a composed scene: phrases that match, and phrases that almost do.

A phrase is a name ("hen", "bird"), perhaps with a colour or a size the generator knows ("red apple", "small
duck"), in singular or plural. Negatives are drawn near the truth: another member of the same kind, the right
name in the wrong colour.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import inflect
import numpy as np

from sam3.scenes.compose import SceneObject
from sam3.scenes.pack import Cutout

SMALL, LARGE = 0.02, 0.12  # share of the picture's area below and above which an object is small, large
_PLURALS = inflect.engine()


@dataclass(frozen=True)
class Phrase:
    """A phrase and the objects of the scene it names (indexes); none for a negative."""

    text: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Wording:
    """How often a phrase is dressed up. All are probabilities."""

    specific: float = 0.6  # the most specific name instead of a wider one
    colour: float = 0.15
    size: float = 0.06
    plural: float = 0.4
    same_kind: float = 0.45  # a negative from the kind of an object in the scene
    wrong_colour: float = 0.1


class Vocabulary:
    """All names of a set of cut-outs, and which of them are of one kind."""

    def __init__(self, cutouts: Sequence[Cutout]) -> None:
        self.names = sorted({name for cutout in cutouts for name in cutout.synonyms})
        self.index = {name: at for at, name in enumerate(self.names)}
        self.concepts = sorted({cutout.concept for cutout in cutouts})
        self.colours = sorted({cutout.colour for cutout in cutouts if cutout.colour})
        by_kind: dict[str, set[str]] = {}
        for cutout in cutouts:
            by_kind.setdefault(cutout.kind, set()).add(cutout.concept)
        self.by_kind = {kind: sorted(concepts) for kind, concepts in by_kind.items()}


def plural(name: str) -> str:
    """The plural of a noun phrase; the phrase itself where it has none."""
    return str(_PLURALS.plural_noun(name) or name)  # type: ignore[arg-type]


def matching(
    objects: Sequence[SceneObject], name: str, colour: str | None = None, size: str | None = None
) -> tuple[int, ...]:
    """The objects a phrase names. `size` is "small" or "large"."""
    return tuple(
        at
        for at, thing in enumerate(objects)
        if name in thing.cutout.synonyms
        and (colour is None or thing.cutout.colour == colour)
        and (size is None or size_word(thing) == size)
    )


def size_word(thing: SceneObject) -> str | None:
    """ "small", "large" or neither, by the share of the picture that the object covers."""
    share = float(np.count_nonzero(thing.mask)) / thing.mask.size
    return "small" if share < SMALL else "large" if share > LARGE else None


def positive_phrase(objects: Sequence[SceneObject], rng: np.random.Generator, wording: Wording) -> Phrase:
    """A true phrase about a random object of the scene, with all the objects it names."""
    thing = objects[int(rng.integers(len(objects)))]
    names = thing.cutout.synonyms
    name = names[0] if len(names) == 1 or rng.random() < wording.specific else names[rng.integers(1, len(names))]
    colour = thing.cutout.colour if thing.cutout.colour and rng.random() < wording.colour else None
    size = size_word(thing) if colour is None and rng.random() < wording.size else None
    return Phrase(_wording(name, colour, size, rng, wording), matching(objects, name, colour, size))


def negative_phrase(
    objects: Sequence[SceneObject],
    shown: Collection[str],
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    wording: Wording,
) -> Phrase:
    """A phrase that names nothing in the scene, often near something that is there.

    Args:
        shown: what the background may show besides; never called absent.
    """
    for _ in range(20):
        draw, colour = rng.random(), None
        if objects and draw < wording.same_kind:
            kind = objects[int(rng.integers(len(objects)))].cutout.kind
            alike = vocabulary.by_kind.get(kind, vocabulary.concepts)
            name = alike[int(rng.integers(len(alike)))]
        elif objects and vocabulary.colours and draw < wording.same_kind + wording.wrong_colour:
            cutout = objects[int(rng.integers(len(objects)))].cutout
            name = cutout.synonyms[0]
            if not all(thing.cutout.colour for thing in objects if name in thing.cutout.synonyms):
                continue  # an object whose colour nobody knows might be of any
            colour = vocabulary.colours[rng.integers(len(vocabulary.colours))]
        else:
            pool = vocabulary.concepts if rng.random() < 0.8 else vocabulary.names
            name = pool[rng.integers(len(pool))]
        if name not in shown and not matching(objects, name, colour):
            return Phrase(_wording(name, colour, None, rng, wording), ())
    return Phrase("nothing of the kind", ())


def _wording(name: str, colour: str | None, size: str | None, rng: np.random.Generator, wording: Wording) -> str:
    noun = plural(name) if rng.random() < wording.plural else name
    return " ".join(word for word in (size, colour, noun) if word)
