"""Concept expressions -> the things they mean in one picture.

`needed` lists the phrases an expression will ask for, so that the executor can ground them all in one batch;
`Selector.choose` then works on the pool alone. Only fallbacks (a compound phrase that found nothing) look again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sam3_agent.execution.geometry import Frame, between, columns_meet, related
from sam3_agent.execution.orders import compare, extent, in_part, outstanding, ranked, within
from sam3_agent.execution.pool import Pool, Thing
from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.concepts import is_singular, positive_phrases, with_property
from sam3_agent.understanding.plan import (
    AnyOf,
    Attribute,
    Concept,
    Filtered,
    Phrase,
    Rank,
    Region,
    Relation,
    Size,
    Than,
    Without,
)

Look = Callable[[str], None]
_HAS = ("with ", "wearing ", "in a ", "carrying ", "holding ")


def needed(concept: Concept) -> list[str]:
    """The phrases to ground for an expression, without repetition."""
    if isinstance(concept, Phrase):
        return [concept.text]
    if isinstance(concept, AnyOf):
        return list(dict.fromkeys(text for part in concept.parts for text in needed(part)))
    if isinstance(concept, Without):
        return list(dict.fromkeys([*needed(concept.base), *needed(concept.minus)]))
    if isinstance(concept, Filtered):
        texts = needed(concept.base)
        by = concept.by
        if isinstance(by, Attribute):
            texts += [phrase.text for phrase in described_phrases(concept.base, by)]
        if isinstance(by, Relation) and by.name == "with":
            texts += [phrase.text for phrase in having_phrases(concept.base, by)]
        for inner in (getattr(by, "landmark", None), getattr(by, "second", None)):
            texts += needed(inner) if inner is not None else []
        return list(dict.fromkeys(texts))
    return []


def described_phrases(base: Concept, by: Attribute) -> list[Phrase]:
    """The compound phrases that show who has a property: "sitting dog" for dogs that are (not) sitting."""
    return [with_property(phrase, by.text, by.where) for phrase in positive_phrases(base)]


def having_phrases(base: Concept, by: Relation) -> list[Phrase]:
    """ "woman with umbrella"."""
    marks = positive_phrases(by.landmark)
    return [with_property(p, f"with {mark.text}", "after") for p in positive_phrases(base) for mark in marks]


class Selector:
    """Expressions -> things, in one picture.

    Args:
        pool: what is known of the picture.
        look: grounds one more phrase in it (only fallbacks use it).
    """

    def __init__(self, pool: Pool, look: Look) -> None:
        self.pool = pool
        self.look = look
        self.frame = Frame(pool.height, pool.width, pool.scale)
        self.labels: dict[int, str] = {}
        self.missing: list[str] = []

    def choose(self, concept: Concept) -> list[Thing]:
        """The things that an expression means, each once, in the order found."""
        if isinstance(concept, Phrase):
            return self._phrase(concept)
        if isinstance(concept, AnyOf):
            return _once([thing for part in concept.parts for thing in self.choose(part)])
        if isinstance(concept, Without):
            out = {thing.number for thing in self.choose(concept.minus)}
            return [thing for thing in self.choose(concept.base) if thing.number not in out]
        if isinstance(concept, Filtered):
            return self._filtered(self.choose(concept.base), concept)
        return []

    def _found(self, text: str) -> list[Thing]:
        if text not in self.pool.found:
            self.look(text)
        return [self.pool.things[number] for number in self.pool.found.get(text, ())]

    def _phrase(self, phrase: Phrase) -> list[Thing]:
        """What the engine found; else, for sizes and things worn, what geometry can say."""
        found = self._found(phrase.text)
        if not found:
            found = self._by_size(phrase) or self._by_belongings(phrase)
        for thing in found:
            self.labels.setdefault(thing.number, phrase.text)
        return found

    def _by_size(self, phrase: Phrase) -> list[Thing]:
        """ "the small dogs" of an engine that knows no small dog: the smaller group of the dogs."""
        size = next((word for word in phrase.attributes if word in lex.BIG | lex.SMALL), None)
        if size is None:
            return []
        rest = phrase.model_copy(update={"attributes": tuple(word for word in phrase.attributes if word != size)})
        group = self._found(rest.text)
        if len(group) == 1 and not phrase.plural:
            return []
        chosen = outstanding(group, small=size in lex.SMALL)
        return chosen if phrase.plural else chosen[:1]

    def _by_belongings(self, phrase: Phrase) -> list[Thing]:
        """ "person wearing hat" of an engine that finds no such person: persons on whom a hat is found."""
        if not phrase.details or not phrase.details[-1].startswith(_HAS):
            return []
        bare = phrase.model_copy(update={"details": phrase.details[:-1]})
        return self._with_belonging(self._found(bare.text), phrase.details[-1])

    def _with_belonging(self, owners: Sequence[Thing], detail: str) -> list[Thing]:
        """The owners in whose box at least half of such an object lies, or whose box it meets from above."""
        words = detail.split()[1:]
        if not owners or words[-1] not in lex.CLOTHES | {"umbrella", "bag"} or "number" in words:
            return []
        objects = self._found(" ".join(word for word in words if word not in ("a", "an", "the", "any")))
        owners_found = []
        for thing in objects:
            holders = [
                owner
                for owner in owners
                if columns_meet(owner, thing)
                and owner.y0 - thing.height <= thing.cy <= owner.y1
                and owner.x0 <= thing.cx <= owner.x1
            ]
            if holders:
                owners_found.append(min(holders, key=lambda owner: abs(owner.cx - thing.cx)))
        return _once(owners_found)

    # --- filters -----------------------------------------------------------------------------------------------------

    def _filtered(self, things: list[Thing], concept: Filtered) -> list[Thing]:
        by = concept.by
        if isinstance(by, Attribute):
            return self._attribute(things, concept.base, by)
        if isinstance(by, Relation):
            return self._related(things, concept.base, by)
        if isinstance(by, Region):
            return in_part(things, by, self.frame)
        if isinstance(by, Size):
            return [thing for thing in things if within(thing, by, self.frame)]
        if isinstance(by, Than):
            return self._than(things, by)
        return self._ranked(things, by)

    def _attribute(self, things: list[Thing], base: Concept, by: Attribute) -> list[Thing]:
        with_it = {thing.number for phrase in described_phrases(base, by) for thing in self._found(phrase.text)}
        if not with_it and by.text in lex.BIG | lex.SMALL:
            with_it = {thing.number for thing in outstanding(things, small=by.text in lex.SMALL)}
        if not with_it and by.text.startswith(_HAS):
            with_it = {thing.number for thing in self._with_belonging(things, by.text)}
        return [thing for thing in things if (thing.number in with_it) != by.negated]

    def _related(self, things: list[Thing], base: Concept, by: Relation) -> list[Thing]:
        if by.name == "between":
            chosen = self._between(things, by)
        elif by.name == "with":
            numbers = {thing.number for phrase in having_phrases(base, by) for thing in self._found(phrase.text)}
            chosen = [thing for thing in things if thing.number in numbers]
            chosen = chosen or related("with", things, self.choose(by.landmark), self.frame, of_all=False)
        else:
            landmarks = self._landmarks(by)
            if not landmarks and _is_scene(by.landmark) and by.name in ("inside", "on", "next to"):
                return things  # the whole picture is "the car park": nothing to tell apart
            chosen = related(
                by.name, things, landmarks, self.frame, of_all=not is_singular(by.landmark), one=is_singular(base)
            )
        kept = {thing.number for thing in chosen}
        return [thing for thing in things if (thing.number in kept) != by.negated]

    def _landmarks(self, by: Relation | Than | Rank) -> list[Thing]:
        if by.landmark is None:
            return []
        labels = dict(self.labels)
        found = self.choose(by.landmark)
        self.labels = labels  # landmarks are not returned, so they name nothing
        if not found:
            self.missing += [phrase.text for phrase in positive_phrases(by.landmark)]
        return found

    def _between(self, things: list[Thing], by: Relation) -> list[Thing]:
        first = self._landmarks(by)
        second = self.choose(by.second) if by.second is not None else first
        if by.second is None and len(first) == 1:
            return related("inside", things, first, self.frame, of_all=False)
        pairs = [(a, b) for a in first for b in second if a.number != b.number]
        return [t for t in things if any(between(t, a, b) for a, b in pairs if t.number not in (a.number, b.number))]

    def _than(self, things: list[Thing], by: Than) -> list[Thing]:
        marks = self._landmarks(by)
        if not marks:
            return []
        larger = by.comparison in (">", ">=")
        kept = []
        for thing in things:
            values = [extent(mark, by.measure) for mark in marks if mark.number != thing.number]
            if values:
                bound = by.factor * (max(values) if larger else min(values))
                if compare(extent(thing, by.measure), by.comparison, bound) != by.negated:
                    kept.append(thing)
        return kept

    def _ranked(self, things: list[Thing], by: Rank) -> list[Thing]:
        landmarks = self._landmarks(by)
        if by.landmark is not None and not landmarks:
            return []
        return ranked(things, by, landmarks, self.frame)


def _once(things: Sequence[Thing]) -> list[Thing]:
    return list({thing.number: thing for thing in things}.values())


def _is_scene(concept: Concept) -> bool:
    return any(phrase.noun.split()[-1] in lex.SCENES for phrase in positive_phrases(concept))
