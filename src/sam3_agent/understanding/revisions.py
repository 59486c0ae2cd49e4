"""Follow-ups that change what was asked before: "only the red ones", "and cats?", "the same for the second image".

Tokens -> `Revise`, or None. What "before" was is not known here; `references.py` applies the change.
"""

from __future__ import annotations

from sam3_agent.understanding import chunks, modifiers, nouns
from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.plan import Concept, Mention, Phrase, Revise
from sam3_agent.understanding.questions import finished, subject
from sam3_agent.understanding.tokens import Cursor, PhraseTable

_LEAD = lex.words("now and then ok okay but so no yes well actually again sorry please wait hmm oh")
_RESET = PhraseTable.of(
    "go back to all of them|go back to all|back to all of them|back to all|go back to the beginning|"
    "go back to the start|start over|reset|reset it|reset that|reset everything|start again|"
    "start from scratch|all of them again|show all of them again|show me all of them again|"
    "go back to the first result|go back to the original|go back to the original result|"
    "back to the original|back to the start|back to the beginning|go back to everything|back to everything|"
    "show all again|show everything again|restore all|restore all of them|bring them all back|"
    "bring all of them back|undo all|undo everything|undo all of that|all again|remove the filter|"
    "remove all filters|remove the filters|drop the filter|clear the filter|clear the filters|"
    "go back to the full set|return to all of them|return to all|revert to all|revert to all of them|"
    "back to the full set|forget the filter|show them all again|them all again|all of them|show all of them|"
    "show me all of them|show me them all|show them all|go back to all the results|revert everything|"
    "go back to where we started|restore everything|back to square one|go all the way back|"
    "bring everything back|the whole set again|go back to them all|forget that and show all of them|"
    "let us start over|undo all the changes|return to the original|revert to the original|"
    "return to the beginning|return to the start",
    True,
)
_UNDO = PhraseTable.of(
    "undo|undo that|undo it|undo this|undo the last step|undo the last one|undo the last change|undo last|"
    "go back|go back one step|go back a step|go one step back|one step back|step back|back|revert|"
    "revert that|revert it|revert the last change|take that back|cancel that|cancel|cancel the last step|"
    "never mind|nevermind|never mind that|scratch that|forget that|the previous result|"
    "show the previous result|show me the previous result|go back to the previous result|"
    "back to the previous result|go back to the previous one|go back to what we had|"
    "go back to what we had before|go back to before|as before|like before|back to before|"
    "go back to how it was|what we had before|restore the previous result|restore|restore that|restore it|"
    "bring it back|bring them back|put it back|put them back|reverse that|roll back|rollback|ctrl z|"
    "no go back|return to the previous result|return to the previous one|go back please|disregard that|"
    "that was wrong undo it|oops undo|go back to the last one|restore them|show the last result again|"
    "show what we had before|the one before|go back to that|revert the last step|undo the filter|"
    "undo the change|forget the last step|take it back|return|go back to the last result|i changed my mind|"
    "that was a mistake|previous|show me what we had before",
    True,
)
_ONLY = PhraseTable.of(
    "only keep|keep only|keep just|only show me|only show|show only|show me only|show just|show me just|"
    "just show me|just show|only|just|restrict it to|restrict that to|restrict to|restrict them to|"
    "narrow it down to|narrow down to|narrow that down to|limit it to|limit to|limit that to|limit them to|"
    "filter to|filter for|filter them to|filter it to|filter by|reduce it to|reduce to|reduce that to|"
    "leave only|leave just|only leave|keep|only want|just want|i only want|i just want|i only need|"
    "highlight only|only highlight|segment only|only segment|mark only|only mark|outline only|only outline|"
    "select only|only select|of those only|of these only|of them only|of those just|of these just|"
    "from those only|from these only|of those|of these|of them|among them|among those|among these|"
    "from those|from these|from them|out of those|out of these|out of them|show me only those|"
    "only those that are|only those|only the ones|i only care about|i am only interested in|focus on|"
    "focus only on|concentrate on|stick to|narrow it to|narrow to|narrow that to|narrow them down to|"
    "i want only|i want just|only include|include only|just keep|cut it down to|pick only|pick just|"
    "track only|follow only|only track|only follow|only count|count only|count just|just count|only find|"
    "find only|specifically|in particular|and of those|and of these|make it just|make that just|"
    "make it only|make that only|make it|let us keep only|refine to|refine it to|zoom in on|now just|"
    "pick out just|pick out only|only give me|give me only|give me just",
    "only",
)
_WITHOUT = PhraseTable.of(
    "without|except for|except|but not|but without|remove|take away|take out|take off|drop|exclude|"
    "leave out|get rid of|ignore|skip|omit|minus|not counting|excluding|discard|subtract|hide|delete|lose|"
    "deselect|unselect|do not include|do not show|do not highlight|do not count|do not mark|do not segment|"
    "no|not|cut|filter out|leave away|dismiss|kick out|eliminate|everything but|everything except|all but|"
    "all except|all of them but|all of them except|them without|those without|it without|these without|"
    "the same without|the same but without|same but without|them but not|apart from|other than|and without|"
    "i do not want|forget about|forget|clear|throw out|i do not need|not including|them minus|"
    "show them without|show me them without|everything apart from|all apart from|all but not|strip out|"
    "strip|toss out|unmark|stop tracking|stop following|do not track|do not follow|ditch|rule out|"
    "except that not|leaving out|show all but|show all except|keep all but|keep all except|"
    "keep everything but|keep everything except",
    "without",
)
_ADD = PhraseTable.of(
    "add|also add|and add|include|also include|and include|also show me|also show|also segment|also find|"
    "also highlight|also mark|also outline|also select|also|as well as|and also|plus|together with|"
    "along with|throw in|bring in|additionally|in addition|in addition to|and also show|and also the|add in|"
    "put in|and additionally|also want|i also want|i also need|i also want to see|additionally show|"
    "on top of that|also track|also follow|also mask|also get|also pick|also pick out|also detect|show also|"
    "extend it to|extend it with|extend to|extend that with|combine with|combine it with|combine that with|"
    "combine them with|also count|also the|append|expand to|expand it to|and show also|furthermore|besides|"
    "besides that|now also|now add|mark also|highlight also|segment also|find also|join|bring back|put back|"
    "restore|re-add",
    "add",
)
_INSTEAD = PhraseTable.of(
    "what about|how about|and what about|and how about|same for|the same for|do the same for|do that for|"
    "do it for|same with|the same with|do the same with|repeat for|repeat that for|repeat it for|"
    "repeat this for|now do|do|i meant|i mean|sorry i meant|no i meant|i actually meant|rather|what if|"
    "same question for|same thing for|the same thing for|the same question for|and for|now for|for|"
    "now the same for|and the same for|also for|likewise for|switch to|change it to|change that to|"
    "change to|what of|and|now|then|or|try|now try|now show me|now show|now find|now segment|now highlight|"
    "and now|next|how does it look for|do likewise for|ditto for|make that|apply the same to|apply that to|"
    "apply it to|now mark|now outline|now get|now give me|replace them with|replace it with|"
    "replace that with|swap them for|swap to|move on to|let us do|let us try|not those|again for|"
    "same again for|once more for|do this for|and then|can you do the same for|and do the same for|"
    "now do the same for|now do the same with|and the same with",
    "instead",
)


