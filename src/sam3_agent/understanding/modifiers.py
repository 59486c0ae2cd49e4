"""What stands behind a noun, and what is said about it after "is": properties, places, comparisons.

    modifier  := region | relation thing | "with" thing | participle | "that" predicate | "not" predicate | ...
    predicate := one ("and" | "or") one ...

A predicate is read as a function from concept to concept (`Change`), so that "are red or parked" can be applied to
whatever the subject is, and turned round by "not". Called by `nouns.item` and by the questions.
"""

from __future__ import annotations

from collections.abc import Callable

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import nouns, places, verbs
from sam3_agent.understanding.concepts import described, is_singular, joined
from sam3_agent.understanding.determiners import PendingRank, leading_rank
from sam3_agent.understanding.determiners import Determiner as _Determiner
from sam3_agent.understanding.plan import Concept, Filtered, Mention, Phrase, Rank, Relation, Than, Without
from sam3_agent.understanding.tokens import Cursor

Change = Callable[[Concept], Concept]
_IDLE = lex.ADVERBS - {"not", "just", "only", "too", "also", "again", "now", "instead", "else"}
_SIDES = ("left", "right", "top", "bottom", "end", "front")


def after_noun(cursor: Cursor, concept: Concept, rank: PendingRank, *, definite: bool = False) -> Concept:
    """`concept` with everything that follows its noun; completes `rank` on the way."""
    while not cursor.done:
        start = cursor.at
        if lex.JOIN_OUTSIDE.match(cursor):
            break
        _skip_idle(cursor)
        if _rank_behind(cursor, rank, concept):
            continue
        change = _modifier(cursor, pick=definite and not rank.complete and is_singular(concept) or _is_one(concept))
        if change is None:
            cursor.at = start
            break
        concept = change(concept)
    return concept


def predicate(cursor: Cursor) -> Change | None:
    """What follows "are": one or several statements joined by and/or, perhaps negated."""
    start = cursor.at
    negated = False
    cursor.skip(_IDLE - {"there"})
    while cursor.take("not", "never", "neither", "n't"):
        negated = True
    cursor.skip(_IDLE - {"there"} | {"all", "both", "either"})
    cursor.take("being") if cursor.word(1) else None
    change = _one(cursor, negated)
    if change is None:
        cursor.at = start
        return None
    while not cursor.done:
        here = cursor.at
        comma = cursor.take(",")
        word = cursor.take("and", "or", "nor", "but") or comma
        cursor.skip(lex.COPULAS | {"either", "also", "that", "who", "which", "both"})
        again = bool(cursor.take("not")) or (negated and word in ("or", "nor"))
        denied = negated and word in ("or", "nor")
        more = _one(cursor, again) if word and (denied or _continues(cursor)) else None
        if more is None:
            cursor.at = here
            break
        change = _either(change, more) if word == "or" and not negated else _both(change, more)
    return change if negated else _with_places(cursor, change)


def _with_places(cursor: Cursor, change: Change) -> Change:
    """ "sitting | on the sofa | next to the lamp": places after what is done belong to it."""
    while not cursor.done:
        more = _fact(cursor, pick=False, finite=False)
        if more is None:
            return change
        change = _both(change, more)
    return change


def _both(first: Change, second: Change) -> Change:
    return lambda concept: second(first(concept))


def _either(first: Change, second: Change) -> Change:
    return lambda concept: joined([first(concept), second(concept)], "or")


def _continues(cursor: Cursor) -> bool:
    """After "and": another property or place, not another thing."""
    word = cursor.word()
    if word in lex.ADJECTIVES | lex.PARTICIPLES and not nouns.is_content(cursor, 1):
        return True
    if word in lex.PARTICIPLES and word in lex.TRANSITIVE:
        return True
    return lex.RELATIONS.match(cursor) is not None or word in ("a", "an") and cursor.word(-1) == "or"


def _skip_idle(cursor: Cursor) -> None:
    while cursor.word() in _IDLE and not (cursor.word() == "there" and cursor.word(-1) in lex.COPULAS):
        cursor.at += 1


