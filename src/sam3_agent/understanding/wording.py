"""A plan in words: "count the red cars left of the bus in picture 2". Used by `str(plan)`, replies and the CLI."""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.understanding.plan import (
    AnyOf,
    Attribute,
    Claim,
    CompareCounts,
    CompareImages,
    CompareSizes,
    Concept,
    Count,
    Exists,
    Filtered,
    MeasureOf,
    Mention,
    Phrase,
    Plan,
    Rank,
    Region,
    Relation,
    Revise,
    Segment,
    Size,
    Than,
    Verify,
    When,
    Without,
)
from sam3_agent.understanding.spelling import plural

_RANKS = {
    ("area", False): "largest", ("area", True): "smallest", ("height", False): "tallest", ("height", True): "shortest",
    ("width", False): "widest", ("width", True): "narrowest", ("length", False): "longest", ("length", True): "shortest",
    ("near", False): "nearest", ("near", True): "farthest", ("middle", False): "most central", ("score", False): "surest",
}  # fmt: skip


def name(concept: Concept, *, many: bool = True) -> str:
    """The concept as a person would name it."""
    if isinstance(concept, Phrase):
        noun = plural(concept.noun) if many else concept.noun
        return " ".join((*concept.attributes, noun, *concept.details))
    if isinstance(concept, Mention):
        return {"it": "it", "one": "that one", "everything": "everything"}.get(concept.word, "those")
    if isinstance(concept, AnyOf):
        names = [name(part, many=many) for part in concept.parts]
        return f"{', '.join(names[:-1])} {concept.joint} {names[-1]}"
    if isinstance(concept, Without):
        return f"{name(concept.base, many=many)} except {name(concept.minus)}"
    return _filtered(concept, many)


def _filtered(concept: Filtered, many: bool) -> str:
    by, base = concept.by, concept.base
    if isinstance(by, Rank):
        return _ranked(base, by)
    inner = name(base, many=many)
    no = "not " if getattr(by, "negated", False) else ""
    if isinstance(by, Attribute):
        return f"{inner} that are {no}{by.text}"
    if isinstance(by, Relation):
        second = f" and the {name(by.second, many=False)}" if by.second is not None else ""
        landmark = name(by.landmark, many=by.name == "between" and by.second is None)
        return f"{inner} {no}{by.name} the {landmark}{second}"
    if isinstance(by, Region):
        return f"{inner} {no}at the {by.name}" if by.name == "edge" else f"{inner} {no}in the {by.name} part"
    if isinstance(by, Size):
        value = f"{by.value:.0%} of the picture" if by.unit == "share" else f"{by.value:g} pixels"
        if by.upper is not None:
            value += f" and <= {by.upper:.0%}" if by.unit == "share" else f" and <= {by.upper:g} pixels"
        return f"{inner} with {by.measure} {no}{by.comparison} {value}"
    if isinstance(by, Than):
        return f"{inner} with {by.measure} {no}{by.comparison} that of the {name(by.landmark, many=False)}"
    return inner


def _ranked(base: Concept, by: Rank) -> str:
    count = by.count or 1
    which = f"number {by.first} " if by.first > 1 else (f"{count} " if count > 1 else "")
    inner = name(base, many=count > 1)
    if isinstance(base, Mention) and base.word in ("one", "ones"):
        inner = "ones" if count > 1 else "one"
    if by.by in ("left", "right", "top", "bottom"):
        return f"{which or 'first '}{inner} from the {by.by}"
    word = _RANKS.get((by.by, by.reverse), by.by)
    to = f" to the {name(by.landmark, many=False)}" if by.landmark is not None else ""
    to = f" to the {by.region}" if by.region else to
    return f"{which}{word} {inner}{to}"


def the(concept: Concept, *, many: bool = True) -> str:
    """The concept with its article: "the red cars", "those", "the largest one"."""
    words = name(concept, many=many)
    return words if words.split()[0] in ("it", "those", "that", "everything") else f"the {words}"


def claim_words(claim: Claim) -> str:
    """A claim as a statement."""
    if claim.words:
        return claim.words
    if claim.versus is not None:
        return f"{claim.versus_ask} {name(claim.target)} than {name(claim.versus)}"
    if claim.of is not None and claim.most is not None:
        return f"{'more' if claim.most > 0 else 'less'} than {abs(claim.most):.0%} of the {name(claim.of)} are {name(claim.target)}"
    if claim.of is not None:
        return f"all {name(claim.of)} are {name(claim.target)}"
    if claim.at_most == 0:
        return f"no {name(claim.target)}"
    if claim.at_most == claim.at_least:
        return f"{claim.at_least} {name(claim.target, many=claim.at_least != 1)}"
    if claim.at_most is not None and not claim.at_least:
        return f"at most {claim.at_most} {name(claim.target, many=claim.at_most != 1)}"
    if claim.at_most is not None:
        return f"{claim.at_least} to {claim.at_most} {name(claim.target)}"
    return f"at least {claim.at_least} {name(claim.target, many=claim.at_least != 1)}"