_HOLDING = lex.words("wearing wear holding carrying with without in riding")


def revise(cursor: Cursor) -> Revise | None:
    """The change that a fragment asks for."""
    start = cursor.at
    for rule in (_back, _back_to, _changed):
        cursor.at = start
        found = rule(cursor)
        if found is not None and finished(cursor):
            return found
    return None


def _back(cursor: Cursor) -> Revise | None:
    for lead in (False, True):
        if lead:
            cursor.skip(_LEAD)
        here = cursor.at
        for table, how in ((_RESET, "reset"), (_UNDO, "undo")):
            cursor.at = here
            if table.take(cursor) is None:
                continue
            while cursor.take(",", "and") and table.take(cursor):
                pass
            if _over(cursor):
                return Revise(how=how)  # type: ignore[arg-type]
        cursor.at = here
    return None


def _back_to(cursor: Cursor) -> Revise | None:
    """ "back to all chairs"."""
    if cursor.take("go back to", "back to", "return to", "let us go back to") is None:
        return None
    target = _target(cursor)
    return Revise(how="instead", target=target) if target is not None else None


def _over(cursor: Cursor) -> bool:
    return finished(cursor)


def _changed(cursor: Cursor) -> Revise | None:
    if cursor.word() == "no" and cursor.word(1) == ",":
        cursor.at += 2
        target = _target(cursor)
        return Revise(how="instead", target=target) if target is not None else None
    cursor.skip(("now", "and", "then", "ok", "no", ",", "but", "so", "actually", "yes")) if _table_after_lead(
        cursor
    ) else None
    for table in (_ONLY, _WITHOUT, _ADD, _INSTEAD):
        found = table.match(cursor)
        if found is None:
            continue
        length, how = found
        if (lex.FOLLOW.match(cursor) or (0, ""))[0] > length:
            continue  # "keep an eye on the truck" keeps nothing back
        at = cursor.at
        cursor.at += length
        cursor.take(",")
        target = _target(cursor)
        if target is not None and finished(cursor):
            return Revise(how=how, target=target)  # type: ignore[arg-type]
        cursor.at = at
    return None


def _table_after_lead(cursor: Cursor) -> bool:
    """Whether after "now", "and" a word of change follows ("now without the small ones")."""
    at = 0
    while cursor.word(at) in ("now", "and", "then", "ok", "no", ",", "but", "so", "actually", "yes"):
        at += 1
    if at == 0:
        return False
    ahead = Cursor(cursor.tokens, cursor.at + at)
    return any(table.match(ahead) for table in (_ONLY, _WITHOUT, _ADD)) or ((_INSTEAD.match(ahead) or (0, ""))[0] > 1)


def _target(cursor: Cursor) -> Concept | None:
    """A thing, or only a property ("only red", "without the sitting")."""
    start = cursor.at
    doing = (
        cursor.word() in lex.TRANSITIVE | lex.POSTURES and not chunks.is_content(cursor, 1)
    ) or cursor.word() in _HOLDING
    found = subject(cursor) if not doing else None
    if found is not None and finished(cursor):
        if isinstance(found.concept, Phrase) and _only_describes(found.concept):
            cursor.at = start
        else:
            return found.concept
    cursor.at = start
    cursor.take(
        "the ones that",
        "those that",
        "the ones which",
        "the ones who",
        "those who",
        "those which",
        "ones that",
        "that",
        "if they",
        "if it",
        "when they",
        "the ones",
        "those",
        "if",
        "where they",
    )
    change = (
        modifiers.clause(cursor)
        if cursor.word() in lex.COPULAS | lex.HAVE | {"do", "wear"}
        else modifiers.predicate(cursor)
    )
    if change is None or not finished(cursor):
        cursor.at = start
        return None
    base: Concept = Mention(word="ones")
    changed = change(base)
    return changed if nouns.mentions(changed) else None


def _only_describes(phrase: Phrase) -> bool:
    """ "only red": an adjective that the noun rule took for a noun."""
    return not phrase.attributes and not phrase.details and phrase.noun in lex.ADJECTIVES | lex.PARTICIPLES
