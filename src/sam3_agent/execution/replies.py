"""The words of an outcome: short, with numbers, and plain about what was not found or not judged."""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.execution.views import View
from sam3_agent.understanding.plan import Claim, Concept, Filtered, Phrase, Rank
from sam3_agent.understanding.spelling import plural
from sam3_agent.understanding.wording import claim_words, name


def amount(number: int, concept: Concept) -> str:
    """ "3 red cars", "1 dog", "no cats", "the largest dog"."""
    if isinstance(concept, Filtered) and isinstance(concept.by, Rank):
        return f"the {name(concept)}" if number == 1 else f"{number}: the {name(concept)}"
    return f"{number or 'no'} {name(concept, many=number != 1)}"


def found(concept: Concept, counts: Sequence[tuple[int, int]], missing: Sequence[str]) -> str:
    """What was found, per picture where there are several."""
    total = sum(count for _, count in counts)
    if total == 0:
        return nothing(concept, missing)
    text = f"Found {amount(total, concept)}."
    if len(counts) > 1:
        text += " " + per_picture(counts)
    return text


def nothing(concept: Concept, missing: Sequence[str]) -> str:
    """Understood, but nothing is there; a landmark that is not there is the reason."""
    reason = f" (no {' or '.join(sorted(set(missing)))} was found to go by)" if missing else ""
    if isinstance(concept, Filtered) and isinstance(concept.by, Rank) and concept.by.first == 1 and not missing:
        concept = concept.base  # where there is no largest dog there is no dog
    return f"I found no {name(concept)} here{reason}."


def per_picture(counts: Sequence[tuple[int, int]]) -> str:
    """ "Picture 1: 2, picture 2: 1."."""
    return "Picture " + ", picture ".join(f"{number + 1}: {count}" for number, count in counts) + "."


def counted(
    concept: Concept,
    counts: Sequence[tuple[int, int]],
    clips: bool,
    missing: Sequence[str],
    at_once: str | None = None,
) -> str:
    """The answer to "how many"."""
    total = sum(count for _, count in counts)
    verb = "is" if total == 1 else "are"
    if at_once is not None and clips:
        bound = "most" if at_once == "most" else "least"
        text = f"At {bound} {total or 'no'} {name(concept, many=total != 1)} {verb} seen at the same time."
        return text + (" " + per_picture(counts) if len(counts) > 1 else "")
    where = " in the clip" if clips else ""
    distinct = "distinct " if clips and total != 1 else ""
    text = f"There {verb} {total or 'no'} {distinct}{name(concept, many=total != 1)}{where}."
    if missing and not total:
        text = nothing(concept, missing)
    return text + (" " + per_picture(counts) if len(counts) > 1 else "")


def places(concept: Concept, view: View, things: Sequence[object]) -> str:
    """Where the things are."""
    spots = [view.place(thing) for thing in things]  # type: ignore[arg-type]
    text = f"{len(things)} {name(concept, many=len(things) != 1)}: " + ", ".join(spots[:12])
    return text + (", ..." if len(spots) > 12 else "") + "."


def yes_no(answer: bool, claims: Sequence[tuple[Claim, bool, int]]) -> str:
    """Yes or no, and what was counted."""
    details = "; ".join(_seen(claim, count) for claim, _, count in claims)
    return f"{'Yes' if answer else 'No'}: {details}."


def _seen(claim: Claim, count: int) -> str:
    if claim.of is not None:
        return f"{count} of the {name(claim.of)}"
    return f"{count or 'no'} {name(claim.target, many=count != 1)}"


def checked(verdict: bool | None, claims: Sequence[tuple[Claim, bool, int]], unjudged: Sequence[str]) -> str:
    """A description, claim by claim."""
    lines = [
        f"{'holds' if holds else 'does not hold'}: {claim_words(claim)} (I see {_seen(claim, count)})"
        for claim, holds, count in claims
    ]
    opening = {
        True: "The description matches.",
        False: "The description does not match.",
        None: "I can only judge part of this.",
    }[verdict]
    text = " ".join([opening, *(line[0].upper() + line[1:] + "." for line in lines)])
    if unjudged:
        text += " Not judged, because masks cannot show it: " + "; ".join(f'"{part}"' for part in unjudged) + "."
    return text


def doubtful(phrases: Sequence[str]) -> str:
    """What the engine was not sure of."""
    return f" I am not sure about: {', '.join(phrases)}." if phrases else ""


def mirrored(number: int) -> str:
    """That things looked different in the mirror."""
    which = "one of them: it looks" if number == 1 else f"{number} of them: they look"
    return f" I am not sure about {which} different to me in the mirrored picture."


def short_name(concept: Concept) -> str:
    """A compared thing as an answer: "plates", "red car"."""
    if isinstance(concept, Phrase):
        noun = plural(concept.noun) if concept.plural else concept.noun
        return " ".join((*concept.attributes, noun, *concept.details))
    return name(concept)
