"""Clauses that name nothing to look for: thanks, "here it is", "what do you see", "the same for the other one".

Told apart by phrase tables; called by `grammar.py` before and after its rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.plan import Revise, Scope
from sam3_agent.understanding.questions import finished
from sam3_agent.understanding.tokens import Cursor, PhraseTable, Token

_DELIVERY = PhraseTable.of(
    "here it is|here you go|here is|here are|there you go|there it is|here they are|attached|see attached|"
    "i forgot|forgot|i have attached|i attached|i am attaching|it is attached|this is|that is|these are|"
    "now attached|here|with|i uploaded|i have uploaded|uploaded|i have added|i added|i have now added|"
    "i have now attached|i have sent|i am sending|sending it|sending|i did not attach|my bad|let me attach|"
    "adding it|adding|i meant to attach|i will attach|i wanted to attach|i meant this|take this|use this|"
    "try this|have a look|have it|please find|find attached|you will find|done|look at this|"
    "i thought i attached|now you have|now it is attached|now it should|it should be|should be here|"
    "it was missing|i missed|missed",
    True,
)
_IDLE = PhraseTable.of(
    "nothing else|nothing more|no more|that is all|that is it|thanks|thank you|cheers|please|hello|bye|"
    "nothing besides|i mean it|great|good|nice|cool|perfect|i see|no others|no other|much appreciated|"
    "appreciated|ok|no thanks|have a nice day|have a good day|you are great|well done|good job|good work|"
    "that would be great|that would be lovely|i appreciate it|sorry|just those|just that|only those|"
    "only that|is that possible|is that ok|can you do that|would that be possible|got it|"
    "i hope that is clear|hope that makes sense|it is urgent|hurry|quickly|no rush|and nothing else|"
    "all good|a quick question|quick question|question|help|can you help|can you help me|could you help me|"
    "could you help|i need help|i need your help|i have a question|how are you|i need your help with this|"
    "let us go|look|look at|have a look|take a look|no idea|no worries",
    True,
)
_OPEN = PhraseTable.of(
    "what do you see|what can you see|what is in|what is this|what is that|what is it|describe|"
    "what is shown|what is there|what is on|what is here|caption|what are these|what are those|"
    "what is visible|what can be seen|what objects|which objects|what things|what are they|"
    "tell me what you see|what is next to|what is under|what is behind|what is between|what is left of|"
    "what is right of|what is to the left|what is to the right|what have we got|what have you got|"
    "what do we have|what is going on|what else|what is above|what is below|what is inside|"
    "what is in front of|analyse|analyze|look at|list everything|segment everything|find everything|"
    "show everything|what does",
    True,
)
_SAME = PhraseTable.of(
    "only|just|now only|now just|but only|the same|do the same|same|same thing|repeat|repeat that|and|now|then|what about|how about|do that|"
    "do it|again|also|same question|and what about|do it again|do that again|now do the same|the same thing|"
    "and now|now the same|do this|do likewise|likewise|ditto|do the same thing|and the same|try|try it|"
    "try that|please do the same|same again|once more|and how about|what is it|how does it look|repeat this|"
    "repeat it|repeat the same|now try|the same question|now do it|now do that|and do the same|but|"
    "now repeat that|now repeat it|show|show me|switch to|go to|use|now use|what of|how is it|"
    "apply the same|apply it|do exactly the same|exactly the same|the same please|same please|run it|"
    "run that|perform the same|now look|look|instead|can you do the same|try the same|show me the same|"
    "show the same",
    True,
)


def idle(tokens: Sequence[Token]) -> bool:
    """Whether a clause is nothing but courtesy ("nothing else, thank you")."""
    cursor = Cursor(tokens)
    while _IDLE.take(cursor) or cursor.take(","):
        pass
    return cursor.at > 0 and finished(cursor)


def delivers(tokens: Sequence[Token]) -> bool:
    """ "here it is", "sorry, I forgot the picture", "this is the picture"."""
    cursor = Cursor(tokens)
    cursor.take("sorry", "oops", "and", "but", "now")
    if _DELIVERY.take(cursor) is None:
        return False
    if cursor.word(-1) in ("here", "is", "are", "with"):
        token = cursor.peek()
        return cursor.done or (token is not None and token.kind == "image") or (cursor.word() in ("another", "one", "now", "the", "you", "it") and (
            len(tokens) < 5
        ))  # fmt: skip
    return not any(token.text in ("how", "segment", "find", "count", "which") for token in tokens)


def open_question(tokens: Sequence[Token]) -> bool:
    """ "what do you see", "segment everything": about the picture, but naming nothing."""
    cursor = Cursor(tokens)
    if _OPEN.take(cursor) is None:
        return False
    if cursor.word(-1) in ("in", "does", "is", "there", "on", "at", "caption", "describe", "analyse", "analyze"):
        token = cursor.peek()
        return (
            cursor.done or (token is not None and token.kind == "image") or cursor.word(-1) == "on" or finished(cursor)
        )
    return True


def same_elsewhere(tokens: Sequence[Token], scope: Scope) -> Revise | None:
    """ "the same for the second picture", "and the other image?": nothing but a scope."""
    cursor = Cursor(tokens)
    _SAME.take(cursor)
    said = {token.text for token in tokens[: cursor.at]}
    if scope == Scope() and not said & {"same", "repeat", "ditto", "likewise"}:
        return None
    return Revise(how="same") if finished(cursor) else None


def ordinal_picture(tokens: Sequence[Token]) -> tuple[Sequence[Token], Scope]:
    """ "what about the second one?" with several pictures on the table."""
    cursor = Cursor(tokens)
    if not cursor.take("what about", "how about", "and what about", "and how about", "and", "now"):
        return tokens, Scope()
    before = cursor.at
    cursor.take("the")
    number = lex.ORDINALS.get(cursor.word())
    if number is not None and cursor.word(1) == "one" and finished(Cursor(tokens, cursor.at + 2)):
        return tokens[:before], Scope(at="numbers", numbers=(number if number < 0 else number - 1,))
    return tokens, Scope()
