"""Noun phrases and lists of them: tokens -> concept expressions.

    list  := item ((", " | "and" | "or" | "plus") item | exclusion list)*
    item  := determiner* rank? adjective* noun modifier*

What stands after the noun is in `modifiers.py`. A rule returns None and leaves the cursor where it was when it
does not apply. Try it: `noun_list(Cursor(tokens_of("the two largest dogs except the black one")))`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import modifiers
from sam3_agent.understanding.chunks import adjective_groups, adjectives_on, is_content, phrases_of
from sam3_agent.understanding.concepts import bare_noun, described, is_singular, joined, kind_of, mentions, replaced
from sam3_agent.understanding.determiners import Determiner, PendingRank, determiner, leading_rank, number_at
from sam3_agent.understanding.plan import Attribute, Concept, Filtered, Mention, Phrase, Rank, Region, Without
from sam3_agent.understanding.tokens import Cursor


@dataclass
class Item:
    """A noun phrase and what its determiner said; `bare` is the noun before anything that stands behind it."""

    concept: Concept
    determiner: Determiner = field(default_factory=Determiner)
    parts: tuple[Item, ...] = ()
    bare: Concept | None = None


_POINTERS = {
    "it": "it", "them": "them", "they": "them", "these": "them", "those": "them", "him": "it", "her": "it",
    "this": "it", "that": "it", "ones": "ones", "one": "one", "others": "others", "rest": "others",
    "everything": "everything", "all": "them", "both": "them", "remaining": "others",
}  # fmt: skip


def noun_list(cursor: Cursor, *, statement: bool = False, modified: bool = True) -> Item | None:
    """Everything that is listed, with exclusions.

    `statement`: "no" counts to zero instead of excluding. Without `modified` a noun ends at its last word, so that
    what follows can be read as said of it ("are the dogs | sitting").
    """
    both = cursor.take("both", "either") if cursor.word(1) not in ("of", "") else None
    first = item(cursor, modified=modified)
    if first is None:
        return None
    first.determiner.every = first.determiner.every or both == "both"
    items, joint = [first], "and"
    whole = earlier = first.concept
    while not cursor.done:
        start = cursor.at
        excluded = _exclusion(cursor, statement)
        if excluded is not None and isinstance(earlier, Without) and len(items) > 1:
            # "dogs except the sitting one and cats except the black one": the second belongs to the cats
            items[-1] = replace(items[-1], concept=_without(items[-1].concept, excluded))
            whole = joined([earlier, items[-1].concept], joint)
            continue
        if excluded is not None:
            whole = _without(whole, excluded)
            items = [replace(items[0], concept=whole)] if len(items) == 1 else [Item(whole)]
            continue
        word = _joiner(cursor) or (statement and cursor.word(1) == "no" and cursor.take("but") and "and")
        following = item(cursor, modified=modified) if word else None
        if following is None:
            cursor.at = start
            break
        joint = "or" if word == "or" else joint
        following = replace(following, concept=bound(following.concept, whole))
        if len(items) == 1 and _unnamed(items[0].concept):
            items[0] = replace(items[0], concept=bound(items[0].concept, following.concept))
        if len(items) == 1 and _elliptic(items[0].concept, following.concept):
            items[0] = replace(items[0], concept=_completed(items[0].concept, following.concept))
        whole = items[0].concept if len(items) == 1 else whole
        earlier = whole
        items.append(following)
        whole = _joined(items, whole, joint)
    return Item(whole, items[0].determiner, tuple(items)) if len(items) > 1 else replace(items[0], concept=whole)


def _unnamed(first: Concept) -> bool:
    """ "the first and (the) last car": an order that waits for the noun."""
    base = first.base if isinstance(first, Filtered) and isinstance(first.by, Rank) else None
    return isinstance(base, Mention) and base.word in ("one", "ones")


def _elliptic(first: Concept, second: Concept) -> bool:
    """ "the red and the green apples": an adjective that waits for the noun."""
    bare = isinstance(first, Phrase) and not first.plural and not first.attributes and first.noun in lex.ADJECTIVES
    return bare and isinstance(second, Phrase) and bool(second.attributes)


def _completed(first: Concept, second: Concept) -> Concept:
    if isinstance(first, Phrase) and isinstance(second, Phrase):
        return second.model_copy(update={"attributes": (first.noun,)})
    return first


def item(cursor: Cursor, *, modified: bool = True) -> Item | None:
    """One noun phrase with all that belongs to it (see `noun_list` for `modified`)."""
    start = cursor.at
    found = determiner(cursor)
    rank = leading_rank(cursor, found)
    base = _pointer(cursor, found, rank) if rank.by is None else None
    base = base or _described_noun(cursor, found, rank)
    if base is None:
        cursor.at = start
        return None
    if found.other:
        base = Without(base=base, minus=Mention(word="them")) if not isinstance(base, Mention) else base
    concept = modifiers.after_noun(cursor, base, rank, definite=found.definite) if modified else base
    if rank.complete and rank.count is None:
        rank.count = found.count
        found.low = found.high = None
    return Item(rank.applied_to(concept), found, bare=base)


def _joiner(cursor: Cursor) -> str | None:
    if lex.JOIN_OUTSIDE.take(cursor):
        return "and"
    comma = cursor.take(",")
    if comma and lex.JOIN_OUTSIDE.take(cursor):
        return "and"
    word = cursor.take("and also", "and then", "and", "or", "as well", "nor", "plus")
    if comma and not word and cursor.word() in ("then", "who", "which"):
        return None
    return "or" if word in ("or", "nor") else word or comma


def _exclusion(cursor: Cursor, statement: bool) -> Concept | None:
    """ "except the cats and the dogs": what to leave out, up to a word that adds again."""
    start = cursor.at
    cursor.take(",")
    cursor.take("please")
    if statement and cursor.word() in ("but", "and") and cursor.word(1) == "no":
        cursor.at = start
        return None  # "is there a cat but no dog": two things that are to hold
    if cursor.word() == "not" and cursor.word(1) in lex.WH_WORDS:
        cursor.at = start
        return None
    if cursor.take("but nothing", "and nothing", "nothing") and cursor.word() in ("that", "which", "with"):
        return modifiers.after_noun(cursor, Mention(word="ones"), PendingRank())
    taken = bool(lex.EXCEPT.take(cursor)) or _plain_but(cursor) or (not statement and _no(cursor, start))
    if not taken and cursor.word() == "without" and definite_follows(cursor):
        taken = cursor.take("without") is not None
    first = item(cursor) if taken else None
    if first is None:
        cursor.at = start
        return None
    parts = [first.concept]
    cursor.take("out", "away", "aside", "behind")
    while not cursor.done:
        here = cursor.at
        outside = lex.JOIN_OUTSIDE.match(cursor) or lex.JOIN_OUTSIDE.match(cursor, ahead=1)
        if outside or lex.EXCEPT.match(cursor) or _joiner(cursor) is None or (more := item(cursor)) is None:
            cursor.at = here
            break
        if more.determiner.every:  # "... except the black one and all cats": a new thing to find
            cursor.at = here
            break
        parts.append(more.concept)
    return joined(parts)


def _plain_but(cursor: Cursor) -> bool:
    """ "all but the cats", "everything but cats"."""
    if cursor.word() == "but" and cursor.word(1) not in ("also", "only", "just", "i", "it", "they", "all"):
        cursor.at += 1
        return True
    return False


def _no(cursor: Cursor, start: int) -> bool:
    """ ", no bananas" inside a request."""
    cursor.take("and", "but")
    if cursor.word() == "no" and start > 0:
        cursor.at += 1
        return True
    cursor.at = start
    return False


def definite_follows(cursor: Cursor) -> bool:
    """ "without the small ones" leaves things out; "without hats", "without the hat" describe them."""
    ahead = [cursor.word(i) for i in range(1, 7)]
    return ahead[0] in ("the", "those", "these", "any") and not set(ahead) & lex.CLOTHES


def excluded_from(cursor: Cursor, concept: Concept) -> Concept:
    """`concept` without what an exclusion at the cursor names, if there is one."""
    while (excluded := _exclusion(cursor, True)) is not None:
        concept = _without(concept, excluded)
    return concept


def _without(whole: Concept, excluded: Concept) -> Concept:
    minus = bound(excluded, whole, everything=True)
    rest = whole
    while isinstance(rest, Without):
        if rest.minus == minus:  # "except red ones except red ones": said twice
            return whole
        rest = rest.base
    return Without(base=whole, minus=minus)


def bound(concept: Concept, antecedent: Concept, *, everything: bool = False) -> Concept:
    """ "cars but not the red ones": "ones" (or "anything that is red") is the noun just named."""
    words = ("one", "ones", "everything") if everything else ("one", "ones")
    if not any(mention.word in words for mention in mentions(concept)):
        return concept
    kind = kind_of(antecedent)
    if not mentions(kind) and _recoloured(concept):
        kind = bare_noun(kind)
    return replaced(concept, lambda mention: kind if mention.word in words else mention)


def _recoloured(concept: Concept) -> bool:
    """ "the red cars and the blue ones" are cars, not red cars."""
    return isinstance(concept, Filtered) and isinstance(concept.by, Attribute) and concept.by.text in lex.COLOURS


def _joined(items: list[Item], whole: Concept, joint: str) -> Concept:
    """The list so far; a modifier after the last of several bare nouns belongs to all of them."""
    last = items[-1]
    if isinstance(whole, Without) or len(items) == 1:
        return joined([whole, last.concept], joint)
    concepts = [entry.concept for entry in items]
    alike = not last.determiner.said and all(
        isinstance(entry.concept, Phrase) and not entry.concept.details for entry in items[:-1]
    )
    if alike and isinstance(last.concept, Filtered) and isinstance(last.concept.base, Phrase):
        shared = last.concept
        return Filtered(base=joined([*concepts[:-1], shared.base], joint), by=shared.by)
    phrases = [concept for concept in concepts if isinstance(concept, Phrase)]
    if alike and len(phrases) == len(concepts):
        return joined(list(_shared(phrases, last.bare)), joint)
    return joined(concepts, joint)


def _shared(phrases: list[Phrase], bare: Concept | None) -> list[Phrase]:
    """ "dogs and cats that are sitting": both sit. Clothes are shared among people only, adjectives not at all."""
    last = phrases[-1]
    if not isinstance(bare, Phrase) or bare.attributes or last == bare or any(p.attributes for p in phrases[:-1]):
        return phrases
    people = all(phrase.noun.split()[-1] in lex.PERSONS for phrase in phrases)
    if last.details and not people:
        return phrases
    return [p.model_copy(update={"attributes": last.attributes, "details": last.details}) for p in phrases]


# --- the noun itself -------------------------------------------------------------------------------------------------


def _pointer(cursor: Cursor, found: Determiner, rank: PendingRank) -> Concept | None:
    """ "it", "them", "the other one", "all of them", or an adjective and "one(s)"."""
    word = cursor.word()
    if found.other and (word in ("one", "ones") or not is_content(cursor)):
        cursor.take("one", "ones")
        return Mention(word="other" if word == "one" else "others")
    if word in ("one", "ones"):
        cursor.at += 1
        return Mention(word="one" if word == "one" else "ones")
    if found.said and not is_content(cursor) and _described_behind(cursor):
        return Mention(word="ones")
    if word in _POINTERS and not (found.said and word in ("it", "all")):
        if word in ("this", "that", "these", "those", "all", "both") and is_content(cursor, 1):
            return None
        cursor.at += 1
        if word in ("this", "that") and cursor.take("one"):
            return Mention(word="it")
        if word in ("these", "those", "all", "both") and cursor.take("ones"):
            return Mention(word="them")
        return Mention(word=_POINTERS[word])  # type: ignore[arg-type]
    if found.pointing:
        return Mention(word=found.pointing)
    del rank
    return None


def _described_behind(cursor: Cursor) -> bool:
    """ "those on the left", "any that are moving": no noun, but something said of it."""
    word = cursor.word()
    if word in ("that", "which", "who"):
        return True
    return cursor.word(-1) in ("those", "these", "any", "all", "the") and (
        lex.RELATIONS.match(cursor) is not None or word in ("with", "without", "in", "on", "at", "not")
    )


def _described_noun(cursor: Cursor, found: Determiner, rank: PendingRank) -> Concept | None:
    """Adjectives and noun; "the left cup" becomes a place, "red or blue cars" two phrases."""
    if rank.complete and cursor.take("of those", "of these", "of them"):
        return Mention(word="them")
    if rank.complete and cursor.take("of all", "of"):
        inner = determiner(cursor)
        rank.count = rank.count or (inner.count if not inner.definite else None)
    side = _side(cursor)
    if side and (number := number_at(cursor)) and side in ("left", "right", "top", "bottom"):
        rank.by, rank.count, side = side, number, None
        cursor.at += 1
    negated = cursor.take("non")
    groups, joints = adjective_groups(cursor)
    words = groups[-1]
    if words and words[0] in lex.ANYTHING:
        base: Concept = Mention(word="everything")
        for word in words[1:]:
            base = described(base, word)
    elif cursor.word() in ("one", "ones") and (words or side or rank.complete):
        base = adjectives_on(Mention(word="one" if cursor.word() == "one" else "ones"), groups, joints)
        cursor.at += 1
    elif words:
        base = phrases_of(groups, joints, found, negated=bool(negated))
    elif rank.complete or side:
        base = Mention(word="ones" if (rank.count or 1) > 1 else "one")
    else:
        return None
    if side:
        base = Filtered(base=base, by=Region(name=side, pick=is_singular(base) or _one(base)))  # type: ignore[arg-type]
    return base


def _one(base: Concept) -> bool:
    return isinstance(base, Mention) and base.word == "one"


def _side(cursor: Cursor) -> str | None:
    """A place in front of a noun: "the left cup", "the upper shelf"."""
    found = lex.REGIONS.match(cursor)
    if (
        found is None
        or lex.RELATIONS.match(cursor)
        or cursor.word() in ("edge", "corner", "border", "edges", "corners")
    ):
        return None
    length, name = found
    noun = cursor.word(length)
    if (
        noun in ("ones", "one")
        or noun in lex.NUMBERS
        or (is_content(cursor, length) and noun not in ("hat", "hats", "hand", "click"))
    ):
        cursor.at += length
        return name
    return None