def _is_one(concept: Concept) -> bool:
    return isinstance(concept, Mention) and concept.word in ("one", "it")


# --- one modifier -----------------------------------------------------------------------------------------------------


def _modifier(cursor: Cursor, *, pick: bool) -> Change | None:
    if cursor.take("but not"):
        cursor.at -= 1
        change = _negated(cursor)
        cursor.at -= 1 if change is None else 0
        return change
    if lex.EXCEPT.match(cursor) and cursor.word() != "not" and cursor.word() != "less":
        return None
    if cursor.word() == "without" and nouns.definite_follows(cursor):
        return None
    if _relative_pronoun(cursor):
        return _relative_clause(cursor)
    if cursor.word() == "not" and (lex.EXCEPT.match(cursor) or (1, True))[0] > 1:
        return None
    if cursor.word() == "not":
        return _negated(cursor)
    return _fact(cursor, pick=pick, finite=False)


def _relative_pronoun(cursor: Cursor) -> bool:
    return cursor.word() in ("that", "which", "who", "whose") or (
        cursor.word() == "," and cursor.word(1) in ("which", "who") and cursor.word(2) in lex.COPULAS
        and cursor.word(3) not in ("there", "more", "fewer")
    )


def _relative_clause(cursor: Cursor) -> Change | None:
    """ "that are (not) red", "who wear hats", "that have no collar", "that take up more than 10 %"."""
    start = cursor.at
    cursor.take(",")
    whose = cursor.take("whose") is not None
    if not whose:
        cursor.at += 1
    change = _whose(cursor) if whose else clause(cursor)
    if change is None:
        cursor.at = start
    return change


def clause(cursor: Cursor) -> Change | None:
    """A verb and what it says: "are sitting", "do not wear hats", "has a red roof", "can be seen"."""
    start = cursor.at
    if cursor.take("can be seen", "can be found", "you can see", "i can see", "you see", "you find", "you can find",
                   "appear", "appears", "are there", "is there", "exist", "exists", "there are", "there is",
                   "are visible", "is visible", "are shown", "is shown", "are present", "is present", "i see",
                   "happen to be there"):  # fmt: skip
        return _fact(cursor, pick=False) or (lambda concept: concept)
    cursor.take("happen to", "happens to", "appear to", "seem to", "appears to", "seems to")
    cursor.skip(("currently", "actually", "really", "clearly"))
    if cursor.take("do not", "does not", "did not", "can not", "will not"):
        return _refused(cursor, start)
    cursor.take("do", "does", "can", "would", "could")
    found_size = places.size(cursor)
    if found_size is not None:
        return lambda concept: Filtered(base=concept, by=found_size)
    if cursor.word() in lex.COPULAS:
        cursor.skip(lex.COPULAS)
        change = predicate(cursor)
    elif cursor.word() in lex.HAVE:
        change = having(cursor)
    else:
        change = _fact(cursor, pick=False)
        change = _with_places(cursor, _more_facts(cursor, change)) if change else None
    if change is None:
        cursor.at = start
    return change


def _more_facts(cursor: Cursor, change: Change) -> Change:
    while not cursor.done:
        here = cursor.at
        word = cursor.take("and", "or")
        more = _fact(cursor, pick=False) if word and cursor.word() in lex.PARTICIPLES else None
        if more is None:
            cursor.at = here
            break
        change = _either(change, more) if word == "or" else _both(change, more)
    return change


def _refused(cursor: Cursor, start: int) -> Change | None:
    """After "do not": a verb, a possession, a place or a size, turned round."""
    cursor.take("be")
    found_size = places.size(cursor)
    if found_size is not None:
        return lambda concept: Filtered(base=concept, by=found_size.model_copy(update={"negated": True}))
    change = having(cursor, negated=True) if cursor.word() in lex.HAVE else _one(cursor, negated=True)
    if change is None:
        cursor.at = start
    return change


