"""What cannot be, what nobody can see, and what is no English is said in one sentence; no number is dropped on the way."""

from __future__ import annotations

import pytest
from stage import Stage

from sam3_agent.conversation import Agent
from sam3_agent.understanding import understand


def words(query: str) -> str:
    """The first plan in words."""
    reading = understand(query)
    assert reading.drafts, f"{query}: {reading.trouble} {reading.said}"
    return str(reading.drafts[0].plan)


def told(query: str) -> tuple[str, str]:
    """Status and text of the reply in a new conversation; nothing may be looked at for it."""
    reply = Agent(engine=object()).process(query)  # type: ignore[arg-type]
    assert "\n" not in reply.text and reply.plan is None
    return reply.status, reply.text


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "question"),
    [
        ("find at least 3 chickens", "are there at least 3 chickens?"),
        ("at least 3 chickens", "are there at least 3 chickens?"),
        ("find exactly two chickens", "are there exactly two chickens?"),
        ("find at most one chicken", "is there at most one chicken?"),
        ("show me more than two dogs left of the bus", "are there more than two dogs left of the bus?"),
        ("find fewer than four red cars", "are there fewer than four red cars?"),
        ("find at least two dogs and a cat", "are there at least two dogs and a cat?"),
    ],
)
def test_a_request_with_a_bound_asks_whether_it_holds(request_: str, question: str) -> None:
    assert understand(request_).drafts[0].plan == understand(question).drafts[0].plan


def test_a_bound_is_judged_by_what_is_there() -> None:
    assert Stage("park").ask("find at least 4 dogs").answer is False
    stage = Stage("park")
    reply = stage.ask("find at least 3 dogs")
    assert reply.answer is True and stage.ids(reply) == "black brown white"


@pytest.mark.parametrize(
    ("query", "plan"),
    [("find exactly the dog", "find the dogs"), ("only two dogs", "only dogs"),
     ("find dogs, no cats", "find the dogs except cats"), ("are there no chickens?", "check whether there are no chickens"),
     ("find the 3 largest dogs", "find the 3 largest dogs"), ("find the chicken and", "find the chickens"),
     ("dogs that cover more than 100% of the picture", "find the dogs with area > 100% of the picture"),
     ("find the dogs in picture 1", "find the dogs in picture 1"), ("find player number 0", "find the players number 0")],
)  # fmt: skip
def test_a_mere_number_still_only_names(query: str, plan: str) -> None:
    assert words(query) == plan


@pytest.mark.parametrize("query", ["find no chickens", "show zero chickens", "find 0 chickens", "zero chickens"])
def test_no_chickens_are_not_chickens(query: str) -> None:
    status, text = told(query)
    assert status == "clarify" and "are there no chickens?" in text


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("find the 0 largest chickens", "0 of the largest"),
        ("the zero largest chickens", "0 of the largest"),
        ("top 0 dogs", "0 of the largest"),
        ("find the chickens in picture 0", "Pictures are numbered from 1: there is no picture 0"),
        ("how many dogs are in image 0?", "numbered from 1: there is no image 0"),
        ("find the dogs in frame 0", "Frames are numbered from 1"),
        ("at least 99999999999999999999 chickens", "No picture shows 99999999999999999999"),
        ("the 99999999999999999999 largest chickens", "No picture shows 99999999999999999999"),
        ("are there more than 1,000,001 dogs?", "No picture shows"),
        ("chickens that cover more than 150% of the picture", "150% of a picture: it ends at 100%"),
        ("are there dogs between 10% and 300% of the picture?", "300%"),
        ("find -3 chickens", "cannot be -3"),
        ("find the 0th dog", "there is no 0th"),
        ("find the dogs in picture 99999999999999999999", "There is no picture 99999999999999999999"),
        ("at least -3 chickens", "cannot be -3"),
    ],
)
def test_a_number_that_cannot_be_is_said(query: str, reason: str) -> None:
    status, text = told(query)
    assert status == "clarify" and reason in text


# --- other languages, and no words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["combien de poules?", "Où sont les poules ?", "y a-t-il un chien", "montre les chats sur la table", "wie viele Hühner sind da?",
     "wo sind die Hühner?", "finde die Hühner", "der Hund ist auf dem Sofa", "cuántos pollos hay?", "cuantos perros hay",
     "encuentra los perros", "un perro y un gato", "quanti polli ci sono?", "dove è il gatto", "quantos gatos há?",
     "hur många kycklingar?", "hoeveel kippen zijn er?", "waar is de kat", "hvor mange katter", "ile jest kotów?",
     "сколько кур?", "πόσες κότες", "有多少只鸡", "犬", "كم دجاجة", "닭이 몇 마리"],
)  # fmt: skip
def test_other_languages_are_asked_for_english(query: str) -> None:
    status, text = told(query)
    assert status == "clarify" and "English" in text and '"how many chickens are there?"' in text


@pytest.mark.parametrize(
    "query",
    ["how many ../../etc/passwd are there?", "find /etc/passwd", "find {{7*7}}", "find <script>alert(1)</script>",
     "'; DROP TABLE users; --", "find ${HOME}"],
)  # fmt: skip
def test_a_path_or_a_program_is_no_thing(query: str) -> None:
    status, text = told(query)
    assert status == "clarify" and "not the name of a thing" in text


