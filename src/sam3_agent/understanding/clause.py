"""One clause -> its drafts, or what is wrong with it.

The clause loses its courtesies, its mentions of pictures become a scope, and then the rules of the question modules are
tried in order. A rule has to account for every word; when none does, the clause is cut at "and count ..." or read from
its first command word on, and else not understood. Called by `grammar.py`, which puts clauses together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import modifiers
from sam3_agent.understanding.across import compare_images
from sam3_agent.understanding.amounts import measure
from sam3_agent.understanding.comparisons import compare_counts
from sam3_agent.understanding.concepts import mentions
from sam3_agent.understanding.courtesy import Bared, bared
from sam3_agent.understanding.determiners import number_at
from sam3_agent.understanding.framing import is_region
from sam3_agent.understanding.judging import judged
from sam3_agent.understanding.numbered import count_bounded, numbered, wanted
from sam3_agent.understanding.pictures import each_in_its_picture, fold_pictures, split_scope
from sam3_agent.understanding.plan import Action, Count, Exists, Mention, Plan, Revise, Scope, Segment
from sam3_agent.understanding.questions import finished, how_many, how_many_of_them, subject, where, which
from sam3_agent.understanding.refusal import other_work, unseen
from sam3_agent.understanding.revisions import revise
from sam3_agent.understanding.sizes import compare_sizes
from sam3_agent.understanding.smalltalk import delivers as is_delivery
from sam3_agent.understanding.smalltalk import idle, open_question, ordinal_picture, same_elsewhere
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token
from sam3_agent.understanding.yes_no import exists

Trouble = Literal[
    "", "unsupported", "nothing named", "open question", "unclear", "silent", "too much", "impossible", "strange", "judgement"
]  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A plan whose references are still open; `bare` when only a thing was named, without a verb."""

    plan: Plan
    bare: bool = False


@dataclass(frozen=True)
class Reading:
    """What a query asks for. `delivers`: it hands over a picture ("here it is"); `said`: the trouble in a sentence of its own."""

    drafts: tuple[Draft, ...] = ()
    trouble: Trouble = ""
    delivers: bool = False
    scope: Scope = field(default_factory=Scope)
    said: str = ""

    @property
    def plan(self) -> Plan | None:
        """The last plan of the query, references unresolved."""
        return self.drafts[-1].plan if self.drafts else None


_MASKS = PhraseTable.of(
    "|".join(
        f"{article}{what} {of}"
        for article in ("", "the ", "a ", "all ", "all the ", "an ")
        for what in ("mask", "masks", "outline", "outlines", "segmentation", "segmentations", "segmentation mask", "segmentation masks",
                     "bounding box", "bounding boxes", "box", "boxes", "contour", "contours", "shape", "location", "locations", "position")
        for of in ("of", "for", "around")
    ),
    True,
)  # fmt: skip
_STARTERS = lex.words(
    "how segment find show highlight mark outline select detect locate count which where track follow "
    "mask circle identify tell pick extract label spot give verify check compare what measure isolate"
)
_NO_NOUNS = lex.words(
    "find locate identify detect select extract isolate segment highlight"
)  # commands, and never things
_RULES: tuple[Callable[[Cursor], Any], ...] = (
    compare_counts, compare_sizes, measure, count_bounded, how_many, how_many_of_them, where, exists, which, revise,
)  # fmt: skip


def read_clause(tokens: Sequence[Token], images: int) -> Reading:
    """One clause: its drafts, or what is wrong with it."""
    question = any(token.text == "?" for token in tokens)
    folded = fold_pictures([t for t in tokens if not (t.kind == "mark" and t.text in ".?!;")])
    clause = bared(folded)
    if not clause.tokens or all(token.kind in ("mark", "emoji") for token in clause.tokens):
        return Reading()
    if idle(clause.tokens):
        return Reading(scope=split_scope(clause.tokens)[1])
    drafts = (
        _after_colon(folded, images)
        or _each_in_its_picture(clause, images)
        or _parsed(clause, images)
        or _cut(clause, images)
    )
    if is_delivery(clause.tokens) and not any(not draft.bare for draft in drafts):
        return Reading(delivers=True)
    if all(draft.bare for draft in drafts) and open_question(clause.tokens):
        return Reading(trouble="open question", scope=split_scope(clause.tokens)[1])
    if other_work(Cursor(clause.tokens)):
        return Reading(trouble="unsupported")
    if not drafts and (inner := _embedded(clause, images)):
        return Reading(tuple(inner))
    if unseen([t.text for t in clause.tokens]):
        return Reading(trouble="unsupported")
    if judged([t.text for t in clause.tokens if t.kind != "image"]):
        return Reading(trouble="judgement")
    if drafts:
        return Reading(tuple(drafts))
    return Reading(trouble=_trouble(clause, question))