def having(cursor: Cursor, *, negated: bool = False) -> Change | None:
    start = cursor.at
    cursor.skip(lex.HAVE)
    if cursor.take("not"):
        negated = True
    if cursor.take("no", "not any", "neither", "not got"):
        negated = True
    if cursor.word() in ("on", "been"):
        cursor.at += 1
    change = _with(cursor, negated=negated)
    if change is None:
        cursor.at = start
    return change


def _whose(cursor: Cursor) -> Change | None:
    """ "whose shirt is red" -> with red shirt."""
    words = nouns.chunk(cursor)
    if not words or cursor.word() not in lex.COPULAS:
        return None
    cursor.at += 1
    negated = bool(cursor.take("not"))
    colour = nouns.chunk(cursor)
    if not colour:
        return None
    text = " ".join(["with", *colour, *words])
    return lambda concept: described(concept, text, "after", negated=negated)


def _negated(cursor: Cursor) -> Change | None:
    """ "not sitting", "not on the table"; "not dogs" is an exclusion and left to the list."""
    start = cursor.at
    cursor.at += 1
    known = cursor.word() in lex.ADJECTIVES | lex.PARTICIPLES or cursor.word().endswith("ing")
    known = known and cursor.word(1) not in ("one", "ones")
    placed = lex.RELATIONS.match(cursor) is not None or cursor.word() in lex.COMPARATIVES or cursor.word() == "with"
    if known and nouns.is_content(cursor, 1) and cursor.word() not in lex.TRANSITIVE | lex.POSTURES:
        known = False
    change = None
    if known or placed:
        cursor.at = start
        change = predicate(cursor)
    if change is None:
        cursor.at = start
    return change


# --- one fact ----------------------------------------------------------------------------------------------------------


def _one(cursor: Cursor, negated: bool) -> Change | None:
    """One statement after "are": a fact, an order, an adjective, or another noun phrase."""
    start = cursor.at
    change = _fact(cursor, pick=False, negated=negated)
    if change is not None:
        return change
    words = nouns.chunk(cursor) if cursor.word() not in lex.ARTICLES else []
    if words and nouns.is_content(cursor) is False and _adjectival(words):
        text = " ".join(words)
        cursor.take("in colour", "in color", "coloured", "colored", "in size")
        return _named_or_described(text, negated)
    cursor.at = start
    rank = leading_rank(cursor, _Determiner()) if cursor.take("the") or True else PendingRank()
    if rank.complete and rank.by is not None and (rank.by == "near" or not nouns.is_content(cursor)):
        cursor.take("one", "ones")
        if rank.by != "near" or _nearest_to(cursor, rank):
            return rank.applied_to
    cursor.at = start
    found = nouns.item(cursor)
    if found is None:
        return None
    other = found.concept
    if negated:
        return lambda concept: Without(base=concept, minus=other)
    return lambda concept: other


def _named_or_described(text: str, negated: bool) -> Change:
    """ "everything that is fruit" names the thing; "dogs that are red" describes it."""

    def change(concept: Concept) -> Concept:
        if isinstance(concept, Mention) and concept.word == "everything" and text not in lex.ADJECTIVES and not negated:
            return Phrase(noun=text)
        return described(concept, text, negated=negated)

    return change


def _adjectival(words: list[str]) -> bool:
    """Whether a run of words after "is" describes ("red", "made of") rather than names ("dogs")."""
    last = words[-1]
    if last in lex.ADJECTIVES or last in lex.PARTICIPLES or last.endswith(("ing", "ed", "ish", "ous", "ful", "less")):
        return True
    return len(words) == 1 and not nouns.is_plural(last) and last not in lex.ANIMATE


