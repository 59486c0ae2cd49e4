"""One fact about a thing: a place, a size, a comparison, what it wears, has or does.

Every rule takes the cursor, whether the words single one thing out (`pick`), and whether the fact is denied, and gives a
`Change` of the concept, or None with the cursor unmoved. Called by `modifiers.py`.
"""

from __future__ import annotations

from sam3_agent.understanding import chunks, nouns, places, verbs
from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.concepts import Change, described, joined, positive_phrases
from sam3_agent.understanding.plan import Concept, Filtered, Phrase, Relation, Than, Without
from sam3_agent.understanding.tokens import Cursor


def one_fact(cursor: Cursor, *, pick: bool, negated: bool = False, finite: bool = True) -> Change | None:
    """A place, relation, size, comparison or doing that holds (or not)."""
    for rule in (_where, _size, _than, _coloured, _with_or_without, _dressed, _part_of, _relation, _doing):
        start = cursor.at
        change = rule(cursor, pick, negated) if rule is not _doing else _doing(cursor, finite, negated)
        if change is not None:
            return change
        cursor.at = start
    return None


def _where(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    found = places.region(cursor)
    if found is None:
        return None
    where, strict = found
    by = where.model_copy(update={"pick": pick and not strict and not negated, "negated": negated})
    return lambda concept: Filtered(base=concept, by=by)


def _size(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    found = places.size(cursor)
    if found is None:
        return None
    by = found.model_copy(update={"negated": negated})
    return lambda concept: Filtered(base=concept, by=by)


def _than(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """ "bigger than the dog", "twice as big as the cat", "higher than the barn"."""
    at_least = cursor.take("at least") is not None
    factor = {"twice": 2.0, "half": 0.5}.get(cursor.word(), 1.0)
    if cursor.word() in ("no", "not") and cursor.word(1) in lex.COMPARATIVES and cursor.word(2) == "than":
        measure, more = lex.COMPARATIVES[cursor.word(1)]
        bound = "<=" if more else ">="
        cursor.at += 3
    elif cursor.word() in ("twice", "half", "as"):
        cursor.take("twice", "half")
        measures = {"big": "area", "large": "area", "tall": "height", "wide": "width", "long": "length"}
        if not cursor.take("as") or cursor.word() not in measures:
            return None
        measure, bound = measures[cursor.word()], "<=" if factor < 1 and not at_least else ">="
        cursor.at += 1
        if not cursor.take("as"):
            return None
    elif cursor.word() in lex.COMPARATIVES and cursor.word(1) == "than":
        measure, more = lex.COMPARATIVES[cursor.word()]
        bound = ">" if more else "<"
        cursor.at += 2
    else:
        return None
    other = nouns.item(cursor)
    if other is None:
        return None
    cursor.take("is", "are")
    by = Than(measure=measure, comparison=bound, landmark=other.concept, factor=factor, negated=negated)  # type: ignore[arg-type]
    return lambda concept: Filtered(base=concept, by=_about(by, concept))


def _coloured(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """ "coloured red", "painted blue", "of a dark green colour"."""
    if not cursor.take(
        "coloured", "colored", "painted", "of the colour", "of the color", "of colour", "in the colour", "in the color"
    ):
        return None
    words = []
    while cursor.word() in lex.COLOURS | {"dark", "light", "bright", "pale"}:
        words.append(cursor.word())
        cursor.at += 1
    text = " ".join(words)
    return (lambda concept: described(concept, text, negated=negated)) if words else None


def _with_or_without(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    if cursor.take("without", "lacking", "with no", "minus", "missing", "not having", "not with"):
        return has(cursor, negated=not negated)
    if cursor.take("with", "having", "featuring", "that has"):
        if cursor.take("no", "not"):
            negated = not negated
        return has(cursor, negated=negated)
    return None


def has(cursor: Cursor, *, negated: bool) -> Change | None:
    """What something has: clothes and parts are described, other things are looked for at it."""
    start = cursor.at
    text = verbs.object_text(cursor)
    if text is None:
        return None
    ending, cursor.at = cursor.at, start
    thing = nouns.item(cursor)
    cursor.at = max(cursor.at, ending) if thing is not None else ending
    verbs.take_on(cursor)
    words = text.split()
    worn = any(word in lex.CLOTHES for word in words)
    if thing is None or worn or not isinstance(thing.concept, Phrase):
        cursor.at = ending
        verbs.take_on(cursor)
        return _or_else(cursor, _worn(text, negated), "with", negated)
    by = Relation(name="with", landmark=thing.concept, negated=negated)
    return lambda concept: Filtered(base=concept, by=by)


def _worn(text: str, negated: bool) -> Change:
    return lambda concept: described(concept, f"with {text}", "after", negated=negated)


def _or_else(cursor: Cursor, change: Change, verb: str, negated: bool) -> Change:
    """ "wearing a hat or glasses": another thing of the kind after "or"."""
    here = cursor.at
    text = verbs.object_text(cursor) if cursor.take("or", "nor") and verbs.clothes_follow(cursor) else None
    if text is None:
        cursor.at = here
        return change

    def either(concept: Concept) -> Concept:
        if negated:
            return described(change(concept), f"{verb} {text}", "after", negated=True)
        return joined([change(concept), described(concept, f"{verb} {text}", "after")], "or")

    return either


def _dressed(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """ "in a red dress", "in black" - of people; "in the box" is a relation."""
    if not cursor.take("in"):
        return None
    text = verbs.object_text(cursor)
    if text is None:
        return None
    words = text.split()
    if not (any(word in lex.CLOTHES for word in words) or all(word in lex.COLOURS for word in words)):
        return None
    return lambda concept: described(concept, f"in {text}", "after", negated=negated)


def _relation(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """A place relative to another thing."""
    _placed(cursor)
    if cursor.take("in the background", "in the distance", "in background"):
        return lambda concept: described(concept, "in background", "after", negated=negated)
    if cursor.take("in the foreground", "in foreground"):
        return lambda concept: described(concept, "in foreground", "after", negated=negated)
    outside = cursor.take("outside of", "outside") is not None
    name = "inside" if outside else lex.RELATIONS.take(cursor)
    negated = negated != outside
    if name is None or cursor.word() in (
        "total",
        "all",
        "general",
        "sum",
        "advance",
        "fact",
        "case",
        "order",
        "addition",
    ):
        return None
    here = cursor.peek()
    if here is not None and here.kind == "image" and not here.preposition:
        cursor.at += 1
        return lambda concept: concept
    first = nouns.item(cursor)
    if first is None:
        return None
    second = None
    if name == "between" and cursor.word() in ("and", "&"):
        cursor.at += 1
        end = nouns.item(cursor)
        second = end.concept if end else None
    by = Relation(name=name, landmark=first.concept, second=second, negated=negated)  # type: ignore[arg-type]
    return lambda concept: Filtered(base=concept, by=_about(by, concept))


def _about(by: Relation | Than, concept: Concept) -> Relation | Than:
    """ "buildings taller than the white one": the landmark's "one" is a building."""
    return by.model_copy(update={"landmark": nouns.bound(by.landmark, concept)})


_CONTENTS = lex.words(
    "cup cups glass glasses bottle bottles slice slices piece pieces bowl bowls plate plates box boxes bag bags basket baskets "
    "can cans jar jars pot pots loaf loaves bunch bunches bouquet pile piles stack stacks heap bar bars sheet sheets"
)


def _part_of(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """ "the wheels | of the red car": a part lies in its whole; "a cup | of tea" is one thing."""
    word = cursor.word(-1)
    if cursor.word() != "of" or negated:
        return None
    cursor.at += 1
    if chunks.is_part(word) and cursor.word() in lex.ARTICLES | {"a", "an", "each", "every", "all"}:
        whole = nouns.item(cursor)
        if whole is None:
            return None
        by = Relation(name="inside", landmark=whole.concept)
        return lambda concept: Filtered(base=concept, by=_about(by, concept))
    contents = chunks.chunk(cursor) if word in _CONTENTS and chunks.is_content(cursor) else []
    text = " ".join(contents)
    return (lambda concept: described(concept, f"of {text}", "after")) if contents else None


def _placed(cursor: Cursor) -> None:
    """ "located", "placed": words of place that add nothing to the relation after them."""
    while cursor.word() in (
        "located",
        "placed",
        "found",
        "positioned",
        "situated",
        "seen",
        "visible",
        "shown",
        "put",
        "kept",
        "directly",
        "immediately",
        "right",
        "somewhere",
        "set",
        "far",
        "stored",
        "pictured",
    ):
        if lex.RELATIONS.match(cursor):
            return
        cursor.at += 1


def _doing(cursor: Cursor, finite: bool, negated: bool) -> Change | None:
    """A participle with its object: "wearing glasses", "sitting", "parked", "eating grass"."""
    if cursor.word() in ("wearing", "wear", "wears", "holding", "carrying") and cursor.word(1) in ("no", "neither"):
        cursor.at += 2
        return has(cursor, negated=not negated)
    text = verbs.doing_text(cursor, finite=finite)
    if text is None:
        return None
    place_follows = lex.RELATIONS.match(cursor) is not None

    def change(concept: Concept) -> Concept:
        if place_follows and text in lex.PLACED and not alive(concept):
            return concept  # a cup "standing" on the table need not look as if it stood
        where = "before" if " " not in text else "after"
        return described(concept, text, where, negated=negated)

    if place_follows and negated:
        return _negated_whole(cursor, text)
    if " " in text and cursor.word() in ("or", "nor"):
        return _or_else(cursor, change, text.split()[0], negated)
    material = next(
        (text.removeprefix(p) for p in ("made of ", "made from ", "made out of ") if text.startswith(p)), None
    )
    if material is not None:
        made_of = {"wood": "wooden", "wool": "woollen"}.get(material, material)
        return lambda concept: described(concept, made_of, negated=negated)
    return change


def _negated_whole(cursor: Cursor, text: str) -> Change | None:
    """ "not sitting on the bench": neither part alone is denied, the whole is."""
    place = _relation(cursor, False, False)
    if place is None:
        return lambda concept: described(concept, text, "before" if " " not in text else "after", negated=True)

    def change(concept: Concept) -> Concept:
        if text in lex.PLACED and not alive(concept):
            return Without(base=concept, minus=place(concept))
        return Without(base=concept, minus=place(described(concept, text)))

    return change


def alive(concept: Concept) -> bool:
    """Whether people or animals are meant; their posture is a property, a cup's is not."""
    phrases = positive_phrases(concept)
    return not phrases or any(phrase.noun.split()[-1] in lex.ANIMATE for phrase in phrases)
