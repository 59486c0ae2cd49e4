"""Who lives on which farm: the pack dealt out so that no cut-out and no background is used twice.

The farm is the barnyard's source of pictures, and file names start with it, so the split keeps each farm on one side.
Three farms show photographs alone, of the concept and of what is taken for it, where the pack has them; the others
show drawings too, those of the concept never seen in pretraining. The inbox is a farm of its own: the pack has three
photographed chickens, so it gets drawings (held-out ones, and emoji no farm uses) unless one is kept for it, which is what
makes its pictures worth a label (`barnyard.inbox_photographs`). With visitors (`barnyard.inbox_visitors`) the animals of
all farms walk through the inbox, too, on its own backgrounds: then validation asks about what the inbox shows, as a
sample of the same stream does, and labels of the inbox can be seen to help there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam3.errors import BadInput
from sam3.scenes.pack import Background, Cutout, Pack

RAW_FARMS = 6
INBOX_DRAWINGS = 10  # beyond the held-out ones, enough for variety


@dataclass(slots=True)
class Farm:
    """One source of pictures and everything that may stand in them.

    Attributes:
        individuals: cut-outs of the concept.
        near: same kind, another concept: the hard negatives. Where the concept is the kind ("car"), those of
            the same broad word ("vehicle").
        others: the same broad word ("animal"), photographed where possible.
        clutter: objects of other kinds.
    """

    name: str
    individuals: list[Cutout] = field(default_factory=list)
    near: list[Cutout] = field(default_factory=list)
    others: list[Cutout] = field(default_factory=list)
    clutter: list[Cutout] = field(default_factory=list)
    backgrounds: list[Background] = field(default_factory=list)

    def cutouts(self) -> list[Cutout]:
        """Everything that may stand in a picture of this farm."""
        return [*self.individuals, *self.near, *self.others, *self.clutter]


def plan_farms(pack: Pack, concept: str, seed: int, inbox_photographs: int = 0, visitors: bool = False) -> list[Farm]:
    """Deal the pack to the farms; the last one is the inbox.

    Args:
        concept: a phrase of the pack; its individuals are the cut-outs it is true of.
        seed: shuffles who goes where.
        inbox_photographs: photographed individuals that the inbox keeps for itself, where two are left for the others.
        visitors: the inbox shows the concept's individuals and near misses of all farms, too.

    Raises:
        BadInput: the pack has fewer than three individuals of the concept.
    """
    mine = list(pack.select(phrase=concept))
    if len(mine) < 3:
        raise BadInput(
            f"concept {concept!r}: the pack has {len(mine)} cut-outs of it, three are the least "
            "(two farms and the inbox). Choose another concept, or point data.raw at pictures of your own.",
            field="concept",
        )
    rng = np.random.default_rng([seed, len(mine)])
    farms = [Farm(f"farm{n + 1:02d}") for n in range(min(RAW_FARMS, len(mine) - 1) + 1)]
    _deal_individuals(rng, mine, farms, inbox_photographs)
    kinds = {c.kind for c in mine}
    broadest = {c.synonyms[-1] for c in mine}
    rest = [c for c in pack.cutouts if concept not in c.synonyms]
    akin = [c for c in rest if c.kind in kinds or c.synonyms[-1] in broadest]
    near = [c for c in akin if c.kind in kinds]
    if len(near) < len(farms):
        near = akin
    close, related = set(near), set(akin)
    others = [c for c in akin if c not in close]
    clutter = [c for c in rest if c.is_photo and c not in related]
    _deal(rng, [c for c in near if c.is_photo], [farm.near for farm in farms])
    _deal(rng, [c for c in near if not c.is_photo], [farm.near for farm in _open_to_drawings(farms)])
    _deal(rng, [c for c in others if c.is_photo] or others, [farm.others for farm in farms])
    _deal(rng, clutter, [farm.clutter for farm in farms])
    _deal_backgrounds(rng, (b for b in pack.backgrounds if concept not in b.shows), farms)
    if visitors:
        for farm in farms[:-1]:
            farms[-1].individuals += farm.individuals
            farms[-1].near += farm.near
    return farms


def _deal_individuals(rng: np.random.Generator, mine: Sequence[Cutout], farms: list[Farm], kept: int) -> None:
    """Photographs first, one farm after the other; then drawings, to farms that have none, whoever has fewest.

    A farm with a photographed individual shows no drawn one: there it is photographs on photographs.
    """
    photos = [c for c in mine if c.is_photo]
    held_out = [c for c in mine if not c.is_photo and c.holdout]
    seen = [c for c in mine if not c.is_photo and not c.holdout]
    order = rng.permutation(len(photos))
    dealt = len(photos) - min(kept, max(len(photos) - 2, 0))
    farms[-1].individuals += [photos[at] for at in order[dealt:]]
    for at in order[:dealt]:
        min(farms, key=lambda farm: len(farm.individuals)).individuals.append(photos[at])
    drawn_on = [farm for farm in farms if not farm.individuals] or farms
    for at in rng.permutation(len(held_out)):
        min(drawn_on, key=lambda farm: len(farm.individuals)).individuals.append(held_out[at])
    spare = [seen[at] for at in rng.permutation(len(seen))]
    for farm in farms:
        if not farm.individuals:
            farm.individuals.append(spare.pop())
    if not any(c.is_photo for c in farms[-1].individuals):
        farms[-1].individuals += spare[:INBOX_DRAWINGS]


def _open_to_drawings(farms: Sequence[Farm]) -> Sequence[Farm]:
    """Farms whose hard negatives may be drawn: not where photographs stand, as far as those have photographed ones."""
    drawn = [farm for farm in farms if not any(c.is_photo for c in farm.individuals)]
    return drawn if drawn and all(farm.near for farm in farms) else farms


def _deal(rng: np.random.Generator, cutouts: Sequence[Cutout], hands: Sequence[list[Cutout]]) -> None:
    """One after the other, in an order of their own."""
    for turn, at in enumerate(rng.permutation(len(cutouts))):
        hands[turn % len(hands)].append(cutouts[at])


def _deal_backgrounds(rng: np.random.Generator, all_of_them: Iterable[Background], farms: list[Farm]) -> None:
    """By photograph: its crops look alike and stay together."""
    sources: dict[str, list[Background]] = {}
    for background in all_of_them:
        sources.setdefault(background.source, []).append(background)
    names = sorted(sources)
    for turn, at in enumerate(rng.permutation(len(names))):
        farms[turn % len(farms)].backgrounds += sources[names[at]]
