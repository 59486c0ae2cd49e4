"""The same request in the order and the words that the grammar reads: "on the left, how many dogs?" -> "how many dogs on the left".

People put the place first, deny in the middle ("isn't there ..."), name the work instead of doing it ("run a detection
for ..."). `framed` writes such a clause the plain way, by patterns over its words; pictures and quotations are carried
along unread. Called by `grammar.py` on every clause, after the courtesies are off. Try it:
`print(" ".join(token.text for token in framed(tokens_of("isn't there a dog?"))))`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.spelling import is_plural
from sam3_agent.understanding.tokens import Token, spend

_IMG = r"<i\d+>"
_SIDES = r"(?:left|right|top|bottom)"
_NUMBERS = "|".join(sorted((word for word in lex.NUMBERS if word != "one"), key=len, reverse=True))
_ORDINALS = "|".join(sorted(lex.ORDINALS, key=len, reverse=True))
_THINKS = "reckon|think|believe|suppose|guess|estimate|figure|say|expect|imagine"
_OUTLINES = "masks?|outlines?|segmentations?|contours?|bounding boxes|bounding box|silhouettes?"
_ASKS = (
    r"how many|how much|which|what|who|where|whose|is|are|was|were|do|does|can|could|count|segment|find|show|highlight|"
    r"mark|outline|select|locate|detect|track|follow|list|give|mask|circle|pick|identify|tell|any|label|point"
)
_COMPARED = "|".join(lex.COMPARATIVES)

# (a word that has to be there for the pattern to be tried, pattern, what it becomes)
_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (word, re.compile(pattern), plain)
    for word, pattern, plain in (
        # --- denied, tagged and doubted questions
        ("not", r"^(is|are|was|were|do|does|did|has|have|can) not (there|the|a|an|any|all|every|this|that|these|those|you|we|it|they)\b", r"\1 \2"),
        ("nobody", r"^(?:is|are|was|were) (?:there )?nobody\b", "are there no people"),
        ("no", r"^(?:is|are|was|were) (?:there )?no one\b", "are there no people"),
        ("none", r"^(?:is|are|was|were) none of (?:the |these |those )?(people|persons|men|women|\w+s)\b", r"are there no \1 that are"),
        ("nobody", r"^(?:does|do|did|has|have) nobody\b", "are there no people who"),
        ("no", r"^(?:does|do|did|has|have) no one\b", "are there no people who"),
        ("there", r"^there (is|are) not (any|a|an) (.+?) ,? ?(?:is|are) there$", r"is there no \3"),
        ("there", r"^there (is|are) (.+?) ,? ?(?:is|are) (?:not )?there(?: not)?$", r"\1 there \2"),
        ("free", rf"^(?:is|are) (?:it|this|there|(?:the|this|that) (?:picture|image|photo|photograph|scene|view)|({_IMG})) (?:completely |totally |entirely )?(?:free|devoid|empty) of (.+)$", r"are there no \2 \1"),
        ("without", rf"^is (?:it|(?:the|this|that) (?:picture|image|photo|photograph|scene|view)|({_IMG})) without (?:any )?(.+)$", r"are there no \2 \1"),
        ("aside", r"^leaving aside (.+?) , (.+)$", r"\2 except \1"),
        ("percent", r"^(how much .+?) ,? ?in percent$", r"\1"),
        ("also", r"\bnot (?:just|only|merely) (.+?) ,? ?but also ", r"\1 and "),
        ("of", r"^is there (?:a|an) (?:lack|absence) of (.+)$", r"are there no \1"),
        ("be", rf"^(?:can|could) (.+?) be (?:seen|found|spotted|made out|detected|observed|recognised|recognized|discerned)(?: anywhere)?((?: {_IMG})?)$", r"is there \1\2"),
        ("sure", r"^(?:please )?make sure (?:that )?there (is|are) ", r"\1 there "),
        ("ensure", r"^ensure (?:that )?there (is|are) ", r"\1 there "),
        ("any", r"^(?:got|see|seen|spot|spotted|noticed) any ", "are there any "),
        ("for", r"^(?:check|scan|look out|watch out) for (?:any |some )?", "are there any "),
        ("other", r"\bother (\S+(?: \S+)?) (besides|apart from|than|except|except for|aside from)\b", r"\1 \2"),
        # --- the work named instead of asked for
        ("tracking", r"^(?:(?:do|run|perform|start|carry out|apply) )?(?:an? |the |some )?(?:object |video )?tracking (?:of|on|for) ", "track "),
        ("segmentation", r"^(?:(?:do|run|perform|carry out|apply|make) )?(?:an? |the |some )?(?:instance |semantic |panoptic |object )?segmentation (?:of|on|for) ", "segment "),
        ("detection", r"^(?:(?:do|run|perform|carry out|apply) )?(?:an? |the |some )?(?:object )?detection (?:of|on|for) ", "detect "),
        ("around", r"^trace (?:the )?(?:outline |outlines |contour |contours )?(?:around|of) ", "outline "),
        ("of", r"^(?:trace|track|follow|show) (?:me )?the (?:path|movement|movements|motion|trajectory|route|position) of ", "track "),
        ("onto", r"^(?:lock|latch|hone) (?:in )?onto ", "follow "),
        ("on", r"^(?:lock|latch|hone in|home in) on to ", "follow "),
        ("be", r"(?<!\bthat)(?<!\bit)(?<!\bthis) would be (?:great|nice|lovely|perfect|helpful|appreciated|good|wonderful|awesome|fantastic|ideal|fine|useful|enough)$", ""),
        ("love", r"^i would love (?:to have |to see |to get )?", "i would like "),
        ("like", rf"^i would like (?:an? |the )?(?:{_OUTLINES}) (?:of|for|around) ", "segment "),
        ("of", rf"^(?:an? |the )(?:{_OUTLINES}) (?:of|for|around) ", "segment "),
        ("for", rf"^(?:an? |the )(?:{_OUTLINES}) for ", "segment "),
        ("pixels", r"\b(?:all )?(?:of )?(?:the )?pixels (?:that |which )?(?:belong to|belonging to|make up|making up|show|showing|depict|depicting|are part of) ", ""),
        ("pixels", r"^which pixels (?:are|show|belong to|depict|make up|is) ", "segment "),
        ("by", r"(?<!calculate )(?<!compute )(?<!what is )\bthe (?:region|area|part|place|space|surface|zone)s? (?:that is |which is |that are )?(?:occupied|covered|taken up|filled) by ", ""),
        ("from", r"^(isolate|separate|extract|cut out|single out|cut|distinguish) (.+?) from (?:the |its |their )?(?:rest|background|others?|scene|surroundings?|everything else|backdrop|remainder)(?: of .+)?$", r"segment \2"),
        ("of", r"\bhow many (?:instances|occurrences|examples|individuals|specimens|copies) of ", "how many "),
        ("of", r"\b(?:all|any|every|each|the|some)? ?(?:of )?(?:the )?(?:instances?|occurrences?|appearances?|depictions?) of ", " all "),
        ("then", r"^(count|segment|find|show|mark|highlight|outline|track|follow|locate|select|detect) (.+?) ,? ?(?:and )?(?:then|after that|afterwards|next) (the|all|any|both|every|each|those|a|an) ", r"\1 \2 and then \1 \3 "),
        ("headcount", r"^(?:a |the )?headcount$", "count the people"),
        ("frame", r" (?:in|on|across|over|through|throughout) (?:every|each|every single|every last) frame(?: <i\d+>)?$", ""),
        ("frames", r" (?:in|on|across|over|through|throughout) (?:all |all the |the |every |each )?frames(?: <i\d+>)?$", ""),
        ("end", r" (?:until|till|to|up to) the (?:very )?end(?: <i\d+>)?$", ""),
        ("", r"^((?:track|follow) .+?) (?:as|while|when|whenever|wherever|until|till) (?:it|they|he|she) (?:moves?|goes?|runs?|walks?|leaves?|disappears?|travels?)(?: (?:around|along|away|about|on))?$", r"\1"),
        # --- talk around the request
        ("something", r" or (?:something|anything|whatever|similar)(?: like that| similar)?\b", ""),
        ("there", r"\b(is|are) there (?:like|maybe|perhaps|possibly) ", r"\1 there "),
        ("them", r"\b(show me|show|find|count|segment|give me|highlight|mark) them (?=\S+s\b)", r"\1 the "),
        ("c", r"\b(do|can) (you|i|we) c$", r"\1 \2 see"),
        # --- what is said of the answer before
        ("instead", r"^instead of (.+?) , (.+)$", r"\2 instead"),
        ("it", r"^(?:make|change|switch) it (?:to |into )?(the .+)$", r"\1 instead"),
        ("back", r"^(?:put|bring|add|take) (.+?) back(?: in)?$", r"add \1"),
        ("", r"^(?:show|give|find) (?:me )?(?:the ones|those|what|the things) (?:that )?(?:you |we |i )?(?:left out|excluded|removed|dropped)$", "the others"),
        ("not", r"^not the \S+(?: \S+)? ,? (?:but )?the (.+)$", r"the \1 instead"),
        ("neither", r"^neither .+? nor .+? , (?:but )?(?:only |just )(.+)$", r"only the \1"),
        ("sorry", r" ,? ?sorry (?:to (?:bother|disturb|trouble) you(?: again)?|for .+|about .+)$", ""),
        ("its", r"\btell me its (?:size|area)$", "how large is it"), ("their", r"\btell me their (?:sizes?|areas?)$", "how large are they"),
        ("", r"^(do not (?:show|include|highlight|mark) .+?) any ?(?:more|longer)$", r"\1"),
        ("like", r"^(is|are) there (?:something|anything) (.+?) ,? like (an? [^,]+)$", r"\1 there \3 \2"),
        ("not", r"^not (?:that|this)(?: one)? ,? ?(?:but )?(the .+)$", r"\1"),
        # --- where
        ("were", r"^were (is|are) ", r"where \1 "),
        ("where", r"^where (?:exactly|precisely|abouts|in (?:the )?world|on earth) ", "where "),
        ("where", r"^where (?:do|does|did|will|would|has|have) (.+?) (?:go|move|run|swim|walk|fly|drive|head|travel|end up|gone|moved)(?: to)?$", r"track \1"),
        ("where", r"^where (?:do|does) (.+?) (?:sit|stand|lie|live|hide|sleep|rest|hang)$", r"where is \1"),
        ("where", r"^where (the|my|our|your|his|her|their|this|that|all|these|those|a|an|any|both) (.+?) (?:is|are|was|were|sits?|stands?|lies?|hides?)(?: (?:located|hiding|sitting|standing|lying|placed|positioned|situated|hidden))?$", r"where are \1 \2"),
        ("where", r"^where would i find ", "where are "),
        ("of", r"^(?:what (?:is|are) |give me |tell me |show me |list )?(?:the )?(?:coordinates|box coordinates|whereabouts|pixel coordinates)(?: of (?:the )?(?:bounding )?box(?:es)?)? of ", "where is "),
        ("side", rf"^(?:on|in|at|to) (?:which|what) side(?: {_IMG})? (is|are) ", r"where \1 "),
        ("part", rf"^(?:in|at|on) (?:which|what) (?:part|area|region|section)(?: {_IMG})? (is|are) ", r"where \1 "),
        ("position", rf"^(?:at|in) (?:which|what) position(?: {_IMG})? (is|are) ", r"where \1 "),
        ("corner", rf"^in (?:which|what) corner(?: {_IMG})? (is|are) ", r"where \1 "),
        ("half", rf"^in (?:which|what) half(?: {_IMG})? (is|are) ", r"where \1 "),
        # --- numbers
        ("do", rf"\b(?:do|would|can|could) (?:you|we|i|one) (?:{_THINKS})(?: that)?(?: there)? (is|are|can|do|have|has|wear|there)\b", r"\1"),
        ("many", r"^how many (.+?) , ((?:excluding|except|except for|not counting|other than|apart from|besides|without|leaving out|ignoring|not including|minus) .+?) ,? ?((?:are|is|do|does|have|has|wear|can|sit|stand) .+)$", r"how many \1 \3 \2"),
        ("amount", r"\bthe amount of ", "the number of "),
        ("quantity", r"\b(?:the |a )?quantity of ", "the number of "),
        ("once", r"^(count|track) (?:each|every) (.+?) (?:only |just |exactly )?once$", r"\1 the \2"),
        ("once", r" ,? ?counting (?:each|every|them|all)(?: \S+)? ?(?:only |just |exactly )?once(?: only| each)?$", ""),
        ("counting", r"^without (?:double|any double) counting ,? ?", ""),
        ("counting", r" ,? ?without (?:double counting|counting .+? twice)$", ""),
        ("", r"^(how many .+?|count .+?) (?:that |who |which )?(?:walk|drive|swim|fly|run|pass|come|go|move|jog|cycle|ride|roll|sail|float|hop)s? (?:past|by|through|across|along|around)(?: (?:the )?(?:frame|screen|view|camera|scene|<i\d+>))?$", r"\1"),
        ("number", rf"^(.+?) number ({_NUMBERS}|\d+|one) (?:counting |counted )?from (?:the )?({_SIDES})$", r"the <n\2> \1 from the \3"),
        ("place", rf"\bthe (\S+) in (?:the )?({_ORDINALS}) (?:place|position|spot)\b", r"the \2 \1"),
        ("position", rf"\bthe (\S+) in (?:the )?({_ORDINALS}) (?:place|position|spot)\b", r"the \2 \1"),
        ("", r"\b(left|right) (or|and) (left|right) of (.+)$", r"\1 of \4 \2 \3 of \4"),
        ("", r"\b(with|has|have|having|holding) (.+?) (?:on|in|inside|on top of|under|behind) (?:it|them)$", r"\1 \2"),
        ("only", r" ,? ?but only (?:those|the ones|those ones) (?:that are |which are |who are )?(.+)$", r" that are \1"),
        ("middle", rf"\bthe (?:middle|centre|center) (?:one )?of the (?:(?:{_NUMBERS}|\d+) )?(\S+)$", r"the middle \1"),
        ("row", r" in (?:the|a) row\b", ""), ("line", r" in (?:the|a) (?:line|queue)\b", ""),
        # --- amounts
        ("of", r"^(?:the )?(area|size|height|width|surface area|pixel area) of (.+)$", r"what is the \1 of \2"),
        ("area", r"^what area (?:does|do) (.+?) (?:cover|occupy|take up|fill|have|span)$", r"what is the area of \1"),
        ("area", r"^(?:calculate |compute |work out )?the area (?:covered by|of|taken up by|occupied by) ", "what is the area of "),
        ("pixels", r"^how many pixels (?:is|are|does|do|has|have) (.+?)(?: (?:cover|have|take up|occupy|fill|contain|big|large|got|span|in size))?$", r"what is the area of \1 in pixels"),
        ("pixel", r"^(?:what is )?the (?:total )?pixel count (?:of|for) (.+)$", r"what is the area of \1 in pixels"),
        ("pixels", r"^(?:what is )?the number of pixels (?:of|in|for|covered by|occupied by|taken up by) (.+)$", r"what is the area of \1 in pixels"),
        ("percentage", r"^(?!(?:what|which|how|give|the|a|tell|find)\b)(\S+(?: \S+)?) percentage$", r"what percentage is \1"),
        ("coverage", r"^(?!(?:what|which|how|give|the|a|tell|find)\b)(\S+(?: \S+)?) coverage$", r"what percentage is \1"),
        ("coverage", r"^(?:what is )?(?:the )?coverage of ", "what percentage is "),
        ("big", rf"^how (?:big|large) (is|are) (.+?) (?:relative to|compared to|compared with|in comparison to|in comparison with|in relation to) (?!{_IMG})(.+)$", r"how much bigger \1 \2 than \3"),
        ("large", rf"^how (?:big|large) (is|are) (.+?) (?:relative to|compared to|compared with|in comparison to|in comparison with|in relation to) (?!{_IMG})(.+)$", r"how much bigger \1 \2 than \3"),
        ("than", rf"^(?:is|are) (more than|less than) (.+?) ({_IMG}) (?:covered (?:by|with|in) |taken up by |occupied by |made up of )?(.+)$", r"does \4 take up \1 \2 \3"),
        ("least", rf"^(?:is|are) (at least) (.+?) ({_IMG}) (?:covered (?:by|with|in) |taken up by |occupied by |made up of )?(.+)$", r"does \4 take up \1 \2 \3"),
        ("ratio", r"^((?:what is )?(?:the )?ratio) of (\S+) to (\S+) (\S+)$", r"\1 of \2 \4 to \3 \4"),
        # --- comparisons
        ("majority", r"^are (.+?) in the majority or (.+)$", r"are there more \1 or \2"),
        ("majority", r"^(?:who|what) (is|are) in the majority", r"which \1 in the majority"),
        ("common", r"^which \S+ (?:is|are) (?:the )?(?:more|most) common", "which is more common"),
        ("common", r"^which \S+ (?:is|are) (?:the )?(?:less|least) common", "which is less common"),
        ("and", rf"^(is|are) there (.+?) ({_IMG}) and (.+?) ({_IMG})$", r"\1 there \2 \3 and is there \4 \5"),
        ("or", rf"^(which {_IMG} .+?) ,? (?:the )?(?:{_ORDINALS}) or (?:the )?(?:{_ORDINALS})(?: one)?$", r"\1"),
        ("of", rf"^which (?:one )?of (?:the |these |those )?(?:(?:{_NUMBERS}|\d+) )?(\S+) is (?:further|farther|more) (?:to|on|towards|toward) the (left|right|top|bottom)$", r"the \2most of the \1"),
        # --- the same order of things as elsewhere
        ("of", r"^(?:out of|of|from|among|amongst) (?:all )?(?:of )?(the|these|those) (.+?) ,? (how many|which)(?! (?:are|is|do) (?:there|you|we)) ", r"\3 of \1 \2 "),
        ("among", r"^(?:among|amongst) (?:all )?(?:of )?(the|these|those) (.+?) ,? (how many|which)(?! (?:are|is|do) (?:there|you|we)) ", r"\3 of \1 \2 "),
        ("of", r"^of (?:all )?(the|these|those) (.+?) , (?:show |find |segment |give me )?the (\S+est)$", r"the \3 of \1 \2"),
        ("from", rf"^(?:starting |counting |beginning )?(?:from|at) the ({_SIDES})(?: side| edge| end)? ,? ?((?:(?:{_ASKS}) )*)(?:the )?((?:{_ORDINALS}) .+)$", r"\2the \3 from the \1"),
        ("than", rf"^(how much|how many times|by how much) ({_COMPARED}) than (.+?) (is|are) (.+)$", r"\1 \2 \4 \5 than \3"),
        ("number", r"^compare (the number of .+?) (?:with|to|and|against|versus|vs) the number of ", r"compare \1 and "),
        ("number", r"^(?:is|does) the number of (.+?) (?:equal|match|matches|the same as|equals) (?:to )?(?:the number|that) of ", r"are there as many \1 as "),
        ("number", r"^are (.+?) and (.+?) equal in number$", r"are there as many \1 as \2"),
        ("many", r"^by how many (?:do |does )?(.+?) (?:outnumber|exceed|surpass) (?:the number of )?", r"how many more \1 than "),
        ("number", rf"^(?:compare|rank|order|sort) (?:the |these |those )?({_IMG}) by (?:the |their )?number of (.+)$", r"which \1 has the most \2"),
        ("more", r"^(?:what|which)(?: one)? (?:covers|fills|occupies|takes up|takes) more(?: of)?(?: space| area| room)?(?: <i\d+>)? ?[,:]? ?(?!than\b)(.+? or .+)$", r"which takes up more space , \1"),
    )
)  # fmt: skip
_TALK = re.compile(
    rf"^(?!(?:{_ASKS}|and|only|not|please)\b)[^,:]+ ,? ?(?:so |and |but |therefore )*(?:(?:could|can|would|will) you (?:please |possibly |kindly |maybe |perhaps )*|please )((?:{_ASKS})\b.+)$"
)
_WANTS = re.compile(
    rf"^(?:my|our|his|her|their|the) .+? (?:wants?|would like|needs?|wishes|asks?) to know (?:if |whether )?((?:{_ASKS})\b.+)$"
)
_THE_BIGGER = re.compile(rf"^the ({_COMPARED}) (one|of the two|of them)$")
_FRONTED = re.compile(
    rf"^(?:only )?((?:in|on|at|within|inside|under|behind|near|to|next to|between|above|below|over) (?!which|what|whose|total|all\b)[^,:]+?) ?[,:] ?((?:{_ASKS})\b.+)$"
)
_REGION = (
    r"(?:the )?((?:top|bottom|upper|lower|left|right|middle|centre|center)(?: (?:left|right))?(?: (?:half|side|part|corner|third))?)"
    r"(?: <i\d+>)?"
)
_REGION_FIRST = re.compile(rf"^{_REGION} ?: ?((?:{_ASKS})\b.+)$")
_PREDICATES = "|".join(sorted(lex.COLOURS | lex.STATES | lex.POSTURES | lex.MOTIONS, key=len, reverse=True))
_MORE_SO = re.compile(
    rf"^(are|is|how many)(?: there)? (more|fewer|less) (.+?) (?:are |is )?({_PREDICATES}) than (?:are |is )?({_PREDICATES})$"
)
_WHICH_MORE = re.compile(
    rf"^which (?:one )?(?:of (?:the|these|those) )?(?:(?:{_NUMBERS}|\d+) )?(?!of\b|is\b|are\b|one\b|ones\b|them\b|two\b|three\b|these\b|those\b)([^,:]+?) (?:is|are|looks) (?:the )?({_COMPARED})$"
)
_HOW_MUCH = re.compile(
    r"^how much (?!of\b|space\b|area\b|room\b|more\b|is\b|does\b|money\b|time\b|bigger\b)(\S+(?: \S+)?) ((?:is|are) there|(?:do|can) (?:you|we|i) see|(?:is|are) (?:visible|shown|parked|present|here))(?: here)?$"
)
_BELONGS = re.compile(
    r"^(how many|count|which|what|find|segment|show) (.+?) (?:does|do|has|have|did) ((?:the|this|that|my|our|your|his|her|their|each|every) .+?) (?:have|got|possess|own)$"
)
_OWNS = re.compile(r"^(how many) (.+?) (?:has|have) ((?:the|this|that|my|our|your|his|her|their) .+?)(?: got)?$")
_ON_WHICH = re.compile(
    r"\b((?:the|a|every|each|all) \S+) (?:on|in|under|behind|beside|near) (?:which|whom) (.+?) (?:is|are|sits?|stands?|lies?|hangs?|rests?)$"
)


def spoken(tokens: Sequence[Token]) -> list[Token]:
    """Only the request of "I write a report for school, so please find the buses", before its reasons are cut off."""
    present = {token.text for token in tokens}
    if not ("," in present or "know" in present):
        return list(tokens)
    words = " ".join(_shown(at, token) for at, token in enumerate(tokens))
    plain = _WANTS.sub(r"\1", _TALK.sub(lambda found: found[1], words))
    return list(tokens) if plain == words else [_back(piece, tokens) for piece in plain.split()]


def is_region(tokens: Sequence[Token]) -> bool:
    """Whether these words only say where in the picture: "left half of the picture"."""
    return re.fullmatch(_REGION, " ".join(_shown(at, token) for at, token in enumerate(tokens))) is not None


def framed(tokens: Sequence[Token]) -> list[Token]:
    """The clause in plain order; the same tokens where nothing is to be changed."""
    spend(1)
    words = " ".join(_shown(at, token) for at, token in enumerate(tokens))
    present = {token.text for token in tokens}
    plain = words
    for word, pattern, becomes in _RULES:
        if not word or word in present:
            plain = pattern.sub(becomes, plain)
    plain = _turned(plain, present)
    if plain == words:
        return list(tokens)
    return [_back(piece, tokens) for piece in plain.split()]


def _turned(words: str, present: set[str]) -> str:
    """What stands in another order: the place in front, "more people sitting than standing", "windows that the house has"."""
    if present & lex.COMPARATIVES.keys() and present & {"one", "two", "them"}:
        words = _THE_BIGGER.sub(lambda found: f"the {found[1][:-1]}st {found[2]}", words)
    if "," in present or ":" in present:
        words = _FRONTED.sub(r"\2 \1", words)
        words = _REGION_FIRST.sub(r"\2 in the \1", words)
    if present & lex.COMPARATIVES.keys() and "than" not in present:
        words = _WHICH_MORE.sub(lambda m: f"which {m[1]} is the {m[2][:-1]}st", words)
    if "much" in present:
        words = _HOW_MUCH.sub(_many_or_share, words)
    if "than" in present:
        words = _MORE_SO.sub(lambda m: f"{_there(m[1])} {m[2]} {m[4]} {m[3]} than {m[5]} {m[3]}", words)
    if present & {"have", "has", "got", "possess", "own"}:
        words = _BELONGS.sub(r"\1 \2 of \3", words)
        words = _OWNS.sub(r"\1 \2 of \3", words)
    if present & {"which", "whom"}:
        words = _ON_WHICH.sub(r"\1 with \2", words)
    return words


def _many_or_share(found: re.Match[str]) -> str:
    """ "how much sheep is there" counts, "how much sky is there" measures."""
    last = found[1].split()[-1]
    many = is_plural(last) or last in ("sheep", "people", "cattle", "fish", "deer")
    return f"how many {found[1]} {found[2]}" if many else f"what percentage is {found[1]}"


def _there(asked: str) -> str:
    return asked if asked == "how many" else "are there"


def _shown(at: int, token: Token) -> str:
    """A word as itself, anything that is no word as its place."""
    if token.kind == "image":
        return f"<i{at}>"
    plain = token.kind in ("word", "mark") or (token.kind == "number" and token.text.isdigit())
    return token.text if plain and " " not in token.text else f"<t{at}>"


def _back(piece: str, tokens: Sequence[Token]) -> Token:
    if piece[:2] in ("<i", "<t") and piece.endswith(">"):
        return tokens[int(piece[2:-1])]
    if piece.startswith("<n") and piece.endswith(">"):
        return _ordinal(piece[2:-1])
    if piece.isdigit():
        return Token(piece, "number", float(piece))
    return Token(piece, "mark") if piece in (",", ":", ".", "?", "!", ";") else Token(piece)


def _ordinal(number: str) -> Token:
    """ "2" or "two" -> "second"."""
    value = int(number) if number.isdigit() else lex.NUMBERS[number]
    return Token(next((word for word, n in lex.ORDINALS.items() if n == value), f"{value}th"), value=value)
