"""The typed plan: what a query asks for, before anybody looks at a picture.

The grammar (`grammar.py`) fills it, `references.py` replaces the words that point back ("them", "the other
image"), `sam3_agent.execution` carries it out. A plan is data: frozen, comparable, JSON in both directions
(`Plan.model_validate_json`), with a schema a language model can be held to (`Plan.model_json_schema()`), and it
says itself in words (`str(plan)`, see `wording.py`).

    >>> from sam3_agent.understanding import understand
    >>> print(understand("how many red cars are left of the bus?").plan)
    count the red cars left of the bus
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Node(BaseModel):
    """A frozen part of a plan; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what is meant: concept expressions --------------------------------------------------------------------


class Phrase(Node):
    """A noun phrase that the engine can ground as it stands: "red car", "person wearing glasses"."""

    kind: Literal["phrase"] = "phrase"
    noun: str
    attributes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    plural: bool = True

    @property
    def text(self) -> str:
        """The words that go to the engine."""
        return " ".join((*self.attributes, self.noun, *self.details))


class Mention(Node):
    """Words that point at something said before; none is left in a resolved plan."""

    kind: Literal["mention"] = "mention"
    word: Literal["it", "them", "one", "ones", "other", "others", "everything"]


class Filtered(Node):
    """The members of `base` that pass `by`."""

    kind: Literal["filtered"] = "filtered"
    base: Concept
    by: Filter


class AnyOf(Node):
    """The members of all parts together. `joint` keeps "and" apart from "or" for yes/no questions."""

    kind: Literal["any_of"] = "any_of"
    parts: tuple[Concept, ...]
    joint: Literal["and", "or"] = "and"


class Without(Node):
    """The members of `base` that are not members of `minus` (compared by mask)."""

    kind: Literal["without"] = "without"
    base: Concept
    minus: Concept


Concept = Annotated[Phrase | Mention | Filtered | AnyOf | Without, Field(discriminator="kind")]

# --- filters -------------------------------------------------------------------------------------------------

Measure = Literal["area", "width", "height", "length"]
Comparison = Literal[">", ">=", "<", "<=", "="]
RelationName = Literal[
    "left of", "right of", "above", "below", "on", "under", "inside", "next to", "between",
    "touching", "in front of", "behind", "around", "with",
]  # fmt: skip
RegionName = Literal[
    "left", "right", "top", "bottom", "middle", "top left", "top right", "bottom left", "bottom right",
    "left third", "right third", "top third", "bottom third", "edge", "corner",
    "top left corner", "top right corner", "bottom left corner", "bottom right corner",
]  # fmt: skip
RankKey = Literal["area", "width", "height", "length", "left", "right", "top", "bottom", "near", "middle", "score"]


class Attribute(Node):
    """A property the engine sees ("red", "wearing a hat"); `where` says on which side of the noun it stands."""

    kind: Literal["attribute"] = "attribute"
    text: str
    where: Literal["before", "after"] = "before"
    negated: bool = False


class Relation(Node):
    """A place relative to another thing; `second` is the other end of "between A and B"."""

    kind: Literal["relation"] = "relation"
    name: RelationName
    landmark: Concept
    second: Concept | None = None
    negated: bool = False


class Region(Node):
    """A part of the picture; with `pick` the single best one there ("the cup on the left")."""

    kind: Literal["region"] = "region"
    name: RegionName
    pick: bool = False
    negated: bool = False


class Size(Node):
    """A bound on a measure, as a share of the picture (0..1) or in pixels."""

    kind: Literal["size"] = "size"
    measure: Measure = "area"
    comparison: Comparison
    value: float
    upper: float | None = None
    unit: Literal["share", "pixels"] = "share"
    negated: bool = False


class Than(Node):
    """A comparison of a measure with another thing ("bigger than the dog")."""

    kind: Literal["than"] = "than"
    measure: Measure = "area"
    comparison: Comparison
    landmark: Concept
    factor: float = 1.0
    negated: bool = False


class Rank(Node):
    """Places `first` .. `first + count - 1` in an order; `count` None: the group that stands out.

    `by` left/right/top/bottom orders from that side; near: by the gap to `landmark`; middle: by the distance
    from the centre. `reverse` turns the order round ("smallest", "farthest").
    """

    kind: Literal["rank"] = "rank"
    by: RankKey
    reverse: bool = False
    first: Annotated[int, Field(ge=1)] = 1
    count: Annotated[int | None, Field(ge=1)] = 1
    landmark: Concept | None = None
    region: RegionName | None = None


Filter = Annotated[Attribute | Relation | Region | Size | Than | Rank, Field(discriminator="kind")]

# --- what to do with it ----------------------------------------------------------------------------------------


