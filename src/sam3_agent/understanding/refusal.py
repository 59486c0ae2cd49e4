"""What is no question about what a picture shows: poems, capitals, ages, opinions.

Called by `grammar.py`: before parsing for what is plainly something else, and after, when a parse that looks
right ("the president") is about something that no picture shows.
"""

from __future__ import annotations

import itertools

from sam3_agent.understanding import lexicon as lex
from sam3_agent.understanding.tokens import Cursor, PhraseTable

ABILITIES = (
    "I can find things you name in a picture or a video, outline, count, measure, compare and follow them, "
    "and check a description."
)
_ASK_BACK = {
    "nothing named": 'What should I look for? Please name it, for example "the dogs" or "the red car".',
    "open question": 'I find things that you name. What should I look for, for example "the dogs" or "the red car"?',
    "too much": "That is more than I can take in at once. Please ask one thing at a time, in fewer words.",
    "unclear": "I did not understand that. What should I find, count, measure or compare in the picture?",
}
_REFUSED = {
    "unsupported": "That is not something I can see in a picture.",
    "silent": "That is not something I can see in a picture.",
    "judgement": "That is a judgement, and no outline in a picture shows it.",
}
_OTHER_WORK = PhraseTable.of(
    "write|compose|translate|tell me a|tell me about|tell us a|tell a|explain|summarise|summarize|calculate|"
    "solve|play|sing|order me|book me|book a|buy|call|email|send|remind me|set a|set an|recommend|suggest|"
    "generate|define|spell|google|search the web|search the internet|search online|look up|code|program|"
    "convert|cook|teach|invent|imagine|paraphrase|rewrite|rephrase|proofread|make up|make me a|draw me|"
    "draw a picture|draw an image|draw a cat|design|paint me|paint a picture|create a|create an|who are you|"
    "what are you|who made you|how are you|what can you do|what is your|what do you think|why|how do i|"
    "how do you|how can i|how should|how does|how did|how old|how far|how fast|how heavy|how deep|"
    "how expensive|how come|how long does|how long did|how long will|when|who is the|who was|who won|"
    "who wrote|who invented|who owns|who painted|who discovered|who took|who is this|who is that|who is he|"
    "who is she|who are they|what time|what day|what year|what date|what breed|what species|what brand|"
    "what make|what model|what language|what does|what did|what do you|what would|what should|what will|"
    "what happened|what happens|what is happening|should i|could i|may i|do you like|do you love|"
    "do you want|do you speak|do you have|are you|can i have|is it safe|is it legal|what is the name|"
    "what is the meaning|what is the best|what are the best|what is the weather|what is the time|"
    "what is the price|what is the difference between a|delete|erase|inpaint|replace|change the|make the|"
    "blur|brighten|sharpen|crop the image|resize|rotate|edit|retouch|enhance|upscale|turn the|turn it into|"
    "turn this into|restyle|read|say hello|repeat after|open the|run the|install|download|print|schedule|"
    "plan a|plan my|predict|diagnose|advise|give me advice|give me a recipe|give me some advice|"
    "give me a joke|give me an idea|help me write|help me with my|help with my|let us chat|talk to me|"
    "chat with me|good night|goodbye|bye|see you|nice to meet you|what colour|what color|which colour|"
    "which color|remove the background|guess|ignore all|ignore previous|ignore your|forget all|forget your|"
    "how much does|how much do|how much is a|how much is the|how much are|how much money|how much time|"
    "how many people live|is it going to|will it|will there|is it raining|do i|does god|is there life|"
    "is there a god|who",
    True,
)
_NOT_SO_FAST = PhraseTable.of(
    "who is wearing|who is holding|who is sitting|who is standing|who is next to|who is on|who is in|"
    "who is the tallest|who is the shortest|who is the biggest|who is the largest|who is the smallest|"
    "who is left of|who is right of|who wears|who has|who is not|who is carrying|who is riding|"
    "who is between|who is the person|who is behind|who is to the left|who is to the right|who is running|"
    "who is closest|who is nearest|who is near|who is the|who is|how much of|how much space|how much area|"
    "how much room|how much bigger|how much larger|how much smaller|how much taller|how much wider|"
    "how much does the|how much do the|what do you see more|what do you see the|generate a mask|"
    "generate masks|create a mask|create an outline|create masks|what does the picture|what would you say|"
    "who is taller|who is bigger|who are|draw a picture frame",
    True,
)


def refused(trouble: str) -> bool:
    """Whether a query that was not understood is no question about a picture, and not one to ask back about."""
    return trouble in _REFUSED


def sentence(trouble: str, said: str = "") -> str:
    """What the person is told when there is no plan: the query's own sentence, or the one for its trouble."""
    if said:
        return said
    if refused(trouble):
        return f"{_REFUSED[trouble]} {ABILITIES}"
    return _ASK_BACK.get(trouble, _ASK_BACK["unclear"])


def other_work(cursor: Cursor) -> bool:
    """Whether the clause plainly asks for something that is not looking."""
    fine = _NOT_SO_FAST.match(cursor)
    found = _OTHER_WORK.match(cursor)
    if found is None:
        return False
    return fine is None or fine[0] < found[0]


def unseen(tokens: list[str]) -> bool:
    """Whether the words ask for what no picture shows ("a joke", "people in the world")."""
    if set(tokens) & lex.WORLD and ("in" in tokens or "on" in tokens or "of" in tokens):
        return True
    if set(tokens) & {"times", "plus", "divided", "minus", "squared"} and sum(token.isdigit() for token in tokens) > 1:
        return True
    if any(word in _ARRANGED and after == "by" for word, after in itertools.pairwise(tokens)):
        return True
    return bool(set(tokens) & _NEVER_SEEN)


_ARRANGED = lex.words("grouped sorted ordered ranked arranged clustered")  # an order of the answer, which it has not
_NEVER_SEEN = lex.words(
    "joke jokes poem poems story stories essay recipe recipes weather capital president meaning opinion "
    "advice bitcoin stock definition homework translation haiku population currency riddle limerick fact "
    "facts lyrics paragraph tips tip tricks breed species inventor prime minister winner temperature essay "
    "president sql python javascript sonnet forecast football-match email news diagnosis days weeks years "
    "months hours minutes euros dollars kilometres kilometers miles calories grams continents planets "
    "countries states"
)
