"""Label Studio's page as an annotator has it before her, and what she does in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from chromium import chromium
from label_studio import Studios
from PIL import Image


def seen_in_the_browser(place: Studios, task: dict[str, Any], folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """Where the picture is on the page (x, y, width, height, right, bottom), and the page, uint8 (H, W, 3)."""
    shot = folder / f"{Path(task['data']['name']).stem}.png"
    with opened_task(place, task, shot) as (_, box):
        pass
    return box, np.asarray(Image.open(shot).convert("RGB"))


@contextmanager
def opened_task(place: Studios, task: dict[str, Any], shot: Path) -> Iterator[tuple[Any, dict[str, float]]]:
    """The page and where the picture is on it; left, it is photographed to `shot`."""
    user, password = place.server.password()
    with chromium() as chrome:
        page = chrome.new_page(viewport={"width": 1500, "height": 1900})
        page.goto(f"{place.studio.url}/user/login/")
        page.fill("input[name=email]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_load_state("load")
        page.goto(f"{place.studio.url}/projects/{task['project']}/data?task={task['id']}")
        try:
            picture = page.locator("img[alt=image]").first
            picture.wait_for(state="visible", timeout=45_000)
            page.wait_for_timeout(1500)  # the canvas is drawn after the picture
            yield page, picture.evaluate("image => image.getBoundingClientRect().toJSON()")
        finally:
            page.screenshot(path=str(shot))


def without_prelabels(page: Any, count: int) -> None:
    """Delete the outlines that are there, which a click would otherwise choose."""
    for _ in range(count):
        page.locator(".lsf-tree").get_by_text("chicken", exact=True).first.click()
        page.keyboard.press("Backspace")


def take_tool(page: Any, tool: str) -> None:
    """Switch Auto-Annotation on and take one of its tools: key-point-tool or rectangle-tool."""
    page.get_by_text("Auto-Annotation", exact=True).click()
    page.locator(".lsf-tool_smart").first.hover()
    page.locator(f".lsf-toolbar__smart [aria-label={tool}]").click()


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw with the mouse held down."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=5)
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def accept_suggestion(page: Any, shot: Path) -> None:
    """Wait for what the model draws, photograph the page with it, and accept it."""
    accept = page.get_by_test_id("bottombar-accept-suggestions-button")
    accept.wait_for(timeout=60_000)  # the first question loads the model
    page.screenshot(path=str(shot))
    accept.click()
