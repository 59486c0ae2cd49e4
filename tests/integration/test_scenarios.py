"""What the plan promises people: the scenarios, asked over HTTP as a person would, about drawn scenes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from scene_service import SceneEngine, chat, data_url, message
from service_server import serving


@pytest.fixture(scope="module")
def engine() -> SceneEngine:
    return SceneEngine()


@pytest.fixture(scope="module")
def people(engine: SceneEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("service"), engine) as where, httpx.Client(base_url=where) as client:
        yield client


def boxes(reply: dict[str, Any]) -> list[list[float]]:
    return sorted(one["box"] for result in reply["results"] for one in result["instances"])


RED = [[12, 190, 82, 230], [178, 188, 250, 230]]


def test_red_cars_in_the_car_park(people: httpx.Client, engine: SceneEngine) -> None:
    reply = chat(people, message("Please mark all red cars in the car park", data_url(engine, "street"))).json()["sam3"]
    assert reply["status"] == "ok" and boxes(reply) == RED


def test_people_with_glasses_and_standing_dogs_only(people: httpx.Client, engine: SceneEngine) -> None:
    words = "segment only the people with glasses and the dogs that are standing, no sitting dogs"
    reply = chat(people, message(words, data_url(engine, "park"))).json()["sam3"]
    assert boxes(reply) == [[15, 60, 53, 180], [75, 55, 113, 180], [115, 225, 177, 271]]


@pytest.mark.parametrize(
    ("description", "matches", "says"),
    [
        ("There are three dogs and two cats. One dog is brown.", True, "matches"),
        ("There are three dogs and five cats.", False, "does not hold"),
    ],
)
def test_a_picture_is_held_against_a_description(
    people: httpx.Client, engine: SceneEngine, description: str, matches: bool, says: str
) -> None:
    words = f"Does this description match the picture? {description}"
    reply = chat(people, message(words, data_url(engine, "park"))).json()["sam3"]
    assert reply["answer"] is matches and says in reply["text"].lower()


def test_what_masks_cannot_judge_is_said_not_to_be_judged(people: httpx.Client, engine: SceneEngine) -> None:
    words = 'Assess the injury severity and compare with the description: "There are three dogs. They look healthy."'
    reply = chat(people, message(words, data_url(engine, "park"))).json()["sam3"]
    assert reply["answer"] is None and "not judged" in reply["text"].lower()


def test_several_pictures_in_one_conversation(people: httpx.Client, engine: SceneEngine) -> None:
    session = people.post("/v1/sessions", json={}).json()["id"]
    first = chat(people, message("how many dogs?", data_url(engine, "park")), session=session).json()["sam3"]
    second = chat(people, message("the same for this one", data_url(engine, "street")), session=session).json()["sam3"]
    which = chat(people, message("which picture has the most dogs?"), session=session).json()["sam3"]
    assert (first["answer"], second["answer"], which["answer"]) == (3, 0, 0)
