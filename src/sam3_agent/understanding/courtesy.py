"""What people say around a request: greetings, thanks, reasons. Taken off before the grammar looks.

`bared` returns the clause without it, and two things the words meant all the same: "only", and "tell me" (after
which a thing alone is no request to outline it). Called by `grammar.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.framing import framed, spoken
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token

_BEFORE = PhraseTable.of(
    "hello there|hello everyone|hello agent|hello|good morning|good afternoon|good evening|good day|"
    "dear agent|greetings|please|kindly|could you please|can you please|would you please|could you kindly|"
    "could you|can you|would you|will you|are you able to|is it possible to|would it be possible to|"
    "be so kind as to|be so kind to|be kind enough to|would you be so kind as to|would you be so kind to|"
    "would you mind|mind|do you think you could|do you mind|i would like you to|i want you to|i need you to|"
    "i would appreciate it if you could|i would appreciate if you could|i would be grateful if you could|"
    "i would be glad if you could|i was wondering if you could|i was hoping you could|i wonder if you could|"
    "i wonder if you can|it would be great if you could|it would be nice if you could|"
    "i would love it if you could|may i ask you to|may i ask|can i ask you to|can i ask|could i ask you to|"
    "help me to|help me|help us|please help me|go ahead and|go and|try to|try and|your task is to|ok|okay|"
    "so|well|um|uhm|uh|hmm|erm|er|ehm|what up|what is up|sup|alright|all right|actually|sorry|oops|thanks|thank you|great|cool|nice|perfect|"
    "oh|ah|wait|yes|yeah|yep|good|super|awesome|excellent|wonderful|brilliant|lovely|right then|next|then|"
    "finally|of course|sure|indeed|first of all|first|to start|to begin with|for starters|quick question|"
    "question|one more thing|one more|by the way|btw|lol|haha|mate|buddy|friend|dude|bro|man can you|"
    "in that case|let us|now then|for now|this time|if you can|if possible|i think|i guess|maybe|basically|"
    "simply|just quickly|quickly|and then|a favour|i have a question|if you do not mind|if you would|"
    "as a next step|second|thirdly|secondly|the task|task|request|query|hey there|hey you|hey|yo|morning|"
    "evening|afternoon|dear all|dear|sir|madam|i am sorry but|i am sorry|excuse me|pardon me|pardon|"
    "my apologies|apologies|be a dear and|be a star and|feel free to|make sure to|make sure you|be sure to|"
    "remember to|do not forget to|i would ask you to|i beg you to|i request you to|you should|you must|"
    "you need to|you have to|want you to|to be precise|specifically|a quick one|in this case|if you could|"
    "if you can please|when you have a moment|when you get a chance|whenever you have time|given",
    True,
)
_TELL = PhraseTable.of(
    "tell me if|tell me whether|tell me|let me know if|let me know whether|let me know|do you know if|"
    "do you know whether|do you know|i want to know if|i want to know whether|i want to know|"
    "i need to know if|i need to know whether|i need to know|i would like to know if|"
    "i would like to know whether|i would like to know|i wonder if|i wonder whether|i wonder|any idea if|"
    "any idea|can i know|say if|say whether|say|find out if|find out whether|find out|check if|"
    "check whether|see if|see whether|determine if|determine whether|determine|work out|figure out|"
    "i am wondering if|i am wondering whether|i am wondering|i was wondering if|i was wondering|can you say|"
    "inform me|inform me if|i am curious if|i am curious whether|i am curious|i am trying to find out|"
    "i am trying to figure out|i have to know|we need to know|we want to know|report if|report whether|"
    "report|explain to me|answer this|answer me|curious|i am asking|verify whether|verify if|"
    "i need to find out|i want to find out|i would love to know|could i know|remind me",
    True,
)
_ENDINGS = (
    "out|please|thanks|thank you|thank you very much|thank you so much|thanks a lot|thanks so much|"
    "many thanks|thanks in advance|thank you in advance|for me|for us|here|in here|over here|if you can|"
    "if possible|if you do not mind|if you would|would you|will you|can you|could you|ok|okay|asap|"
    "right-now|right now|as soon as possible|urgent|urgently|very urgent|immediately|right away|straight away|cheers|mate|buddy|dude|bro|sir|nothing else|"
    "and nothing else|and nothing more|nothing more|only|alone|and that is all|that is all|that is it|"
    "in total|altogether|overall|all together|in all|now|too|as well|also|again|instead|then|this time|"
    "at once|quickly|exactly|at the moment|for a moment|to me|lol|haha|hello|hey|xx|x|man|friend|agent|"
    "and only those|and only them|there|in there|and so on|and thanks|with masks|with a mask|"
    "with masks please|with their masks|with an outline|with outlines|with a box|with boxes|"
    "please and thank you|much appreciated|appreciated|i beg you|be quick|quick|real quick|for my report|"
    "for a report|for the report|by any chance|in your opinion|at all|or not|yes|right|correct|true|eh|"
    "you see|you know|or so|individually|separately|one by one|as masks|as a mask|"
    "with segmentation masks|precisely|carefully|accurately|if any|if there are any|if there is one|"
    "whatsoever|in question|out there|people please|you can see|you can find|that you can find|"
    "that you can see|you see|that you see|that you find|you find|that are there|that there are|"
    "that there is|there are|i would appreciate it|i appreciate it|that would be great|"
    "that would be nice|that would be lovely|and nothing other|no more|no others|and no others|"
    "and no more|each|each one|from each other|segmented|highlighted|outlined|masked|masked out|marked|"
    "shown|detected|found|to be segmented|to be highlighted|to be outlined|to be marked|"
    "from start to finish|from beginning to end|from start to end|over time|the whole time|"
    "over the course|during the course|frame by frame|all the way through|all along|at any point|"
    "at any time|at some point|from the start to the end|of course|sure|pretty please|when you can|"
    "kindly|appreciate it|ta|yeah|huh"
)
_AFTER: dict[str, list[tuple[str, ...]]] = {}  # by their last word, the longest first
for _ending in sorted((tuple(phrase.split()) for phrase in _ENDINGS.split("|")), key=len, reverse=True):
    _AFTER.setdefault(_ending[-1], []).append(_ending)
_REASONS = PhraseTable.of(
    "because|since i|since we|since my|since it|since they|so that|so i|so we|so my|as i|as we|as my|"
    "as part of|in order to|i need|i want|i have|i am|i will|i would|i do not|we need|we want|we are|"
    "we have|my boss|my teacher|my wife|my husband|my kid|my daughter|my son|my friend|my mum|my mom|for my|"
    "for our|for the report|for a report|for the insurance|for insurance|for an insurance|for school|"
    "for work|for a project|for the project|for a presentation|for the presentation|for a paper|"
    "for research|for the records|for the record|for a client|for an article|for a school|for the police|"
    "for later|for a study|before i|before we|it is for|it is important|it is urgent|it is very|this is for|"
    "this is important|this is urgent|that is for|which i need|which we need|which i will|to report|"
    "to write|to put in|to include in|to use in|to use it|to fill|to help|if not tell|otherwise|he wants|"
    "she wants|they want|he asked|she asked|they asked|need it|needed for|needed it|as it is|as they are|"
    "cause i|hurry|do not worry|no need|or else|even though|although|though|just curious|just wondering|"
    "curious to|curious because|thanks|thank you|my report|to check|to verify|to make sure|to see whether|"
    "to see if|for comparison|for safety|for reference|for documentation|for a friend|for fun|for a blog|"
    "for a course|for a class|for homework|for the blog|for statistics|for the statistics|for an exam|"
    "for inventory|for the inventory|for our|for your|i promised|i promise|i bet|i think|i guess|i hope|"
    "i believe|it matters|it is kind|you are|your help|we will|we would|he needs|she needs|they need",
    True,
)
_ASIDE = lex.words("i we he she they it you")


@dataclass
class Bared:
    """A clause without its courtesies; `only` and `told` are what they meant."""

    tokens: list[Token]
    only: bool = False
    told: bool = False
    also: bool = False
    instead: bool = False


def bared(tokens: Sequence[Token]) -> Bared:
    """The clause without greetings, thanks and reasons."""
    result = Bared(_without_ornament([t for t in tokens if not (t.kind == "mark" and t.text in ".?!;")]))
    result.tokens = spoken(result.tokens)
    _strip_before(result)
    _strip_reason(result)
    _strip_after(result)
    result.tokens = framed(result.tokens)
    return result


def _without_ornament(tokens: list[Token]) -> list[Token]:
    """Emoji before a question: the thing of "🐔 how many?", and ornament where the question names a thing itself."""
    start = next((at for at, token in enumerate(tokens) if token.kind != "emoji"), 0)
    rest = tokens[start:]
    asks = start and rest and rest[0].text in _STARTS
    if not asks:
        return tokens
    if all(token.text in _EMPTY_QUESTION or token.kind in ("mark", "image") for token in rest):
        return [*rest[:2], *tokens[:start], *rest[2:]] if rest[0].text == "how" else [*rest, *tokens[:start]]
    return rest


def _strip_before(result: Bared) -> None:
    cursor = Cursor(result.tokens)
    while not cursor.done:
        if cursor.take(",", ":") or _picture_first(result, cursor):
            continue
        if cursor.word() in _GERUNDS and cursor.word(-1) == "mind":
            result.tokens[cursor.at] = Token(_GERUNDS[cursor.word()])
            cursor = Cursor(result.tokens, cursor.at)
        if cursor.word() in ("just", "only") and cursor.word(1) in ("count", "how", "tell", "segment", "find", "list"):
            cursor.at += 1
            continue
        told = _TELL.match(cursor)
        found = _BEFORE.match(cursor)
        if told and (not found or told[0] >= found[0]):
            cursor.at += told[0]
            result.told = True
        elif found and not _keeps(cursor, found[0]):
            cursor.at += found[0]
        else:
            break
    doubted = result.told and cursor.word(-1) in ("if", "whether")
    result.tokens = result.tokens[cursor.at :]
    if doubted:
        _ask(result)


def _ask(result: Bared) -> None:
    """ "(tell me whether) the cups are white" -> "are the cups white"."""
    tokens = result.tokens
    if (
        not tokens
        or tokens[0].text in {"there", "it", "this", "that"} | (_STARTS - {"the"})
        or tokens[0].kind == "image"
    ):
        return
    verbs = lex.COPULAS | {"has", "have", "does", "do", "can"}
    at = next((at for at, token in enumerate(tokens) if at and token.text in verbs), None)
    if at is not None and tokens[at - 1].text not in ("that", "who", "which"):
        result.tokens = [tokens[at], *tokens[:at], *tokens[at + 1 :]]
    elif at is None and any(token.text in _VERBS for token in tokens[1:]):
        result.tokens = [Token("does"), *tokens]


def _keeps(cursor: Cursor, length: int) -> bool:
    """Words that look like courtesy but carry the request: "can you see any", "first image", "second car"."""
    word, after = cursor.word(), cursor.word(length)
    if word in ("can", "could", "do") and after in ("see", "spot"):
        return cursor.word(length + 1) not in ("the", "if", "whether", "what", "how", "where")
    if word in ("first", "second", "next", "nice", "good", "great", "perfect", "right", "man", "friend", "dear", "query", "mind",
                "cool", "quickly", "question", "task", "morning", "evening", "given", "well", "request", "sir"):  # fmt: skip
        token = cursor.peek(length)
        return not (token is not None and (token.kind == "mark" or token.text in _STARTS))
    if word == "so" and after == "kind":
        return False
    return False


_VERBS = lex.words(
    "wears wear holds hold carries carry rides ride sits stands lies wore held contains shows appears exists"
)
_STARTS = lex.words(
    "segment find show highlight mark mask outline select how count is are which what where can could "
    "please the track follow detect locate give i tell now do does"
)


_EMPTY_QUESTION = lex.words(
    "how many are there do you see can i we please count find show where segment highlight is the them me these those it all any"
)

_GERUNDS = {
    "showing": "show", "finding": "find", "segmenting": "segment", "highlighting": "highlight", "outlining": "outline",
    "marking": "mark", "counting": "count", "selecting": "select", "tracking": "track", "following": "follow",
    "telling": "tell", "pointing": "point", "locating": "locate", "giving": "give", "checking": "check",
    "masking": "mask", "identifying": "identify", "picking": "pick", "detecting": "detect", "circling": "circle",
    "getting": "get", "labelling": "label", "looking": "look", "helping": "help", "measuring": "measure",
}  # fmt: skip


def _picture_first(result: Bared, cursor: Cursor) -> bool:
    """ "In the first picture, segment ...", "picture 2: ...": the picture moves to the end of the clause."""
    token = cursor.peek()
    if token is None or token.kind != "image":
        return False
    if not token.preposition and cursor.word(1) not in (":", ","):
        return False
    tokens = result.tokens
    moved = replace(token, preposition=token.preposition or "in")
    result.tokens = [*tokens[: cursor.at], *tokens[cursor.at + 1 :], moved]
    at = cursor.at
    cursor.__init__(result.tokens, at)  # type: ignore[misc]
    return any(t.kind != "image" for t in result.tokens[at:])


def _strip_reason(result: Bared) -> None:
    """Cut the clause where the reason begins ("... because I need to report it")."""
    cursor = Cursor(result.tokens, 1)
    while not cursor.done:
        aside = (
            cursor.word() == ","
            and cursor.word(1) in _ASIDE
            and cursor.word(2) in lex.COPULAS | lex.AUXILIARIES | lex.HAVE
        )
        if aside and cursor.at:
            result.tokens = result.tokens[: cursor.at]
            return
        found = _REASONS.match(cursor)
        if found and not _belongs(cursor):
            end = cursor.at
            while end and result.tokens[end - 1].text in (",", "and", "but", "-"):
                end -= 1
            result.tokens = result.tokens[:end]
            return
        cursor.at += 1


def _belongs(cursor: Cursor) -> bool:
    """Words inside the request itself: "that I am", "can I see", "do I need"."""
    before = cursor.word(-1)
    if before in ("that", "can", "could", "do", "should", "may", "and", "but") and cursor.word() in (
        "i",
        "we",
        "you",
        "they",
    ):
        return before not in ("and",)
    return (before in ("is", "are", "it") and cursor.word() != "because") or (
        cursor.word() in ("though", "although") and False
    )


def _strip_after(result: Bared) -> None:
    changed = True
    while changed and result.tokens:
        changed = False
        # "find the chicken and": whatever was to follow did not; what was said is done
        while result.tokens and (
            result.tokens[-1].text in (",", ":") or result.tokens[-1].text in ("and", "but", "or")
        ):
            result.tokens.pop()
        texts = tuple(token.text for token in result.tokens if token.kind != "image")
        if len(texts) != len(result.tokens):
            texts = tuple(token.text if token.kind != "image" else "\0" for token in result.tokens)
        for phrase in _AFTER.get(texts[-1], ()) if texts else ():
            size = len(phrase)
            if texts[-size:] == phrase and size < len(texts) and not _needed(texts, phrase):
                result.only = result.only or phrase in (("only",), ("alone",))
                result.also = result.also or phrase in (("too",), ("also",), ("as", "well"))
                result.instead = result.instead or phrase == ("instead",)
                del result.tokens[-size:]
                changed = True
                break


_WISHED = lex.words("segmented highlighted outlined masked marked shown detected found")


def _needed(texts: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Whether the words before make the last ones part of the request ("the man", "all there", "to the right")."""
    before = texts[-len(phrase) - 1] if len(texts) > len(phrase) else ""
    if phrase in (
        ("man",),
        ("friend",),
        ("agent",),
        ("right",),
        ("x",),
        ("each",),
        ("mate",),
        ("buddy",),
        ("correct",),
        ("true",),
    ):
        return before not in (",", "thanks", "please", "hello")
    if phrase == ("out",):
        return texts[0] not in ("pick", "cut", "mask", "point", "single", "call", "filter", "mark")
    if phrase[-1] in _WISHED:
        return texts[0] not in ("i", "we")
    if phrase == ("there",) or phrase == ("there", "are") or phrase == ("you", "see"):
        return before in ("is", "are", "many", "can", "do", "who", "what")
    if phrase == ("here",):
        return before in ("is",)
    return before in ("the", "a") or (phrase[0] in ("for", "in", "with") and before in ("is", "are"))