def _fact(cursor: Cursor, *, pick: bool, negated: bool = False, finite: bool = True) -> Change | None:
    """A place, relation, size, comparison or doing that holds (or not)."""
    for rule in (_where, _size, _than, _coloured, _with_or_without, _dressed, _relation, _doing):
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
    factor = {"twice": 2.0, "half": 0.5}.get(cursor.word(), 1.0)
    if cursor.word() in ("twice", "half", "as"):
        cursor.take("twice", "half")
        measures = {"big": "area", "large": "area", "tall": "height", "wide": "width", "long": "length"}
        if not cursor.take("as") or cursor.word() not in measures:
            return None
        measure, more = measures[cursor.word()], True
        cursor.at += 1
        if not cursor.take("as"):
            return None
    elif cursor.word() in lex.COMPARATIVES and cursor.word(1) == "than":
        measure, more = lex.COMPARATIVES[cursor.word()]
        cursor.at += 2
    else:
        return None
    other = nouns.item(cursor)
    if other is None:
        return None
    cursor.take("is", "are")
    by = Than(measure=measure, comparison=">" if more else "<", landmark=other.concept, factor=factor, negated=negated)  # type: ignore[arg-type]
    return lambda concept: Filtered(base=concept, by=_about(by, concept))


def _coloured(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    """ "coloured red", "painted blue", "of a dark green colour"."""
    if not cursor.take("coloured", "colored", "painted", "of the colour", "of the color", "of colour", "in the colour", "in the color"):
        return None
    words = []
    while cursor.word() in lex.COLOURS | {"dark", "light", "bright", "pale"}:
        words.append(cursor.word())
        cursor.at += 1
    text = " ".join(words)
    return (lambda concept: described(concept, text, negated=negated)) if words else None


def _with_or_without(cursor: Cursor, pick: bool, negated: bool) -> Change | None:
    if cursor.take("without", "lacking", "with no", "minus", "missing", "not having", "not with"):
        return _with(cursor, negated=not negated)
    if cursor.take("with", "having", "featuring", "that has"):
        if cursor.take("no", "not"):
            negated = not negated
        return _with(cursor, negated=negated)
    return None


def _with(cursor: Cursor, *, negated: bool) -> Change | None:
    """What something has: clothes and parts are described, other things are looked for at it."""
    start = cursor.at
    text = verbs.object_text(cursor)
    if text is None:
        return None
    ending, cursor.at = cursor.at, start
    thing = nouns.item(cursor)
    cursor.at = max(cursor.at, ending) if thing is not None else ending
    cursor.take("on")
    words = text.split()
    worn = any(word in lex.CLOTHES for word in words)
    if thing is None or worn or not isinstance(thing.concept, Phrase):
        cursor.at = ending
        cursor.take("on")
        worn_change: Change = lambda concept: described(concept, f"with {text}", "after", negated=negated)  # noqa: E731
        return worn_change
    by = Relation(name="with", landmark=thing.concept, negated=negated)
    return lambda concept: Filtered(base=concept, by=by)


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
    name = lex.RELATIONS.take(cursor)
    if name is None or cursor.word() in ("total", "all", "general", "sum", "advance", "fact", "case", "order", "addition"):
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


def _placed(cursor: Cursor) -> None:
    """ "located", "placed": words of place that add nothing to the relation after them."""
    while cursor.word() in ("located", "placed", "found", "positioned", "situated", "seen", "visible", "shown", "put",
                            "kept", "directly", "immediately", "right", "somewhere", "set", "far", "stored", "pictured"):  # fmt: skip
        if lex.RELATIONS.match(cursor):
            return
        cursor.at += 1


def _doing(cursor: Cursor, finite: bool, negated: bool) -> Change | None:
    """A participle with its object: "wearing glasses", "sitting", "parked", "eating grass"."""
    if cursor.word() in ("wearing", "wear", "wears", "holding", "carrying") and cursor.word(1) in ("no", "neither"):
        cursor.at += 2
        return _with(cursor, negated=not negated)
    text = verbs.doing_text(cursor, finite=finite)
    if text is None:
        return None
    place_follows = lex.RELATIONS.match(cursor) is not None

    def change(concept: Concept) -> Concept:
        if place_follows and text in lex.PLACED and not _alive(concept):
            return concept  # a cup "standing" on the table need not look as if it stood
        where = "before" if " " not in text else "after"
        return described(concept, text, where, negated=negated)

    if place_follows and negated:
        return _negated_whole(cursor, text)
    material = next((text.removeprefix(p) for p in ("made of ", "made from ", "made out of ") if text.startswith(p)), None)
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
        if text in lex.PLACED and not _alive(concept):
            return Without(base=concept, minus=place(concept))
        return Without(base=concept, minus=place(described(concept, text)))

    return change


def _alive(concept: Concept) -> bool:
    from sam3_agent.understanding.concepts import positive_phrases

    phrases = positive_phrases(concept)
    return not phrases or any(phrase.noun.split()[-1] in lex.ANIMATE for phrase in phrases)


# --- orders ------------------------------------------------------------------------------------------------------------


def _rank_behind(cursor: Cursor, rank: PendingRank, concept: Concept) -> bool:
    """An order said behind the noun: "from the left", "closest to the knife", "farthest right"."""
    start = cursor.at
    if rank.complete and rank.by in (None, "left", "right", "top", "bottom") and _direction(cursor, rank):
        return True
    if rank.by == "near" and rank.landmark is None and rank.region is None and _nearest_to(cursor, rank):
        return True
    cursor.take("that is", "that are", "which is", "which are", "who is", "who are", "that's")
    cursor.take("the")
    if rank.by is None and cursor.word() in lex.ORDINALS and cursor.word(1) in ("from", "on"):
        rank.first = lex.ORDINALS[cursor.word()]
        cursor.at += 1
        if rank.first < 0:
            rank.first, rank.last = None, True
        return _direction(cursor, rank)
    if rank.by is None and cursor.word() in lex.SUPERLATIVES:
        by, reverse = lex.SUPERLATIVES[cursor.word()]
        cursor.at += 1
        rank.by, rank.reverse = by, reverse
        if by == "near":
            if reverse and _far_side(cursor, rank) or _nearest_to(cursor, rank):
                return True
        else:
            cursor.take("in size", "by area", "of all")
            return True
        rank.by, rank.reverse = None, False
    cursor.at = start
    return False


def _direction(cursor: Cursor, rank: PendingRank) -> bool:
    """ "from the left", "on the right", "from left to right", "counting from the top"."""
    start = cursor.at
    cursor.take("counting", "counted", "starting", "when counted")
    if cursor.take("from left to right", "left to right"):
        rank.by = rank.by or "left"
        return True
    if cursor.take("from right to left", "right to left"):
        rank.by = rank.by or "right"
        return True
    if cursor.take("from top to bottom", "top to bottom"):
        rank.by = "top"
        return True
    if cursor.take("from the", "from", "on the", "to the", "at the", "in from the", "on", "starting from the"):
        for side in ("left", "right", "top", "bottom"):
            if cursor.word() == side and cursor.word(1) not in ("of", "half", "third", "quarter"):
                cursor.at += 1
                cursor.take("hand side", "side", "edge", "end")
                image = cursor.peek()
                if image is not None and image.kind == "image":
                    cursor.at += 1
                if rank.last:
                    rank.first, rank.last = 1, cursor.tokens[start].text == "from" and rank.last
                rank.by = side
                return True
    cursor.at = start
    return False


def _far_side(cursor: Cursor, rank: PendingRank) -> bool:
    """ "furthest (to the) left"."""
    start = cursor.at
    cursor.take("to the", "on the", "towards the", "over to the")
    if cursor.word() in _SIDES[:4]:
        rank.by, rank.reverse = cursor.word(), False
        cursor.at += 1
        return True
    ups = {"up": "top", "down": "bottom"}
    if cursor.word() in ups:
        rank.by, rank.reverse = ups[cursor.word()], False
        cursor.at += 1
        return True
    cursor.at = start
    return False


def _nearest_to(cursor: Cursor, rank: PendingRank) -> bool:
    """ "to the knife", "from the centre of the picture", "the door"."""
    start = cursor.at
    cursor.take("to", "from", "by", "towards", "of")
    found = places.region(cursor, bare=True)
    if found is not None:
        rank.region = found[0].name
        return True
    other = nouns.item(cursor)
    if other is None or (isinstance(other.concept, Filtered) and isinstance(other.concept.by, Rank) and rank.landmark):
        cursor.at = start
        return False
    rank.landmark = other.concept
    return True
