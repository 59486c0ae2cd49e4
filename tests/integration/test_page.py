"""The page in a real Chromium: drop a picture, ask, look closer, add what was missed, judge, keep, come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from chromium import PHONE, chromium, needs_chromium, opened
from scene_service import SCENES, SceneEngine
from service_server import serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def engine() -> SceneEngine:
    return SceneEngine()


@pytest.fixture(scope="module")
def pictures(engine: SceneEngine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("park", "street"):
        cv2.imwrite(str(folder / f"{name}.png"), engine.draw(SCENES[name])[..., ::-1])
    return {name: folder / f"{name}.png" for name in ("park", "street")}


@pytest.fixture(scope="module")
def address(engine: SceneEngine, tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), engine, examples=repo_root / "data" / "demo") as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as chrome:
        yield chrome


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as sheet:
        yield sheet


def ask(page: Any, words: str) -> None:
    before = page.locator(".answer").count()
    page.fill("#query", words)
    page.press("#query", "Enter")
    page.wait_for_function(
        "n => document.querySelectorAll('.answer').length > n && !document.querySelector('.answer.working')"
        " && !document.querySelector('#send').disabled",
        arg=before,
    )


def give(page: Any, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector("#viewer:not([hidden])")


def key(page: Any, name: str) -> None:
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press(name)


def last(page: Any) -> str:
    return str(page.locator(".answer .text").last.inner_text())


def test_a_dropped_picture_a_question_and_its_outlines(page: Any, pictures: dict[str, Path]) -> None:
    data = json.dumps(list(pictures["park"].read_bytes()))
    transfer = page.evaluate_handle(
        f"() => {{ const t = new DataTransfer(); t.items.add(new File([new Uint8Array({data})], 'park.png',"
        " { type: 'image/png' })); return t; }"
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#viewer:not([hidden])")
    ask(page, "find the dogs")
    assert "3 dogs" in last(page)
    assert page.locator(".thing path.mask").count() == 3 and page.locator(".tag").count() == 3
    assert page.locator(".chip").count() == 3 and "0.90" in page.locator(".chip").first.inner_text()


def test_outlines_lie_on_their_objects(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the black dog")
    image, thing = page.locator(".frame img").bounding_box(), page.locator(".thing .mask").bounding_box()
    scale = image["width"] / 400
    expected = [115 * scale + image["x"], 225 * scale + image["y"], 62 * scale, 46 * scale]
    assert np.allclose([thing["x"], thing["y"], thing["width"], thing["height"]], expected, atol=4)


def test_pointing_singles_out_both_ways(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    page.locator(".chip").nth(1).hover()
    assert page.locator(".frame.single .thing.on").get_attribute("data-at") == "1"
    page.locator('.thing[data-at="2"] .mask').hover()
    assert page.locator(".chip.on").get_attribute("data-at") == "2"
    page.mouse.move(5, 5)
    assert page.locator(".frame.single").count() == 0
    page.locator('.thing[data-at="0"]').focus()
    assert page.locator(".chip.on").get_attribute("data-at") == "0"


def test_a_conversation_about_two_pictures(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"], pictures["street"])
    assert page.locator(".thumb").count() == 2
    ask(page, "how many cars are in the second picture?")
    assert "4 cars" in last(page) and page.locator('.thumb[aria-selected="true"] b').inner_text() == "2"
    ask(page, "only the red ones")
    assert page.locator(".thing").count() == 2
    key(page, "[")
    assert page.locator('.thumb[aria-selected="true"] b').inner_text() == "1"


def test_the_slider_hides_what_scores_less_and_can_ask_again(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    page.locator("#threshold").fill("0.92")
    assert page.locator(".thing:visible").count() == 0 and page.locator(".chip.faint").count() == 3
    page.locator("#again").click()
    page.wait_for_function("() => document.querySelectorAll('.answer:not(.working)').length == 2")
    assert "no dogs" in last(page)
    page.locator("#threshold").fill("0.50")
    page.locator("#again").click()
    page.wait_for_function("() => document.querySelectorAll('.answer:not(.working)').length == 3")
    assert "3 dogs" in last(page)


def test_a_missed_object_is_added_by_a_click_or_a_box(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    page.click("#missed")
    box = page.locator(".frame img").bounding_box()
    scale = box["width"] / 400
    page.mouse.click(box["x"] + 292 * scale, box["y"] + 248 * scale)
    page.wait_for_function("() => document.querySelectorAll('.thing').length == 4")
    key(page, "m")
    page.mouse.move(box["x"] + 330 * scale, box["y"] + 236 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 390 * scale, box["y"] + 270 * scale, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelectorAll('.thing').length == 5")
    ask(page, "how many of them are there?")
    assert "5" in last(page)


def test_plan_and_time_are_told(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "how many dogs are not sitting?")
    page.locator(".how summary").click()
    assert page.locator(".plan").inner_text().startswith("count the dogs that are not sitting")
    assert page.locator(".bar i").count() == 5 and "ground" in page.locator(".legend").inner_text()


def test_thumbs_and_this_is_wrong_become_feedback(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    with page.expect_response("**/v1/feedback") as up:
        page.get_by_label("Good answer").click()
    assert up.value.status == 201
    page.get_by_label("Say what is wrong").click()
    with page.expect_response("**/v1/feedback") as wrong:
        page.get_by_label("What is wrong?").fill("one is a fox")
        page.keyboard.press("Enter")
    assert wrong.value.status == 201 and json.loads(wrong.value.request.post_data)["note"] == "one is a fox"


def test_png_and_json_can_be_kept(page: Any, pictures: dict[str, Path], tmp_path: Path) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    with page.expect_download() as kept:
        page.click("#png")
    kept.value.save_as(tmp_path / "found.png")
    drawn, plain = cv2.imread(str(tmp_path / "found.png")), cv2.imread(str(pictures["park"]))
    assert drawn.shape == plain.shape and (drawn != plain)[215:277, 20:90].mean() > 0.5
    with page.expect_download() as kept:
        page.click("#json")
    kept.value.save_as(tmp_path / "found.json")
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["results"][0]["instances"][0]["polygons"] and content["plan_words"]


def test_a_reload_brings_the_conversation_back(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    ask(page, "find the dogs")
    page.reload()
    page.wait_for_selector(".thing .mask")
    assert page.locator(".asked").inner_text() == "find the dogs" and page.locator(".thing").count() == 3
    ask(page, "only the black one")
    assert page.locator(".thing").count() == 1


def test_what_a_browser_cannot_show_the_server_shows(page: Any, pictures: dict[str, Path], tmp_path: Path) -> None:
    from PIL import Image

    Image.open(pictures["park"]).save(tmp_path / "park.tiff")
    give(page, tmp_path / "park.tiff")
    ask(page, "find the dogs")
    page.wait_for_function("() => document.querySelector('.frame img').naturalWidth == 400")
    assert page.locator(".thing .mask").count() == 3


def test_examples_answer_with_one_click(page: Any) -> None:
    page.wait_for_selector(".example")
    page.locator(".example").first.click()
    page.wait_for_selector(".answer:not(.working)")
    assert page.locator(".asked").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_and_both_lights(browser: Any, address: str, pictures: dict[str, Path], theme: str) -> None:
    context = browser.new_context(
        viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True, color_scheme=theme
    )
    page = context.new_page()
    page.set_default_timeout(8000)
    page.goto(address)
    give(page, pictures["park"])
    ask(page, "find the dogs")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    send = page.locator("#send").bounding_box()
    assert send["x"] + send["width"] <= PHONE["width"] and send["height"] >= 40
    light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
    assert light == (theme == "light")
    context.close()


def test_it_works_with_the_keyboard_alone(page: Any, pictures: dict[str, Path]) -> None:
    give(page, pictures["park"])
    key(page, "/")
    page.keyboard.type("how many cats?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer.ok")
    assert "2 cats" in last(page)
    key(page, "?")
    assert page.locator("#helping[open]").count() == 1


def test_a_page_with_keys_asks_for_one(
    browser: Any, engine: SceneEngine, pictures: dict[str, Path], tmp_path: Path
) -> None:
    with serving(tmp_path, engine, keys="ann:secret-of-ann") as where:
        page = browser.new_page()
        page.set_default_timeout(8000)
        page.goto(where)
        give(page, pictures["park"])
        page.fill("#query", "how many dogs?")
        page.press("#query", "Enter")
        page.wait_for_selector("#asking-key[open]")
        page.fill("#key", "secret-of-ann")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer.ok")
        assert "3 dogs" in last(page)
        page.close()