@pytest.mark.parametrize("query", ["how many 't there?", "find 123", "show none of them", "red or red or red or red"])
def test_what_names_nothing_is_asked_for(query: str) -> None:
    assert told(query) == (
        "clarify",
        'What should I look for? Please name it, for example "the dogs" or "the red car".',
    )


@pytest.mark.parametrize("query", ["not " * 80 + "chickens", "find dogs that are not not red"])
def test_a_not_upon_a_not_is_asked_about(query: str) -> None:
    status, text = told(query)
    assert status == "clarify" and '"not"' in text


@pytest.mark.parametrize(
    ("query", "thing"),
    [("find axolotls", "axolotls"), ("find the zorp", "zorps"), ("find the X100", "x100s"), ("find the jalapeño", "jalapeños"),
     ("crème brûlée", "crème brûlées"), ("find the café table", "café tables"), ("how many hay bales are there?", "hay bales"),
     ("find the die", "dice"), ("how many doves?", "doves"), ("los angeles posters", "los angeles posters"),
     ("pain au chocolat", "pain au chocolats"), ("the le creuset pot", "le creuset pots"), ("find the piñata", "piñatas"),
     ('find the "combien" sign', "combien signs"), ("find red/blue/green cars", "red cars, blue cars or green cars"),
     ("find the ps5 controller", "ps5 controllers"), ("find the Ω sign", "ω signs")],
)  # fmt: skip
def test_a_noun_that_nobody_knows_stays_a_noun(query: str, thing: str) -> None:
    assert words(query) in (f"find the {thing}", f"count the {thing}")


# --- judgement -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["is the chicken ill?", "is the dog happy?", "are the people angry or sad?", "is the dog dangerous?", "which chicken is sick?",
     "are there any ill chickens?", "how many of the dogs are hungry?", "is the woman old?", "is the car expensive?",
     "does the dog want food?", "does the man look tired?", "is the man going to steal the bag?", "is the child in pain?",
     "find the stolen cars", "is anyone hurt?", "is the house worth a lot?", "what colour is the chicken?"],
)  # fmt: skip
def test_what_no_mask_shows_is_refused(query: str) -> None:
    status, text = told(query)
    assert status == "unsupported" and "I can find things you name" in text


@pytest.mark.parametrize(
    "query",
    ["is the dog black?", "is the vase broken?", "is the man in the old car?", "is the dog next to the old man?", "is the man smiling?",
     "find the old man", "find the happy people", "is there a happy dog?", "find the smart phone", "does the man hold a hat?",
     "is the red car next to the new building?", "are the dogs sitting?", "is the man going to the left?"],
)  # fmt: skip
def test_what_can_be_seen_is_not(query: str) -> None:
    assert understand(query).drafts


def test_a_planner_cannot_make_up_what_nobody_sees() -> None:
    class Eager:
        def plan(self, query: str) -> object:
            raise AssertionError(f"asked about {query}")

    agent = Agent(engine=object(), planner=Eager())  # type: ignore[arg-type]
    for query in ("is the chicken ill?", "find the 0 largest chickens"):
        assert agent.process(query).status in ("unsupported", "clarify")


def test_a_planner_may_know_other_languages() -> None:
    asked: list[str] = []

    class Polyglot:
        def plan(self, query: str) -> object:
            asked.append(query)
            return understand("how many dogs?").drafts[0].plan

    stage = Stage("park")
    stage.session = Agent(engine=stage.engine, planner=Polyglot()).session()  # type: ignore[arg-type]
    assert stage.ask("combien de chiens ?").answer == 3 and asked == ["combien de chiens ?"]


# --- emoji, and what a plan says of itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "🐔🐔🐔 how many 🐔?",
        "how many 🐔?",
        "🐔 how many?",
        "🐔🐔 how many are there?",
        "🐶 how many 🐔 are there?",
        "🐔 🐔 count",
        "count 🐔",
    ],
)
def test_emoji_before_a_question_keep_its_concept(query: str) -> None:
    assert words(query) == "count the chickens"


@pytest.mark.parametrize(
    ("query", "plan"),
    [
        ("there are at least 1 chicken", "check whether there is at least 1 chicken"),
        ("find at most one chicken", "check whether there is at most 1 chicken"),
        ("are there two dogs and a cat?", "check whether there are 2 dogs and at least 1 cat"),
        ("count them", "count those"),
        ("only the largest one", "only the largest one"),
        ("only the 3 largest", "only the 3 largest ones"),
        ("and cats?", "find the cats instead"),
        ("find chickens except red chickens except red chickens", "find the chickens except red chickens"),
        ("find red or red or red chickens", "find the red chickens"),
        ("find red or blue or red chickens", "find the red chickens or blue chickens"),
        ("find red, red and red chickens", "find the red chickens"),
    ],
)
def test_a_plan_is_read_back_in_english(query: str, plan: str) -> None:
    assert words(query) == plan


def test_how_many_alone_is_asked_of_what() -> None:
    assert told("how many?") == ("clarify", "How many of what?")
    stage = Stage("park")
    stage.ask("find the dogs")
    assert stage.ask("how many?").answer == 3