def _each_in_its_picture(clause: Bared, images: int) -> list[Draft]:
    """ "count the cats in image one and the dogs in image two": the command is said once."""
    drafts: list[Draft] = []
    for part in each_in_its_picture(clause.tokens):
        found = _parsed(replace(clause, tokens=part), images)
        if len(found) != 1 or not isinstance(found[0].plan.action, Segment | Count):
            return []
        [draft] = found
        if drafts and draft.bare:
            action = drafts[0].plan.action.model_copy(update={"target": draft.plan.action.target})  # type: ignore[union-attr]
            draft = replace(drafts[0], plan=draft.plan.model_copy(update={"action": action}))
        drafts.append(draft)
    return drafts


def _after_colon(tokens: Sequence[Token], images: int) -> list[Draft]:
    """ "We need this for our newsletter: please outline the women"."""
    at = next((i for i, token in enumerate(tokens) if token.text == ":"), None)
    if at is None or tokens[0].text in lex.WH_WORDS | lex.AUXILIARIES | lex.COPULAS or is_region(tokens[:at]):
        return []
    pictures = [replace(token, preposition="in") for token in tokens[:at] if token.scope not in (None, Scope())]
    after = bared([*tokens[at + 1 :], *pictures])
    return _parsed(after, images) or _cut(after, images)


def _parsed(clause: Bared, images: int) -> list[Draft]:
    """The clause as one plan, if a rule accounts for all of it."""
    across = compare_images(clause.tokens, images)
    if across is not None:
        return [Draft(Plan(action=across[0], scope=across[1]))]
    tokens, scope = split_scope(clause.tokens)
    inner = bared(tokens)  # "in total across both images": the ending shows once the picture is gone
    tokens = inner.tokens or tokens
    clause = replace(
        clause, only=clause.only or inner.only, also=clause.also or inner.also, instead=clause.instead or inner.instead
    )
    if images > 1 and scope == Scope():
        remaining, scope = ordinal_picture(tokens)
        tokens = list(remaining)
    elsewhere = same_elsewhere(tokens, scope)
    if elsewhere is not None:
        return [Draft(Plan(action=elsewhere, scope=scope))]
    for rule in _RULES:
        if clause.told and rule is revise:
            continue
        action = rule(Cursor(tokens))
        if action is not None:
            return [Draft(Plan(action=_toned(action, clause), scope=scope))]
    action = _command(Cursor(tokens))
    if action is not None:
        return [Draft(Plan(action=_toned(action, clause), scope=scope))]
    if clause.told and Cursor(tokens).word() not in ("the", "a"):
        return []
    return [] if clause.told else _bare(tokens, clause, scope)


def _toned(action: Action, clause: Bared) -> Action:
    """What "too", "only" and "instead" make of a plain request."""
    if isinstance(action, Revise) and action.how == "instead" and clause.also:
        return action.model_copy(update={"how": "add"})
    if not isinstance(action, Segment) or action.verb == "where":
        return action
    if clause.also:
        return Revise(how="add", target=action.target)
    if clause.only and mentions(action.target):
        return Revise(how="only", target=action.target)
    return Revise(how="instead", target=action.target) if clause.instead else action


