"""A real Chromium for tests of pages, and a page in it that must neither fail nor ask anything of elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PHONE = {"width": 390, "height": 844}
needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason="needs Chromium (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chrome = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield chrome
        chrome.close()


@contextmanager
def opened(browser: Any, address: str, patience: int = 8000) -> Iterator[Any]:
    """The page at an address; any error in it or request to elsewhere fails at the end.

    Args:
        patience: milliseconds that an action may wait.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    sheet = context.new_page()
    wrong: list[str] = []
    sheet.on("pageerror", lambda error: wrong.append(str(error)))
    sheet.on("console", lambda line: line.type == "error" and wrong.append(line.text))
    sheet.on("request", lambda r: r.url.startswith((address, "blob:", "data:")) or wrong.append(r.url))
    sheet.set_default_timeout(patience)
    sheet.goto(address)
    yield sheet
    context.close()
    assert wrong == []
