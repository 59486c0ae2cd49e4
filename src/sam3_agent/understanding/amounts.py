"""Questions for an amount: what share of the picture, how big, how much bigger. Tokens -> `MeasureOf`, or None."""

from __future__ import annotations

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding import modifiers, nouns
from sam3_agent.understanding.plan import Concept, MeasureOf
from sam3_agent.understanding.questions import finished
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_ASK = PhraseTable.of(
    "what is|what are|what|which|give me|tell me|calculate|compute|estimate|determine|work out|find|"
    "find out|report|how many|measure|get|show me|how large|how big|i need|i want|about what|roughly what|"
    "approximately what|to what|get me",
    True,
)
_SHARE = PhraseTable.of(
    "fraction|percentage|percent|proportion|share|portion|part|area fraction|area share|area percentage|"
    "per cent|pixel fraction|percentage area|pixel share|percentage share|relative area|coverage|"
    "area coverage|ratio|pct|amount",
    True,
)
_COVER = PhraseTable.of(
    "take up|takes up|cover|covers|occupy|occupies|fill|fills|make up|makes up|account for|accounts for|"
    "span|spans|take|takes|use|uses|covered by|comprise|comprises|represent|represents|consist of|"
    "constitute|constitutes|contain|occupied by|filled by|filled with|covered with|covered in|taken up by|taken by",
    True,
)
_IS_COVERED = PhraseTable.of(
    "is covered by|is covered with|is taken up by|is occupied by|is made up of|is filled by|is filled with|"
    "is taken by|is in|are covered by|consists of|belongs to|is|are|covered by|covered with|taken up by|"
    "occupied by|filled by|filled with|made up of|shows|does|do|contains|is made up by|goes to|"
    "is devoted to|is represented by|represents|is used by|is under|depicts|being|that is|that are|which is|"
    "for|made up by|is composed of|lies under|taken by|that is covered by|that is occupied by|"
    "that is taken up by|which is covered by|that the",
    True,
)
_EXTENTS = {
    "tall": "height",
    "high": "height",
    "wide": "width",
    "broad": "width",
    "long": "width",
    "big": "share",
    "large": "share",
    "small": "share",
    "huge": "share",
}


def measure(cursor: Cursor) -> MeasureOf | None:
    """ "what fraction of the picture is covered by grass", "how big is the dog", "what share of the cars is red"."""
    cursor, pixels = _trimmed(cursor)
    start = cursor.at
    for rule in (_share_of, _how_much, _how_big, _how_much_bigger, _area_of, _ratio):
        cursor.at = start
        found = rule(cursor)
        if found is not None and finished(cursor):
            return found.model_copy(update={"what": "pixels"}) if pixels and found.what == "share" else found
    return None


def _trimmed(cursor: Cursor) -> tuple[Cursor, bool]:
    """Without a verb left at the end ("does the grass cover") and without "in pixels"."""
    tokens = list(cursor.tokens)
    pixels = [token.text for token in tokens[-2:]] == ["in", "pixels"]
    tokens = tokens[:-2] if pixels else tokens
    if tokens and tokens[-1].text in ("cover", "covers", "fill", "fills", "take", "use", "span", "spans", "make"):
        tokens = tokens[:-1]
    return Cursor(tokens, cursor.at), pixels


def _share_of(cursor: Cursor) -> MeasureOf | None:
    if _ASK.take(cursor) is None and cursor.word() not in ("the", "percentage", "fraction", "proportion", "percent"):
        return None
    cursor.take("the", "a")
    if _SHARE.take(cursor) is None:
        return None
    cursor.take("of the area", "of the total area", "of the pixels", "of pixels", "of the total")
    token = cursor.peek()
    if token is not None and token.kind == "image":
        cursor.at += 1
        cursor.take("area", "surface", "space", "frame", "pixels")
        return _covering(cursor)
    if cursor.word() in ("does", "do", "is", "are") and cursor.word(1) != "there":
        cursor.at += 1
        return _covering_thing(cursor)
    if cursor.take("of") is None:
        return None
    subject = nouns.noun_list(cursor)
    if subject is None:
        return None
    if finished(cursor):
        return MeasureOf(target=subject.concept)
    if (
        cursor.word() in lex.COPULAS
        and (covered := Cursor(cursor.tokens, cursor.at))
        and _COVER.match(covered, ahead=1)
    ):
        return None
    change = modifiers.clause(cursor)
    return MeasureOf(target=change(subject.concept), what="ratio", of=subject.concept) if change else None


def _covering(cursor: Cursor) -> MeasureOf | None:
    """After "of the picture": "is covered by grass", "do the cars take up", "is grass"."""
    _IS_COVERED.take(cursor)
    return _covering_thing(cursor)