def _command(cursor: Cursor) -> Segment | Count | Exists | None:
    """ "segment the dogs", "follow all the ducks", "which of them ..."."""
    start = cursor.at
    cursor.take("and", "now", "then", "also")
    for table in (lex.FOLLOW, lex.SHOW):
        here = cursor.at
        found = table.match(cursor)
        length = found[0] if found else 0
        while length:
            cursor.at = here + length
            verb = "track" if table is lex.FOLLOW else "segment"
            cursor.take("out", "for me", "me")
            _MASKS.take(cursor)
            if number_at(cursor.moved(cursor.at + 1)) is None:  # "find exactly two": the word belongs to the number
                cursor.take("only", "just", "where", "exactly")
            thing = subject(cursor)
            if thing is not None and finished(cursor):
                return numbered(thing) or Segment(verb=verb, target=wanted(thing))  # type: ignore[arg-type]
            length -= 1
            if length and table.match(Cursor(cursor.tokens[: here + length], here)) is None:
                break
        cursor.at = here
    cursor.at = start
    return None


def _bare(tokens: Sequence[Token], clause: Bared, scope: Scope) -> list[Draft]:
    """Only a thing ("the largest dog"), or only a property ("on the left")."""
    cursor = Cursor(tokens)
    cursor.take("and", "but", "then", "now")
    command = lex.SHOW.match(cursor) or lex.FOLLOW.match(cursor) or lex.COUNT.match(cursor)
    if command and finished(Cursor(tokens, cursor.at + command[0])):
        return []
    if cursor.word() in _NO_NOUNS:
        return []
    thing = subject(cursor)
    if thing is not None and finished(cursor):
        if (asked := numbered(thing)) is not None:
            return [Draft(Plan(action=asked, scope=scope))]
        action: Action = _toned(Segment(target=wanted(thing)), clause)
        return [Draft(Plan(action=action, scope=scope), bare=True)]
    cursor = Cursor(tokens)
    change = modifiers.predicate(cursor)
    if change is not None and finished(cursor):
        target = change(Mention(word="ones"))
        if mentions(target):
            return [Draft(Plan(action=Revise(how="only", target=target), scope=scope), bare=True)]
    return []


def _cut(clause: Bared, images: int) -> list[Draft]:
    """Two requests in one clause: "find the red cars and count them"."""
    tokens = clause.tokens
    for at in range(1, len(tokens) - 1):
        if tokens[at].text not in ("and", ",", "then", "but", "or", "plus"):
            continue
        start = at
        while start < len(tokens) and tokens[start].text in ("and", ",", "then", "also", "please", "but", "or", "plus"):
            start += 1
        if start >= len(tokens) or not _request_starts(Cursor(tokens, start)):
            continue
        first = _parsed(bared(tokens[:at]), images)
        rest = bared(tokens[start:])
        second = (_parsed(rest, images) or _cut(rest, images)) if first else []
        if first and second:
            return [*first, *second]
    return []


def _request_starts(cursor: Cursor) -> bool:
    tables = (lex.SHOW, lex.COUNT, lex.WHERE, lex.FOLLOW, lex.HOW_MANY)
    if cursor.word() in ("is", "are") and cursor.word(1) == "there":
        return True
    return any(table.match(cursor) for table in tables) or cursor.word() in _STARTERS | {
        "leave",
        "exclude",
        "remove",
        "skip",
        "ignore",
    }


def _embedded(clause: Bared, images: int) -> list[Draft]:
    """A request inside other talk: "I'm writing a report and need to know how many dogs there are"."""
    for at in range(1, len(clause.tokens)):
        token = clause.tokens[at]
        if token.kind != "word" or token.text not in _STARTERS or clause.tokens[at - 1].text in lex.ARTICLES:
            continue
        inner = bared(clause.tokens[at:])
        drafts = [draft for draft in _parsed(inner, images) if not draft.bare]
        if drafts and not unseen([t.text for t in inner.tokens]):
            return drafts
    return []


def _trouble(clause: Bared, question: bool) -> Trouble:
    """Why nothing was understood: nothing named, or no question about a picture at all."""
    cursor = Cursor(clause.tokens)
    commands = lex.SHOW.match(cursor) or lex.FOLLOW.match(cursor) or lex.COUNT.match(cursor)
    pictured = any(token.kind == "image" for token in clause.tokens)
    if commands and len(clause.tokens) <= commands[0] + 2:
        return "nothing named"
    if cursor.word() in ("i", "we", "my", "it", "this", "that", "he", "she", "they", "our") and not question:
        return "unclear" if pictured else "unsupported"
    if commands or pictured:
        return "unclear"
    return "unsupported"