def listed(words: Sequence[str]) -> str:
    """ "1", "1 and 2", "1, 2 and 3"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def describe_plan(plan: Plan) -> str:
    """The plan as an imperative sentence without a full stop."""
    action, where = plan.action, ""
    if plan.scope.numbers:
        where = (
            " in picture"
            + ("s " if len(plan.scope.numbers) > 1 else " ")
            + listed([str(n + 1) for n in plan.scope.numbers])
        )
    if plan.scope.between is not None:
        start, end = plan.scope.between
        until = "the end" if end is None else f"{end:g} s"
        where += f" from {start:g} s to {until}" if start >= 0 else f" in the last {-start:g} s"
    return _action_words(action) + where


def _action_words(action: object) -> str:
    if isinstance(action, Segment):
        if action.verb == "where":
            return f"say where {the(action.target)} {'is' if isinstance(action.target, Mention) and action.target.word == 'it' else 'are'}"
        return f"{'follow' if action.verb == 'track' else 'find'} {the(action.target)}"
    if isinstance(action, Count):
        moment = {"most": " where most are seen at once", "fewest": " where fewest are seen at once"}
        return f"count {the(action.target)}{moment.get(action.at_once or '', '')}"
    if isinstance(action, Exists):
        return "check whether " + _asked(action)
    if isinstance(action, Verify):
        left = f" (not judged: {'; '.join(action.unjudged)})" if action.unjudged else ""
        return "check each claim: " + "; ".join(claim_words(claim) for claim in action.claims) + left
    if isinstance(action, MeasureOf):
        of = f" relative to {the(action.of)}" if action.of is not None else ""
        return f"measure the {action.what} of {the(action.target)}{of}"
    if isinstance(action, CompareCounts):
        times = "" if action.factor == 1 else f", {action.factor:g} times"
        return f"compare the numbers of {' and '.join(name(part) for part in action.parts)} ({action.ask}{times})"
    if isinstance(action, CompareSizes):
        if action.landmark is not None:
            which = "farther from" if action.reverse else "nearer to"
            return f"say which is {which} {the(action.landmark, many=False)}: {' or '.join(name(part, many=False) for part in action.parts)}"
        return f"compare the {action.by} of {' and '.join(name(part, many=False) for part in action.parts)}"
    if isinstance(action, CompareImages):
        return f"compare the pictures by their {name(action.target)} ({action.ask})"
    if isinstance(action, When):
        which = "last " if action.last else ""
        if action.count is not None:
            return f"say when {action.count} {name(action.target)} are first seen at once"
        said = {"appears": f"when the {which}{name(action.target, many=False)} appears",
                "leaves": f"when the {which}{name(action.target, many=False)} was last seen",
                "most": f"when the most {name(action.target)} are seen at once",
                "fewest": f"when the fewest {name(action.target)} are seen at once"}  # fmt: skip
        return "say " + said.get(action.moment, f"how long the {name(action.target)} can be seen")
    if isinstance(action, Revise):
        return _revised(action)
    return str(action)


def _asked(action: Exists) -> str:
    """The claims of a question after "whether": "there is at least 1 dog and 2 cats", "all dogs are sitting"."""
    words, there = "", False
    for claim in action.claims:
        said = claim_words(claim)
        if claim.of is None and not claim.words and not there:
            one = claim.versus is None and (claim.at_most == 1 or (claim.at_least == 1 and claim.at_most is None))
            said, there = f"there {'is' if one else 'are'} {said}", True
        words += f" {action.joint} {said}" if words else said
    return f"{words} at once" if action.at_once else words


def _revised(action: Revise) -> str:
    """A change to what was asked before: "only the largest one", "find the cats instead"."""
    if action.target is None:
        return action.how
    ranked = isinstance(action.target, Filtered) and isinstance(action.target.by, Rank)
    words = the(action.target) if ranked else name(action.target)
    if action.how == "instead":
        return f"find {the(action.target)} instead"
    return f"{action.how} {words}"