class Claim(Node):
    """One statement that can be true or false: how many of `target` there are.

    With `of`, all members of it must be in `target` ("all the dogs are sitting"); with `most` as well, more than this
    share of them ("most of the dogs are sitting": 0.5), or less than it where it is negative.
    """

    words: str
    target: Concept
    at_least: Annotated[int, Field(ge=0)] = 1
    at_most: Annotated[int | None, Field(ge=0)] = None
    of: Concept | None = None
    most: float | None = None
    versus: Concept | None = None
    versus_ask: Literal["more", "fewer", "equal"] = "more"


class Segment(Node):
    """Find and outline; in a video, follow."""

    verb: Literal["segment", "where", "track"] = "segment"
    target: Concept


class Count(Node):
    """How many; in a video, how many distinct ones, or with `at_once` the most (fewest) that one frame shows."""

    verb: Literal["count"] = "count"
    target: Concept
    at_once: Literal["most", "fewest"] | None = None


class Exists(Node):
    """Yes or no: do all claims hold (`joint` "or": does any)? `at_once`: of a clip, in one of its frames."""

    verb: Literal["exists"] = "exists"
    claims: tuple[Claim, ...]
    joint: Literal["and", "or"] = "and"
    at_once: bool = False


class Verify(Node):
    """A description against the picture, claim by claim; `unjudged` is what masks cannot decide."""

    verb: Literal["verify"] = "verify"
    claims: tuple[Claim, ...]
    unjudged: tuple[str, ...] = ()


class MeasureOf(Node):
    """How much: area as a share of the picture, pixels, or the share of `of` that is also `target`.

    "size ratio" and "number ratio" divide by what `of` has, the first of them measured `by`.
    """

    verb: Literal["measure"] = "measure"
    target: Concept
    what: Literal["share", "pixels", "width", "height", "ratio", "size ratio", "number ratio"] = "share"
    of: Concept | None = None
    by: Measure = "area"


class CompareCounts(Node):
    """Numbers of two things in the same picture; `factor` times the second ("twice as many dogs as cats": 2)."""

    verb: Literal["compare counts"] = "compare counts"
    parts: tuple[Concept, ...]
    ask: Literal["more", "fewer", "equal", "at least", "at most", "difference", "gap", "which more", "which fewer"]
    factor: float = 1.0


class CompareSizes(Node):
    """Sizes or places of two things in the same picture; by "near", how far they are from `landmark`."""

    verb: Literal["compare sizes"] = "compare sizes"
    parts: tuple[Concept, ...]
    by: RankKey = "area"
    reverse: bool = False
    landmark: Concept | None = None
    ask: Literal["which", "whether"] = "which"


class CompareImages(Node):
    """The same question to several pictures: which one has the most, how do two differ."""

    verb: Literal["compare images"] = "compare images"
    target: Concept
    ask: Literal[
        "most", "fewest", "has", "how many", "difference", "gap", "more", "fewer", "equal", "largest", "smallest"
    ]
    at_least: Annotated[int, Field(ge=0)] = 1
    at_most: Annotated[int | None, Field(ge=0)] = None


class When(Node):
    """When a thing of a clip appears or was last seen, how long it shows, or when the most (fewest) show at once.

    `last`: of several, the last one; `count`: when so many show at once.
    """

    verb: Literal["when"] = "when"
    target: Concept
    moment: Literal["appears", "leaves", "shows", "most", "fewest"] = "appears"
    last: bool = False
    count: Annotated[int, Field(ge=1)] | None = None


Revision = Literal["only", "without", "add", "instead", "same", "undo", "reset", "complement"]


class Revise(Node):
    """A change to what was asked before ("only the red ones"); none is left in a resolved plan."""

    verb: Literal["revise"] = "revise"
    how: Revision
    target: Concept | None = None


Action = Annotated[
    Segment | Count | Exists | Verify | MeasureOf | CompareCounts | CompareSizes | CompareImages | Revise | When,
    Field(discriminator="verb"),
]


class Scope(Node):
    """Which pictures are meant. `numbers` are 0-based in order of arrival, and final once resolved.

    `at` keeps what was said: "unsaid", "numbers" (-1 is the last), "all", "other", "this" (what arrives now).
    `every` asks for all of them to agree ("in both pictures?"); `frame` picks one frame of a video; `between` a part of it,
    seconds from its start (a negative start counts from the end; None: to the end).
    """

    at: Literal["unsaid", "numbers", "all", "other", "this"] = "unsaid"
    numbers: tuple[int, ...] = ()
    every: bool = False
    frame: int | None = None
    between: tuple[float, float | None] | None = None


class Plan(Node):
    """One thing to do, on which pictures."""

    action: Action
    scope: Scope = Scope()

    def __str__(self) -> str:
        from sam3_agent.understanding.wording import describe_plan

        return describe_plan(self)


for _model in (Filtered, AnyOf, Without, Claim, Relation, Than, Rank, Segment, Count, Exists, Verify, MeasureOf,
               CompareCounts, CompareSizes, CompareImages, Revise, When, Plan):  # fmt: skip
    _model.model_rebuild()
