"""A clip on the page, in a real Chromium: drop it, watch the frames being done, look along the timeline, come back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PHONE, chromium, needs_chromium, opened
from clip_service import FarmEngine, write_farm
from service_server import serving
from test_page import ask, give, key, last

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_farm(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def engine(clip: Path) -> FarmEngine:
    return FarmEngine(clip)


@pytest.fixture(scope="module")
def address(engine: FarmEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), engine) as where:  # type: ignore[arg-type]
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as chrome:
        yield chrome


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address, patience=15_000) as sheet:
        yield sheet


def loaded(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('#timeline input').max == 47")
    page.wait_for_function("() => !document.querySelector('#send').disabled")


def keep(page: Any, name: str) -> None:
    """A screenshot to look at, where somebody asks for one."""
    if folder := os.environ.get("SAM3_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_a_clip_is_followed_before_ones_eyes_and_can_be_looked_through(
    page: Any, engine: FarmEngine, clip: Path
) -> None:
    give(page, clip)
    loaded(page)
    assert page.locator(".frame img").get_attribute("src").startswith("data:image/jpeg")
    engine.delay = 0.15
    page.fill("#query", "track the ducks")
    page.press("#query", "Enter")
    page.wait_for_function(
        "() => /So far duck: [12]/.test(document.querySelector('.answer.working .text')?.textContent)"
    )
    assert page.locator(".thing .mask").count() >= 1  # masks while it is still being looked at
    keep(page, "clip-working")
    page.wait_for_function(
        "() => !document.querySelector('.answer.working') && !document.querySelector('#send').disabled"
    )
    engine.delay = 0.0
    assert page.locator(".track").count() == 2 and page.locator(".chip").count() == 2
    assert page.locator(".thing .mask").count() == 2  # the frame that shows most
    page.locator(".chip").first.click()
    at = page.locator("#timeline .time").inner_text()
    assert at.startswith(("0:02", "0:01")) and page.locator(".thing .mask").count() == 1
    page.locator("#timeline input").fill("0")
    assert page.locator(".thing").count() == 0 and page.locator("#timeline .time").inner_text() == "0:00.0"
    key(page, "End")
    keep(page, "clip-answer")


def test_a_conversation_about_a_clip_goes_on_and_comes_back(page: Any, clip: Path) -> None:
    give(page, clip)
    loaded(page)
    ask(page, "how many different ducks are there?")
    assert "2 distinct ducks" in last(page)
    ask(page, "when does the first one appear?")
    assert "0:02" in last(page) or "0:01" in last(page)
    page.reload()
    page.wait_for_selector(".track")
    loaded(page)
    assert page.locator(".asked").count() == 2 and page.locator(".thing").count() >= 1
    ask(page, "how many hens are there?")
    assert "1 distinct hen" in last(page) or "1 hen" in last(page)
    keep(page, "clip-back")


def test_play_and_step_with_the_keyboard_and_a_picture_beside_it(page: Any, clip: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 120, 3), 90, np.uint8))
    give(page, tmp_path / "grey.png", clip)
    loaded(page)
    key(page, ".")
    assert page.locator("#timeline input").input_value() == "1"
    key(page, "Space")
    page.wait_for_function("() => Number(document.querySelector('#timeline input').value) > 3")
    key(page, "Space")
    stood = page.locator("#timeline input").input_value()
    key(page, "[")
    assert page.locator("#timeline").is_hidden()
    key(page, "]")
    assert page.locator("#timeline input").input_value() == stood
    ask(page, "how many ducks are in the clip?")
    assert "picture 2: 2" in last(page)


def test_a_broken_clip_is_said_plainly_and_nothing_is_stuck(
    browser: Any, address: str, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"0000")
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    page.set_input_files("#files", str(tmp_path / "broken.mp4"))
    page.wait_for_selector(".answer.error")
    assert "broken.mp4" in last(page) and page.locator("#viewer:not([hidden])").count() == 0
    give(page, clip)
    loaded(page)
    ask(page, "how many hens are there?")
    assert "1 hen" in last(page)
    context.close()


def test_a_clip_fits_a_phone(browser: Any, address: str, clip: Path) -> None:
    context = browser.new_context(
        viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    give(page, clip)
    loaded(page)
    ask(page, "track the ducks")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".track").count() == 2
    keep(page, "clip-phone")
    context.close()