def _covering_thing(cursor: Cursor) -> MeasureOf | None:
    thing = nouns.noun_list(cursor)
    if thing is None:
        return None
    _COVER.take(cursor)
    cursor.take("together", "combined", "in total")
    _picture(cursor)
    cursor.take("together", "combined", "in total", "covered by", "area")
    return MeasureOf(target=thing.concept)


def _picture(cursor: Cursor) -> None:
    cursor.take("the area of", "the space of", "of the area", "of the space", "in area", "of it")
    token = cursor.peek()
    if token is not None and token.kind == "image":
        cursor.at += 1


def _how_much(cursor: Cursor) -> MeasureOf | None:
    """ "how much of the image is sky", "how much space does the dog take up"."""
    if (
        cursor.take(
            "how much",
            "how large a part",
            "how big a part",
            "how large a share",
            "how large a fraction",
            "how big a share",
            "how large an area",
            "how big an area",
            "how big a fraction",
            "how large a proportion",
            "how large a percentage",
        )
        is None
    ):
        return None
    cursor.take("of the area", "of the space", "area", "space", "room", "of the surface", "of the view")
    token = cursor.peek()
    if token is not None and token.kind == "image":
        cursor.at += 1
        return _covering(cursor)
    if cursor.take("does", "do", "is", "are") is None:
        return None
    cursor.take("covered by", "taken up by", "occupied by", "taken by")
    return _covering_thing(cursor)


def _how_big(cursor: Cursor) -> MeasureOf | None:
    if cursor.take("how") is None or cursor.word() not in _EXTENTS:
        return None
    what = _EXTENTS[cursor.word()]
    cursor.at += 1
    if cursor.take("is", "are", "was", "were") is None:
        return None
    thing = nouns.noun_list(cursor)
    if thing is None:
        return None
    cursor.take(
        "in pixels",
        "compared to",
        "relative to",
        "compared",
        "relative",
        "in relation",
        "in relation to",
        "in comparison to",
        "as a fraction",
        "as a percentage",
        "as a share",
        "in proportion to",
        "compared with",
        "as part",
    )
    _picture(cursor)
    return MeasureOf(target=thing.concept, what=what)  # type: ignore[arg-type]


def _how_much_bigger(cursor: Cursor) -> MeasureOf | None:
    """ "how much bigger is the sofa than the table": the ratio of their areas."""
    if cursor.take("how much", "how many times", "by how much") is None or cursor.word() not in lex.COMPARATIVES:
        return None
    by, _ = lex.COMPARATIVES[cursor.word()]
    cursor.at += 1
    if cursor.take("is", "are") is None:
        return None
    first = nouns.item(cursor)
    second = nouns.item(cursor) if first and cursor.take("than") else None
    if first is None or second is None:
        return None
    return MeasureOf(target=first.concept, what="size ratio", of=second.concept, by=by)  # type: ignore[arg-type]


def _ratio(cursor: Cursor) -> MeasureOf | None:
    """ "the ratio of dogs to cats": of their numbers."""
    _ASK.take(cursor)
    cursor.take("the numerical", "the")
    if cursor.take("ratio of the number of", "ratio of", "ratio between", "proportion of") is None:
        return None
    first = nouns.item(cursor)
    second = nouns.item(cursor) if first and cursor.take("to the number of", "to", "and", "versus", "vs") else None
    if first is None or second is None:
        return None
    return MeasureOf(target=first.concept, what="number ratio", of=nouns.bound(second.concept, first.concept))


def _area_of(cursor: Cursor) -> MeasureOf | None:
    """ "measure the sofa", "what is the area of the sky in pixels"."""
    asked = _ASK.take(cursor) or cursor.word() == "the"
    command = cursor.word(-1) in ("measure", "estimate") if cursor.at else False
    cursor.take("the")
    named = cursor.take(
        "total area of",
        "combined area of",
        "area of",
        "size of",
        "area taken up by",
        "area covered by",
        "surface of",
        "relative size of",
        "surface area of",
        "area occupied by",
        "height of",
        "width of",
        "relative area of",
        "pixel area of",
        "coverage of",
        "area that is covered by",
        "space taken up by",
        "space occupied by",
    )
    if not asked or not (named or command):
        return None
    thing: Concept | None = None
    found = nouns.noun_list(cursor)
    if found is not None:
        thing = found.concept
    pixels = cursor.take("in pixels", "in square pixels") is not None
    cursor.take(
        "relative to", "compared to", "as a fraction", "as a percentage", "as a share", "in relation to", "in percent"
    )
    _picture(cursor)
    if thing is None:
        return None
    what = {"height of": "height", "width of": "width"}.get(named or "", "pixels" if pixels else "share")
    return MeasureOf(target=thing, what=what)  # type: ignore[arg-type]
